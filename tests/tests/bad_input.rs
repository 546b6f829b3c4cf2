//! What is wrong is said, with its reason; the rest goes on.

use std::{io::Cursor, path::Path};

use image::{ImageFormat, RgbImage};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpListener};
use weimocir_catalogue::Split;
use weimocir_domain::{Collection, Shard};
use weimocir_runtime::ShardLog;
use weimocir_tests::{Kind, Pipeline, render, until};
use weimocir_wire::{Encoding, decode, subjects::Part, vectors::ImagePart};

/// A PNG whose header claims 100,000 × 100,000 pixels, with a right checksum.
fn bomb() -> anyhow::Result<Vec<u8>> {
    let mut file = png()?;
    file[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
    file[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
    let checksum = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&checksum.to_be_bytes());
    Ok(file)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn png() -> anyhow::Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 77]))
        .write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}

fn reason_of<'a>(summary: &'a Value, name: &str) -> Option<&'a str> {
    let refused = summary["refused"].as_array()?;
    refused.iter().find(|r| r["source"].as_str().is_some_and(|s| s.ends_with(name)))?["reason"]
        .as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pictures_are_refused_by_name_and_the_rest_goes_on() -> anyhow::Result<()> {
    let (pipeline, _workers) = Pipeline::complete().await?;
    let folder = pipeline.folder().join("pictures");
    let good = 5;
    render(Split::Validation, good, 96, &folder)?;
    let whole = std::fs::read(folder.join(format!("{}.png", first_name())))?;
    for (name, bytes) in [
        ("empty.png", vec![]),
        ("text.png", b"this is no picture".to_vec()),
        ("truncated.png", whole[..whole.len() / 2].to_vec()),
        ("bomb.png", bomb()?),
    ] {
        std::fs::write(folder.join(name), bytes)?;
    }
    let path = folder.display().to_string();
    let outcome = pipeline.weimocir(&["ingest", &path, "--wait", "--json"]).await?;
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let summary = outcome.json_of_any()?;
    assert_eq!(summary["searchable"], good, "{summary}");
    assert_eq!(summary["refused"].as_array().map(Vec::len), Some(4), "{summary}");
    for (name, why) in [
        ("empty.png", "empty"),
        ("text.png", "not a picture"),
        ("truncated.png", "cut off"),
        ("bomb.png", "100000"),
    ] {
        let reason =
            reason_of(&summary, name).unwrap_or_else(|| panic!("{name} is not refused: {summary}"));
        assert!(reason.contains(why), "{name}: {reason}");
    }

    // the two that only decoding shows are dead letters, of both steps
    // (a picture is settled by its first letter, so the second step's may still be on its way)
    weimocir_tests::until("the letters of both steps", || async {
        let letters = pipeline.weimocir(&["dead", "list", "--json"]).await?.json()?;
        Ok(letters.as_array().map(Vec::len) == Some(4))
    })
    .await?;
    let letters = pipeline.weimocir(&["dead", "list", "--json"]).await?.json()?;
    let number = letters[0]["number"].to_string();
    let shown = pipeline.weimocir(&["dead", "show", &number, "--json"]).await?.json()?;
    assert_eq!(shown["original"]["image"], shown["image"]);

    // sent again it fails again: one letter goes, one comes
    let retried = pipeline.weimocir(&["dead", "retry", &number, "--json"]).await?.json()?;
    assert_eq!(retried["retried"].to_string(), format!("[{number}]"));
    weimocir_tests::until("the letter's return", || async {
        let letters = pipeline.weimocir(&["dead", "list", "--json"]).await?.json()?;
        let numbers: Vec<String> =
            letters.as_array().into_iter().flatten().map(|l| l["number"].to_string()).collect();
        Ok(numbers.len() == 4 && !numbers.contains(&number))
    })
    .await?;
    pipeline.weimocir(&["dead", "drop", "--all", "--step", "caption"]).await?;
    let left = pipeline.weimocir(&["dead", "list", "--json"]).await?.json()?;
    assert!(
        left.as_array().is_some_and(|l| l.len() == 2 && l.iter().all(|l| l["step"] == "encode")),
        "{left}"
    );
    Ok(())
}

