//! The same evaluation in one process and through a running pipeline.

use std::{fs, path::Path};

use anyhow::Context;
use serde_json::{Value, json};
use weimocir_catalogue::Split;
use weimocir_tests::{Kind, Pipeline, Worker, render};

/// All workers, with captions from the folder's own file.
async fn pipeline(folder: &Path) -> anyhow::Result<(Pipeline, Vec<Worker>)> {
    let pipeline = Pipeline::bare().await?;
    let captioner = format!("file:{}", folder.join("captions.jsonl").display());
    let mut workers = vec![pipeline.start(Kind::Caption, &["--captioner", &captioner])?];
    for kind in [Kind::Encode, Kind::Store, Kind::Query] {
        workers.push(pipeline.start(kind, &[])?);
    }
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    Ok((pipeline, workers))
}

/// A gallery with a picture that is no picture, one that is there twice, and a subset of nine for
/// every triplet.
fn gallery(folder: &Path) -> anyhow::Result<()> {
    let drawn = render(Split::Test, 160, 96, folder)?;
    fs::write(folder.join("test-00007.png"), "no picture")?;
    fs::copy(folder.join("test-00002.png"), folder.join("copy.png"))?;
    let captions = fs::read_to_string(folder.join("captions.jsonl"))?;
    let own =
        captions.lines().find(|line| line.contains("test-00002.png")).context("no captions")?;
    let copied = own.replace("test-00002", "copy");
    fs::write(folder.join("captions.jsonl"), captions + &copied + "\n")?;
    let name = |image: usize| format!("{}.png", drawn.pictures[image % 160].name);
    let lines = drawn.triplets.iter().map(|triplet| {
        let (reference, target) = (triplet.reference, triplet.target);
        let others = (0..).map(|n| target + 7 * n).filter(|&other| other % 160 != reference);
        let subset: Vec<String> = others.take(9).map(name).collect();
        let modifier = &triplet.modifier;
        json!({
            "reference": name(reference), "modifier": modifier, "target": name(target),
            "subset": subset,
        })
        .to_string()
    });
    Ok(fs::write(folder.join("triplets.jsonl"), lines.collect::<Vec<_>>().join("\n"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_answers_as_the_method_alone() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("garments");
    gallery(&data)?;
    let (pipeline, _workers) = pipeline(&data).await?;
    let (garments, cache) = (data.display().to_string(), folder.path().join("cache"));
    let ingested = pipeline.weimocir(&["ingest", &garments, "--wait", "--json"]).await?;
    assert_eq!(ingested.code, 3, "{}{}", ingested.stdout, ingested.stderr);

    let (cache, url) = (cache.display().to_string(), pipeline.url().to_owned());
    for weights in [&[][..], &["--alpha", "0.35", "--beta", "0.7"]] {
        let run = async |name: &str, how: &[&str]| -> anyhow::Result<(String, Value)> {
            let out = folder.path().join(name);
            let out_text = out.display().to_string();
            let args = ["eval", "triplets", "--data", &garments, "--out", &out_text, "--json"];
            let outcome = pipeline.weimocir(&[&args[..], weights, how].concat()).await?;
            assert_eq!(outcome.code, 3, "{}{}", outcome.stdout, outcome.stderr);
            let report = fs::read_to_string(out.join("report.md"))?;
            assert!(report.contains("test-00007.png"), "{report}");
            let same = report.contains("copy.png = test-00002.png");
            assert_eq!(same, name == "through", "{report}");
            Ok((fs::read_to_string(out.join("results.csv"))?, outcome.json_of_any()?))
        };
        let (alone, _) = run("alone", &["--cache", &cache]).await?;
        let (through, told) = run("through", &["--through", &url]).await?;
        assert_eq!(through, alone);
        assert_eq!(through.lines().count(), 3, "{through}");
        assert!(told["unreadable"]["test-00007.png"].is_string(), "{told}");
    }

    // a gallery that is not all there would give other figures
    render(Split::Validation, 1, 96, &folder.path().join("other"))?;
    fs::copy(folder.path().join("other/validation-00000.png"), data.join("zz-new.png"))?;
    let args = ["eval", "triplets", "--data", &garments, "--through", &url];
    let outcome = pipeline.weimocir(&args).await?;
    let why = "has 159 images and the gallery 160: ingest the gallery whole";
    assert!(outcome.code == 1 && outcome.stderr.contains(why), "{}", outcome.stderr);
    Ok(())
}
