//! Recall on the held-out catalogue, through the running pipeline: captions by the captioner,
//! reference removed, α and β chosen on the validation gallery and reported on the test gallery. Then what
//! negative text, feedback and reranking add (`steering`).
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod set;
mod steering;

use clap::Parser;
use weimocir_catalogue::Split;
use weimocir_domain::{Alpha, Beta, TextReference};
use weimocir_tests::Pipeline;

use crate::set::{Recall, Set, Setting};

#[derive(Debug, Parser)]
struct Args {
    /// Images in the test gallery, at least 2,000 for a figure to compare
    #[arg(long, default_value_t = 2_000)]
    test: usize,
    #[arg(long, default_value_t = 1_000)]
    validation: usize,
    /// Steps of α and β that are tried
    #[arg(long, value_delimiter = ',', default_value = "0.3,0.4,0.5,0.6,0.7,0.8")]
    alphas: Vec<f32>,
    #[arg(long, value_delimiter = ',', default_value = "0,0.1,0.2,0.3,0.5")]
    betas: Vec<f32>,
    /// Leave out what negative text, feedback and reranking do
    #[arg(long)]
    weights_only: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (pipeline, _workers) = Pipeline::complete().await?;
    let validation =
        Set::ingest(&pipeline, "validation", Split::Validation, args.validation).await?;
    let test = Set::ingest(&pipeline, "test", Split::Test, args.test).await?;
    println!(
        "validation: {} images, {} triplets; test: {} images, {} triplets",
        validation.ids.len(),
        validation.gallery.triplets.len(),
        test.ids.len(),
        test.gallery.triplets.len()
    );
    let best = report(&args, &validation, &test, TextReference::Image).await?;
    report(&args, &validation, &test, TextReference::Caption).await?;
    if !args.weights_only {
        let image_only = Setting { modifier: false, ..best };
        steering::report(&validation, &test, "composed", best).await?;
        steering::report(&validation, &test, "image only", image_only).await?;
    }
    Ok(())
}

async fn report(
    args: &Args,
    validation: &Set,
    test: &Set,
    text_reference: TextReference,
) -> anyhow::Result<Setting> {
    println!("\ntext_reference = {text_reference}: R@1/R@10 on validation, α across, β down");
    let mut best: Option<(Recall, Setting)> = None;
    print!("     ");
    args.alphas.iter().for_each(|alpha| print!("{alpha:>12}"));
    println!();
    for &beta in &args.betas {
        print!("{beta:>5}");
        for &alpha in &args.alphas {
            let setting = Setting {
                alpha: Alpha::new(alpha)?,
                beta: Beta::new(beta)?,
                text_reference,
                reference: true,
                modifier: true,
            };
            let recall =
                validation.recall(|_, triplet| validation.request(setting, triplet)).await?;
            print!("{:>7.1}/{:.1}", recall[0], recall[2]);
            if best.is_none_or(|(found, _)| (recall[0], recall[2]) > (found[0], found[2])) {
                best = Some((recall, setting));
            }
        }
        println!();
    }
    let Some((_, chosen)) = best else { anyhow::bail!("no α and β to choose from") };
    println!("\non test, with α = {} and β = {} chosen on validation:", chosen.alpha, chosen.beta);
    println!("| query | R@1 | R@5 | R@10 |\n|---|---|---|---|");
    let rows = [
        ("composed", chosen),
        ("composed, without captions (β = 0)", Setting { beta: Beta::new(0.0)?, ..chosen }),
        ("image only", Setting { modifier: false, ..chosen }),
        ("text only", Setting { reference: false, text_reference: TextReference::Image, ..chosen }),
    ];
    for (name, setting) in rows {
        let [r1, r5, r10] = test.recall(|_, triplet| test.request(setting, triplet)).await?;
        println!("| {name} | {r1:.1} | {r5:.1} | {r10:.1} |");
    }
    Ok(chosen)
}