fn first_name() -> String {
    weimocir_catalogue::gallery(Split::Validation, 1).pictures[0].name.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_cannot_be_answered_says_why() -> anyhow::Result<()> {
    let (pipeline, _workers) = Pipeline::complete().await?;
    let folder = pipeline.folder().join("pictures");
    render(Split::Validation, 3, 96, &folder)?;
    let picture = folder.join(format!("{}.png", first_name())).display().to_string();
    let notes = pipeline.folder().join("notes.txt");
    std::fs::write(&notes, "no picture")?;
    let notes = notes.display().to_string();

    // before anything was ingested
    let outcome = pipeline.weimocir(&["search", "a hat"]).await?;
    assert!(outcome.code == 4 && outcome.stderr.contains("no collection `default`"), "{outcome:?}");

    let path = folder.display().to_string();
    assert_eq!(pipeline.weimocir(&["ingest", &path, "--wait"]).await?.code, 0);
    let long = "green ".repeat(500);
    for (args, code, why) in [
        (&["search", "a hat", "--collection", "hats"][..], 4, "there are: default"),
        (
            &["search", "a hat", "--id", "00000000000000000000000000000000"],
            4,
            "there is no image 0000",
        ),
        (&["get", "00000000000000000000000000000000"], 4, "there is no image 0000"),
        (&["search"], 1, "a reference picture, a modifier, or both"),
        (&["search", "   "], 1, "a reference picture, a modifier, or both"),
        (&["search", "a hat", "-k", "0"], 1, "k is 0"),
        (&["search", "a hat", "--alpha", "1.5"], 2, "not between 0 and 1"),
        (&["search", "a hat", "--alpha", "NaN"], 2, "not between 0 and 1"),
        (&["search", &long, "--long-text", "refuse"], 1, " tokens, and the model reads "),
        (&["search", "a hat", "--long-text", "cut"], 2, "`truncate`d or `refuse`d"),
        (&["search", "a hat", "--reference", &notes], 1, "picture cannot be used"),
        (&["search", "a hat", "--reference", "/missing.png"], 1, "/missing.png"),
        (&["ingest", "/missing"], 1, "there is no file or folder /missing"),
        (&["get", "no-id"], 2, "32 hexadecimal digits"),
    ] {
        let outcome = pipeline.weimocir(args).await?;
        assert_eq!(outcome.code, code, "{args:?}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{args:?}: {}", outcome.stderr);
    }

    let answer =
        pipeline.weimocir(&["search", &long, "--reference", &picture, "--json"]).await?.json()?;
    assert!(
        answer["warnings"][0].as_str().is_some_and(|w| w.contains("longer than the model reads")),
        "{answer}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_model_cannot_get_into_a_collection() -> anyhow::Result<()> {
    let (pipeline, mut workers) = Pipeline::complete().await?;
    let folder = pipeline.folder().join("pictures");
    render(Split::Validation, 3, 96, &folder)?;
    let path = folder.display().to_string();
    assert_eq!(pipeline.weimocir(&["ingest", &path, "--wait"]).await?.code, 0);

    let encoder = workers.iter().position(|worker| worker.kind() == Kind::Encode);
    workers.remove(encoder.unwrap_or_default()).stop().await?;
    let other = another_model(pipeline.folder())?;
    let _stranger = pipeline.start(Kind::Encode, &["--model", &other])?;
    pipeline.until_alive(Kind::Encode, 1).await?;

    let outcome = pipeline.weimocir(&["search", "a hat"]).await?;
    let why = "no encode worker with the model bundled-clip";
    assert!(outcome.code == 5 && outcome.stderr.contains(why), "{outcome:?}");
    let again = ["ingest", &path, "--force", "--no-captions", "--json"];
    pipeline.weimocir(&again).await?.json()?;
    let lanes = async |expected: u64| {
        let status = pipeline.weimocir(&["status", "--json"]).await?.json()?;
        assert_eq!(status["dead_letters"], 0, "{status}");
        Ok(status["backlog"]["encode lanes"]["waiting"] == expected)
    };
    until("the stranger to pass the work on", || lanes(3)).await?;

    let _own = pipeline.start(Kind::Encode, &[])?;
    until("the collection's own model to do it", || lanes(0)).await?;
    let mut log = ShardLog::open(&pipeline.bus().await?, &Collection::default(), Shard(0)).await?;
    let mut images = 0;
    while let Some(entries) = log.next_to_end(500).await? {
        for entry in entries {
            if Part::of_subject(&entry.subject) == Some(Part::Image) {
                let part: ImagePart = decode(&entry.payload, Encoding::MessagePack)?;
                assert!(part.model.as_str().starts_with("bundled-clip"), "{}", part.model);
                images += 1;
            }
        }
    }
    assert_eq!(images, 3);
    Ok(())
}

/// The bundled model with another preprocessing is another model.
fn another_model(folder: &Path) -> anyhow::Result<String> {
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/bundled/clip");
    let copy = folder.join("other-model");
    std::fs::create_dir(&copy)?;
    for entry in std::fs::read_dir(bundled)? {
        let entry = entry?;
        std::fs::copy(entry.path(), copy.join(entry.file_name()))?;
    }
    let path = copy.join("preprocessor_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["image_mean"] = serde_json::json!([0.5, 0.5, 0.5]);
    std::fs::write(path, config.to_string())?;
    Ok(copy.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_nats_an_old_nats_and_no_worker_are_told_apart() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let nobody = pipeline.weimocir(&["status", "--nats", "nats://127.0.0.1:1"]).await?;
    assert!(
        nobody.code == 5 && nobody.stderr.contains("no NATS server answers at nats://127.0.0.1:1"),
        "{nobody:?}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("nats://{}", listener.local_addr()?);
    let old = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let info = r#"{"server_id":"OLD","server_name":"old","version":"2.9.10","go":"go1.19","host":"127.0.0.1","port":4222,"headers":true,"max_payload":1048576,"proto":1,"client_id":1}"#;
            if client.write_all(format!("INFO {info}\r\nPONG\r\n").as_bytes()).await.is_err() {
                break;
            }
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_secs(20)).await;
                drop(client);
            });
        }
    });
    let outcome = pipeline.weimocir(&["status", "--nats", &url]).await?;
    old.abort();
    assert!(
        outcome.code == 1 && outcome.stderr.contains("version 2.9.10; 2.11 or newer"),
        "{outcome:?}"
    );

    let outcome = pipeline.weimocir(&["search", "a hat"]).await?;
    assert!(
        outcome.code == 5 && outcome.stderr.contains("no worker answers on weimocir.search"),
        "{outcome:?}"
    );
    Ok(())
}
