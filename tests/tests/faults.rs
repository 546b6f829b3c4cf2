//! Workers, disks and the server fail in the middle of the work; nothing is lost and nothing twice.

use std::{collections::HashSet, path::Path, time::Duration};

use serde_json::Value;
use weimocir_catalogue::{Gallery, Split};
use weimocir_domain::{Collection, Shard};
use weimocir_runtime::Bus;
use weimocir_tests::{Kind, Pipeline, render, until};
use weimocir_wire::{
    query::{Lookup, LookupQuery},
    search::RefusalCode,
    subjects,
};

/// Pictures for the run with a killed encoder: a short one by default.
fn pictures() -> usize {
    std::env::var("WEIMOCIR_FAULT_PICTURES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

async fn status(pipeline: &Pipeline) -> anyhow::Result<Value> {
    pipeline.weimocir(&["status", "--json"]).await?.json()
}

/// Images that the store holds of the default collection.
async fn stored(bus: &Bus) -> anyhow::Result<u64> {
    let subject = subjects::lookup(&Collection::default(), Shard(0));
    match bus
        .ask::<_, Lookup>(&subject, &LookupQuery { images: vec![] }, Duration::from_secs(5))
        .await
    {
        Ok(totals) => Ok(totals.images),
        Err(refusal) if refusal.code == RefusalCode::Unavailable => Ok(0),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Every picture of the gallery can be found by itself, once, with its captions.
async fn audit(pipeline: &Pipeline, gallery: &Gallery, folder: &Path) -> anyhow::Result<()> {
    let count = gallery.pictures.len();
    let totals = status(pipeline).await?;
    assert_eq!(totals["collections"][0]["images"], count, "{totals}");
    assert_eq!(totals["collections"][0]["captioned"], count, "{totals}");
    assert_eq!(totals["dead_letters"], 0, "{totals}");
    let mut found = HashSet::new();
    for picture in gallery.pictures.iter().step_by((count / 50).max(1)) {
        let path = folder.join(format!("{}.png", picture.name)).display().to_string();
        let args = ["search", "--reference", &path, "--keep-reference", "-k", "1", "--json"];
        let answer = pipeline.weimocir(&args).await?.json()?;
        let first = &answer["candidates"][0];
        assert_eq!(first["source"], path.as_str());
        assert_eq!(first["captions"].as_array().map(Vec::is_empty), Some(false), "{first}");
        assert!(found.insert(first["image"].to_string()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_killed_in_the_middle_loses_nothing() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let quick = ["--encode-ack-wait", "5"];
    let _others = [
        pipeline.start(Kind::Store, &[])?,
        pipeline.start(Kind::Caption, &[])?,
        pipeline.start(Kind::Query, &[])?,
    ];
    let _survivor = pipeline.start(Kind::Encode, &quick)?;
    let victim = pipeline.start(Kind::Encode, &quick)?;
    pipeline.until_alive(Kind::Encode, 2).await?;
    pipeline.until_alive(Kind::Store, 1).await?;

    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Test, pictures(), 96, &folder)?;
    let path = folder.display().to_string();
    let args = ["ingest", &path, "--wait", "--json"];
    let ingesting = pipeline.weimocir(&args);
    let killing = async {
        let bus = pipeline.bus().await?;
        loop {
            let images = stored(&bus).await?;
            if images >= pictures() as u64 / 4 {
                victim.kill().await?;
                return anyhow::Ok(images);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (ingested, before) = tokio::try_join!(ingesting, killing)?;
    assert!(before < pictures() as u64, "killed too late: {before} were stored");
    assert_eq!(ingested.json()?["searchable"], pictures());
    audit(&pipeline, &gallery, &folder).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_comes_back_from_its_disk_and_from_the_log() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let _others = [
        pipeline.start(Kind::Encode, &[])?,
        pipeline.start(Kind::Caption, &[])?,
        pipeline.start(Kind::Query, &[])?,
    ];
    let mut store = pipeline.start(Kind::Store, &[])?;
    pipeline.until_alive(Kind::Store, 1).await?;
    pipeline.until_alive(Kind::Encode, 1).await?;
    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Test, 40, 96, &folder)?;
    let path = folder.display().to_string();
    assert_eq!(
        pipeline.weimocir(&["ingest", &path, "--wait", "--json"]).await?.json()?["captioned"],
        40
    );

    let data = pipeline.folder().join("store/default/shard-0");
    let damage: [fn(&Path) -> std::io::Result<()>; 3] = [
        |_| Ok(()),
        |data| std::fs::remove_dir_all(data),
        |data| std::fs::write(data.join("db"), b"garbage"),
    ];
    for spoil in damage {
        store.kill().await?;
        spoil(&data)?;
        store = pipeline.start(Kind::Store, &[])?;
        until("the whole gallery", || async {
            Ok(status(&pipeline).await?["collections"][0]["captioned"] == 40)
        })
        .await?;
        audit(&pipeline, &gallery, &folder).await?;
    }
    // because: the first one, which was whole, goes on where it stood
    let reads: Vec<bool> = pipeline
        .log(Kind::Store)
        .lines()
        .filter(|line| line.contains("shard serves"))
        .map(|line| line.contains("read=0"))
        .collect();
    assert_eq!(reads, [true, true, false, false], "{}", pipeline.log(Kind::Store));
    // because: a folder that is gone is a new store; only the damaged one is a reason for an error
    assert_eq!(pipeline.log(Kind::Store).matches("rebuilding from the log").count(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_outlive_the_server_and_stop_cleanly() -> anyhow::Result<()> {
    let (pipeline, workers) = Pipeline::complete().await?;
    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Test, 30, 96, &folder)?;
    let path = folder.display().to_string();
    let half: Vec<String> = gallery.pictures[..15]
        .iter()
        .map(|p| folder.join(format!("{}.png", p.name)).display().to_string())
        .collect();
    let args: Vec<&str> =
        ["ingest", "--wait"].into_iter().chain(half.iter().map(String::as_str)).collect();
    assert_eq!(pipeline.weimocir(&args).await?.code, 0);

    pipeline.restart_server().await?;
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    assert_eq!(
        pipeline.weimocir(&["ingest", &path, "--wait", "--json"]).await?.json()?["submitted"],
        15
    );
    audit(&pipeline, &gallery, &folder).await?;
    for worker in workers {
        let kind = worker.kind();
        assert_eq!(worker.stop().await?, 0, "{}", pipeline.log(kind));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_killed_and_a_server_restarted_in_the_middle_lose_nothing() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let _others = [
        pipeline.start(Kind::Encode, &[])?,
        pipeline.start(Kind::Caption, &[])?,
        pipeline.start(Kind::Query, &[])?,
    ];
    let mut store = pipeline.start(Kind::Store, &[])?;
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Test, 300, 96, &folder)?;
    let path = folder.display().to_string();
    let args = ["ingest", &path, "--wait"];
    let ingesting = async {
        // because: a run that the server's absence interrupts is run again, and takes what is left
        while pipeline.weimocir(&args).await?.code != 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    let troubling = async {
        for share in [30, 90, 150] {
            reach(&pipeline, share).await?;
            let killed = std::mem::replace(&mut store, pipeline.start(Kind::Store, &[])?);
            killed.kill().await?;
        }
        reach(&pipeline, 200).await?;
        pipeline.restart_server().await
    };
    tokio::try_join!(ingesting, troubling)?;
    audit(&pipeline, &gallery, &folder).await?;

    // what the log holds is the same
    store.kill().await?;
    std::fs::remove_dir_all(pipeline.folder().join("store"))?;
    let _store = pipeline.start(Kind::Store, &[])?;
    until("the gallery from the log", || async {
        Ok(status(&pipeline).await?["collections"][0]["captioned"] == 300)
    })
    .await?;
    audit(&pipeline, &gallery, &folder).await
}

/// Waits until the store holds so many images; a store that is just gone holds none.
async fn reach(pipeline: &Pipeline, images: u64) -> anyhow::Result<()> {
    let bus = pipeline.bus().await?;
    while stored(&bus).await.unwrap_or(0) < images {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_disk_is_full_says_so_and_loses_nothing() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let store = pipeline.start_with_full_disk(Kind::Store, 1_024)?;
    let _others = [
        pipeline.start(Kind::Encode, &[])?,
        pipeline.start(Kind::Caption, &[])?,
        pipeline.start(Kind::Query, &[])?,
    ];
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Test, 400, 96, &folder)?;
    let path = folder.display().to_string();
    let args = ["ingest", &path, "--wait"];
    let filling = async {
        assert_eq!(store.ended().await?, 1, "{}", pipeline.log(Kind::Store));
        pipeline.start(Kind::Store, &[])
    };
    let (ingested, _store) = tokio::try_join!(pipeline.weimocir(&args), filling)?;
    assert_eq!(ingested.code, 0, "{}", ingested.stderr);
    let log = pipeline.log(Kind::Store);
    let told = log.lines().any(|line| line.contains("shard-0") && line.contains("File too large"));
    assert!(told, "{log}");
    audit(&pipeline, &gallery, &folder).await
}
