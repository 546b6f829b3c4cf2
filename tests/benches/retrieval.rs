//! Recall on the held-out catalogue, through the running pipeline: captions by the captioner,
//! reference removed, α and β chosen on the validation gallery and reported on the test gallery.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use weimocir_catalogue::{Gallery, Split};
use weimocir_domain::{Alpha, Beta, Collection, ImageId, TextReference};
use weimocir_runtime::Bus;
use weimocir_tests::{Pipeline, render};
use weimocir_wire::{
    search::{Reference, SearchAnswer, SearchRequest},
    subjects,
};

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
}

/// A gallery in the pipeline, and the ids of its pictures in order.
struct Set {
    bus: Bus,
    collection: Collection,
    gallery: Gallery,
    ids: Vec<ImageId>,
}

#[derive(Debug, Clone, Copy)]
struct Setting {
    alpha: Alpha,
    beta: Beta,
    text_reference: TextReference,
    reference: bool,
    modifier: bool,
}

/// R@1, R@5 and R@10 in percent.
type Recall = [f64; 3];

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
    for text_reference in [TextReference::Image, TextReference::Caption] {
        report(&args, &validation, &test, text_reference).await?;
    }
    Ok(())
}

async fn report(
    args: &Args,
    validation: &Set,
    test: &Set,
    text_reference: TextReference,
) -> anyhow::Result<()> {
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
            let recall = validation.recall(setting).await?;
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
        let [r1, r5, r10] = test.recall(setting).await?;
        println!("| {name} | {r1:.1} | {r5:.1} | {r10:.1} |");
    }
    Ok(())
}

impl Set {
    async fn ingest(
        pipeline: &Pipeline,
        name: &str,
        split: Split,
        count: usize,
    ) -> anyhow::Result<Self> {
        let folder: PathBuf = pipeline.folder().join(name);
        let gallery = render(split, count, 128, &folder)?;
        let path = folder.display().to_string();
        let args = ["ingest", &path, "--collection", name, "--wait", "--json"];
        let summary = pipeline.weimocir(&args).await?.json()?;
        println!(
            "{name}: {} images searchable and captioned in {:.0} s",
            summary["captioned"],
            summary["seconds"].as_f64().unwrap_or(f64::NAN)
        );
        let ids = gallery.pictures.iter().map(|picture| {
            Ok(ImageId::of(&std::fs::read(folder.join(format!("{}.png", picture.name)))?))
        });
        let ids = ids.collect::<anyhow::Result<_>>()?;
        Ok(Self { bus: pipeline.bus().await?, collection: name.parse()?, gallery, ids })
    }

    async fn recall(&self, setting: Setting) -> anyhow::Result<Recall> {
        let triplets = futures::stream::iter(&self.gallery.triplets);
        let ranks: Vec<Option<usize>> = triplets
            .map(|triplet| self.rank(setting, triplet))
            // because: enough to keep two cores busy, and below the workers' limits
            .buffer_unordered(16)
            .try_collect()
            .await?;
        let share = |k: usize| {
            let hits = ranks.iter().filter(|rank| rank.is_some_and(|rank| rank < k)).count();
            100.0 * hits as f64 / ranks.len() as f64
        };
        Ok([share(1), share(5), share(10)])
    }

    /// Where the target stands among the first ten, from 0.
    async fn rank(
        &self,
        setting: Setting,
        triplet: &weimocir_catalogue::Triplet,
    ) -> anyhow::Result<Option<usize>> {
        let reference = self.ids[triplet.reference];
        let request = SearchRequest {
            collection: self.collection.clone(),
            reference: setting.reference.then_some(Reference::Id(reference)),
            modifier: setting.modifier.then(|| triplet.modifier.clone()),
            alpha: Some(setting.alpha),
            beta: Some(setting.beta),
            text_reference: setting.text_reference,
            k: Some(10),
            exclude: vec![reference],
            ..SearchRequest::default()
        };
        let answer: SearchAnswer =
            self.bus.ask(subjects::SEARCH, &request, Duration::from_secs(30)).await?;
        anyhow::ensure!(!answer.partial, "a shard is missing");
        let target = self.ids[triplet.target];
        Ok(answer.candidates.iter().position(|candidate| candidate.image == target))
    }
}
