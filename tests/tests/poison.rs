//! Hostile files among good pictures: the good ones are found, each bad one is refused with its
//! reason, and no worker dies of it.

use std::{collections::BTreeMap, time::Instant};

use weimocir_catalogue::Split;
use weimocir_tests::{Kind, Pipeline, hostile, render, until};

/// Good pictures beside the bad ones: a few by default.
fn pictures() -> usize {
    std::env::var("WEIMOCIR_POISON_PICTURES").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
}

/// The most memory that a process has had, in MiB.
fn peak(id: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.unwrap_or_default() / 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_are_refused_one_by_one_and_the_rest_is_found() -> anyhow::Result<()> {
    let (pipeline, workers) = Pipeline::complete().await?;
    let before: Vec<_> = workers.iter().map(|worker| worker.id()).collect();
    let folder = pipeline.folder().join("pictures");
    let good = pictures();
    render(Split::Validation, good, 96, &folder.join("good"))?;
    let (bad, odd) = hostile::write(&folder.join("bad"), &folder.join("odd"))?;
    assert!(bad >= 150, "only {bad} hostile files");

    let path = folder.display().to_string();
    let start = Instant::now();
    let outcome = pipeline.weimocir(&["ingest", &path, "--wait", "--json"]).await?;
    let took = start.elapsed();
    let summary = outcome.json_of_any()?;
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    for refused in summary["refused"].as_array().into_iter().flatten() {
        let text = |key: &str| refused[key].as_str().unwrap_or_default().to_owned();
        reasons.insert(text("source"), text("reason"));
    }
    let names = |kind: &str| -> anyhow::Result<Vec<String>> {
        let files = std::fs::read_dir(folder.join(kind))?;
        Ok(files.filter_map(|f| Some(f.ok()?.path().display().to_string())).collect())
    };
    let unexplained = |name: &String| reasons.get(name).is_none_or(String::is_empty);
    let taken: Vec<_> = names("bad")?.into_iter().filter(unexplained).collect();
    let refused: Vec<_> = names("odd")?
        .into_iter()
        .chain(names("good")?)
        .filter_map(|name| Some((reasons.get(&name)?, name)))
        .collect();
    assert!(taken.is_empty() && refused.is_empty(), "taken: {taken:#?}, refused: {refused:#?}");
    assert_eq!((outcome.code, reasons.len()), (3, bad), "{reasons:#?}");
    assert_eq!(summary["searchable"], good + odd, "{}", outcome.stderr);

    // what reached the decoders is a dead letter of both steps, each with the file's own reason
    let listed = async || pipeline.weimocir(&["dead", "list", "--json"]).await?.json();
    until("the letters of both steps", async || {
        let letters = listed().await?;
        let letters = letters.as_array().map(Vec::as_slice).unwrap_or_default();
        let of = |step: &str| letters.iter().filter(|letter| letter["step"] == step).count();
        Ok(of("encode") == of("caption"))
    })
    .await?;
    let letters = listed().await?;
    let letters = letters.as_array().map(Vec::as_slice).unwrap_or_default();
    for letter in letters {
        assert_eq!(letter["attempts"], 1, "{letter}");
    }

    // nobody died, and nobody was restarted
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    let after: Vec<_> = workers.iter().map(|worker| worker.id()).collect();
    assert_eq!(before, after);
    let status = pipeline.weimocir(&["status", "--json"]).await?.json()?;
    assert_eq!(status["collections"][0]["images"], good + odd, "{status}");
    println!(
        "{good} good, {odd} odd and {bad} hostile files in {:.0} s, {} dead letters, restarts 0",
        took.as_secs_f64(),
        letters.len()
    );
    for worker in &workers {
        if let Some(id) = worker.id() {
            let mib = peak(id)?;
            println!("{}: at most {mib} MiB", worker.kind().name());
            assert!(mib < 4_000, "{} took {mib} MiB", worker.kind().name());
        }
    }

    // the letters of one reason are sent again and dropped together
    let reason = "cut off";
    let of_reason = letters
        .iter()
        .filter(|letter| letter["reason"].as_str().is_some_and(|why| why.contains(reason)));
    let count = of_reason.count();
    assert!(count > 50, "{count} letters of `{reason}`");
    let dropped = ["dead", "drop", "--all", "--reason", reason, "--json"];
    let dropped = pipeline.weimocir(&dropped).await?.json()?;
    assert_eq!(dropped["dropped"].as_array().map(Vec::len), Some(count));
    assert_eq!(listed().await?.as_array().map(Vec::len), Some(letters.len() - count));
    Ok(())
}
