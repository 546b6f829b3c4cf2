//! The whole pipeline on the held-out catalogue: ingest, search, get, delete, status.

use std::path::PathBuf;

use serde_json::Value;
use weimocir_catalogue::{Gallery, Split};
use weimocir_tests::{Outcome, Pipeline, Worker, render};

/// Enough for every kind of search, few enough for a second of captioning.
const PICTURES: usize = 48;

struct Ready {
    pipeline: Pipeline,
    _workers: Vec<Worker>,
    gallery: Gallery,
    folder: PathBuf,
}

impl Ready {
    /// A pipeline that has ingested the first pictures of the test catalogue.
    async fn new() -> anyhow::Result<Self> {
        let (pipeline, workers) = Pipeline::complete().await?;
        let folder = pipeline.folder().join("pictures");
        let gallery = render(Split::Test, PICTURES, 128, &folder)?;
        let ready = Self { pipeline, _workers: workers, gallery, folder };
        let summary = ready.weimocir(&["ingest", &ready.path(""), "--wait"]).await?.json()?;
        assert_eq!(summary["submitted"], PICTURES);
        assert_eq!(
            (&summary["searchable"], &summary["captioned"]),
            (&PICTURES.into(), &PICTURES.into())
        );
        assert_eq!(summary["refused"], Value::Array(vec![]));
        Ok(ready)
    }

    async fn weimocir(&self, args: &[&str]) -> anyhow::Result<Outcome> {
        self.pipeline.weimocir(&[args, &["--json"]].concat()).await
    }

    async fn search(&self, args: &[&str]) -> anyhow::Result<Value> {
        self.weimocir(&[&["search"], args].concat()).await?.json()
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn picture(&self, number: usize) -> String {
        self.path(&format!("{}.png", self.gallery.pictures[number].name))
    }
}

fn ids(answer: &Value) -> Vec<&str> {
    let candidates = answer["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
    candidates.iter().filter_map(|candidate| candidate["image"].as_str()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_search_answers() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    let picture = ready.picture(0);

    // a picture alone finds itself first, when it may
    let own = ready.search(&["--reference", &picture, "--keep-reference"]).await?;
    let first = &own["candidates"][0];
    assert_eq!(first["source"], picture);
    assert!((number(&first["s_img"]) - 1.0).abs() < 1e-5, "{first}");
    let id = first["image"].as_str().unwrap_or_default().to_owned();
    assert!(!ids(&ready.search(&["--reference", &picture]).await?).contains(&id.as_str()));

    // uploaded or stored, the reference is the same picture
    let modifier = "is green with a star";
    let uploaded = ready.search(&[modifier, "--reference", &picture, "-k", "7"]).await?;
    let stored = ready.search(&[modifier, "--id", &id, "-k", "7"]).await?;
    assert_eq!(ids(&uploaded).len(), 7);
    assert_eq!(ids(&uploaded), ids(&stored));
    let uploaded =
        ready.search(&[modifier, "--reference", &picture, "--text-reference", "caption"]).await?;
    let stored = ready.search(&[modifier, "--id", &id, "--text-reference", "caption"]).await?;
    assert_eq!(ids(&uploaded), ids(&stored));

    // text alone; what is excluded stays away
    let text = ready.search(&["a red dress"]).await?;
    let best = ids(&text)[0].to_owned();
    assert!(
        !ids(&ready.search(&["a red dress", "--exclude", &best]).await?).contains(&best.as_str())
    );

    // what a candidate says of itself adds up (METHOD: s = (1-β)·s_img + β·s_txt)
    let answer = ready.search(&[modifier, "--id", &id, "--alpha", "0.3", "--beta", "0.4"]).await?;
    for candidate in answer["candidates"].as_array().into_iter().flatten() {
        let captions = candidate["captions"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!((1..=3).contains(&captions.len()), "{candidate}");
        let s_txt =
            captions.iter().map(|c| number(&c["similarity"])).sum::<f64>() / captions.len() as f64;
        assert!((s_txt - number(&candidate["s_txt"])).abs() < 1e-5, "{candidate}");
        let similarity = 0.6 * number(&candidate["s_img"]) + 0.4 * s_txt;
        assert!((similarity - number(&candidate["similarity"])).abs() < 1e-5, "{candidate}");
    }

    // a short modifier may be searched for whatever becomes of long ones
    let strict = ready.search(&["a red dress", "--long-text", "refuse"]).await?;
    assert_eq!(ids(&strict), ids(&text));

    // the time that a search took is told step by step
    let timed = ready.search(&[modifier, "--reference", &picture]).await?;
    let (timing, encode) = (&timed["timing"], &timed["timing"]["encode"]);
    let sum = |of: &Value, names: &[&str]| names.iter().map(|name| number(&of[name])).sum::<f64>();
    let within = sum(encode, &["queued_ms", "preprocessing_ms", "inference_ms"]);
    assert!(
        number(&encode["inference_ms"]) > 0.0 && within <= number(&timing["encode_ms"]),
        "{timing}"
    );
    let steps = sum(timing, &["reference_ms", "encode_ms", "candidates_ms", "merge_ms"]);
    assert!(within < steps && steps <= number(&timed["took_ms"]), "{timing}");
    let shown = ready.pipeline.weimocir(&["search", modifier, "--timing"]).await?;
    assert!(shown.stdout.contains("time in ms: reference "), "{shown:?}");

    // and so is how a score comes about: here of the modifier alone
    let shown = ready.pipeline.weimocir(&["search", modifier, "--explain", "-k", "1"]).await?;
    let lines: Vec<&str> = shown.stdout.lines().collect();
    let similarity = lines[0].split_whitespace().nth(1).unwrap_or("none");
    let told = format!("{similarity} = reference  0.0000 + modifier  {similarity}");
    assert!(lines.iter().any(|line| line.contains("score") && line.contains(&told)), "{shown:?}");
    assert!(shown.stdout.contains("caption 1"), "{shown:?}");

    let status = ready.weimocir(&["status"]).await?.json()?;
    assert_eq!(status["collections"][0]["images"], PICTURES);
    assert_eq!(status["collections"][0]["captioned"], PICTURES);
    assert_eq!(status["dead_letters"], 0);
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(4));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_taken_twice_and_what_is_deleted_is_gone() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    let again = ready.weimocir(&["ingest", &ready.path(""), "--wait"]).await?.json()?;
    assert_eq!((&again["submitted"], &again["already_there"]), (&0.into(), &PICTURES.into()));

    let found =
        ready.search(&["--reference", &ready.picture(3), "--keep-reference", "-k", "1"]).await?;
    let id = ids(&found)[0].to_owned();
    let image = ready.weimocir(&["get", &id]).await?.json()?;
    assert_eq!(image["source"], ready.picture(3));
    let copy = ready.path("copy.bin");
    assert_eq!(ready.weimocir(&["get", &id, "--picture", &copy]).await?.code, 0);
    assert_eq!(std::fs::read(&copy)?, std::fs::read(ready.picture(3))?);

    assert_eq!(ready.weimocir(&["delete", &id]).await?.json()?["deleted"][0], id.as_str());
    let found =
        ready.search(&["--reference", &ready.picture(3), "--keep-reference", "-k", "100"]).await?;
    assert_eq!(ids(&found).len(), PICTURES - 1);
    assert!(!ids(&found).contains(&id.as_str()));
    assert_eq!(ready.weimocir(&["get", &id]).await?.code, 4);
    assert_eq!(ready.weimocir(&["delete", &id]).await?.code, 4);

    // submitted again, it lives again
    let back = ready.weimocir(&["ingest", &ready.picture(3), "--wait"]).await?.json()?;
    assert_eq!((&back["submitted"], &back["captioned"]), (&1.into(), &1.into()));
    assert_eq!(ready.weimocir(&["get", &id]).await?.code, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn captions_and_metadata_of_the_user_are_taken_as_they_are() -> anyhow::Result<()> {
    let (pipeline, _workers) = Pipeline::complete().await?;
    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Validation, 6, 96, &folder)?;
    let names: Vec<&str> = gallery.pictures.iter().map(|picture| picture.name.as_str()).collect();
    let captions = serde_json::json!({ names[0]: ["a red hat", "a hat that is red"], format!("{}.png", names[1]): ["a bag"] });
    std::fs::write(folder.join("captions.json"), captions.to_string())?;
    let metadata = format!("{{\"image\": \"{}\", \"price\": 12.5}}\n", names[0]);
    std::fs::write(folder.join("metadata.jsonl"), metadata)?;
    let [path, captions, metadata] =
        ["", "captions.json", "metadata.jsonl"].map(|name| folder.join(name).display().to_string());
    let args = [
        "ingest",
        &path,
        "--captions",
        &captions,
        "--metadata",
        &metadata,
        "--wait",
        "--shards",
        "3",
        "--json",
    ];
    assert_eq!(pipeline.weimocir(&args).await?.json()?["captioned"], 6);

    // three shards answer as one gallery
    let answer = pipeline.weimocir(&["search", "a red hat", "--json", "-k", "10"]).await?.json()?;
    assert_eq!((ids(&answer).len(), &answer["images"]), (6, &6.into()));
    let candidates = answer["candidates"].as_array().cloned().unwrap_or_default();
    let of = |name: &str| {
        candidates.iter().find(|c| c["source"].as_str().is_some_and(|s| s.contains(name))).cloned()
    };
    let first = of(names[0]).unwrap_or_default();
    assert_eq!(first["captions"][1]["text"], "a hat that is red");
    assert_eq!(first["metadata"]["price"], 12.5);
    assert_eq!(of(names[1]).unwrap_or_default()["captions"].as_array().map(Vec::len), Some(1));
    assert!(of(names[2]).unwrap_or_default()["captions"][0]["text"].is_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_folder_gives_new_pictures_as_they_come() -> anyhow::Result<()> {
    let (pipeline, _workers) = Pipeline::complete().await?;
    let (first, later) = (pipeline.folder().join("first"), pipeline.folder().join("later"));
    render(Split::Validation, 3, 96, &first)?;
    let gallery = render(Split::Validation, 5, 96, &later)?;
    let name = format!("{}.png", gallery.pictures[4].name);
    let path = first.display().to_string();
    let args = ["ingest", &path, "--watch"];
    let watching = pipeline.weimocir(&args);
    let checking = async {
        weimocir_tests::until("the first three", || count(&pipeline, 3)).await?;
        std::fs::copy(later.join(&name), first.join(&name))?;
        weimocir_tests::until("the one that came later", || count(&pipeline, 4)).await
    };
    tokio::select! {
        ended = watching => anyhow::bail!("watching ended: {ended:?}"),
        checked = checking => checked,
    }
}

async fn count(pipeline: &Pipeline, images: u64) -> anyhow::Result<bool> {
    let status = pipeline.weimocir(&["status", "--json"]).await?.json()?;
    Ok(status["collections"][0]["images"] == images)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_finds_what_the_command_finds() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/search.py");
    let mut python = tokio::process::Command::new("python3");
    let asked = ready.pipeline.run(python.args([example, &ready.picture(5), "is blue"])).await?;
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    let expected = ready.search(&["is blue", "--reference", &ready.picture(5), "-k", "5"]).await?;
    let sources: Vec<&str> =
        asked.stdout.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let candidates = expected["candidates"].as_array().cloned().unwrap_or_default();
    let wanted: Vec<&str> =
        candidates.iter().filter_map(|candidate| candidate["source"].as_str()).collect();
    assert_eq!((sources.len(), sources), (5, wanted));

    let mut python = tokio::process::Command::new("python3");
    let notes = ready.path("notes.txt");
    std::fs::write(&notes, "no picture")?;
    let refused = ready.pipeline.run(python.args([example, &notes, "is blue"])).await?;
    assert!(refused.code == 1 && refused.stderr.contains("invalid"), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_a_list_are_fetched_and_what_is_wrong_is_named() -> anyhow::Result<()> {
    let (pipeline, _workers) = Pipeline::complete().await?;
    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Validation, 1, 96, &folder)?;
    let picture = std::fs::read(folder.join(format!("{}.png", gallery.pictures[0].name)))?;
    let host = serve_files(picture.clone()).await?;
    let lines = [
        format!(r#"{{"url": "{host}/good.png", "shop": "x"}}"#),
        format!(r#"{{"url": "{host}/missing.png"}}"#),
        r#"{"url": "ftp://127.0.0.1/a.png"}"#.to_owned(),
        r#"{"path": "nowhere.png"}"#.to_owned(),
        r#"{"shop": "x"}"#.to_owned(),
        r#"{"url": "http://169.254.169.254/latest/meta-data"}"#.to_owned(),
    ];
    let list = folder.join("list.jsonl");
    std::fs::write(&list, lines.join("\n"))?;
    let list = list.display().to_string();
    let ingest = ["ingest", &list, "--wait", "--json"];
    let outcome = pipeline.weimocir(&ingest).await?;
    let summary = outcome.json_of_any()?;
    assert_eq!((outcome.code, &summary["searchable"]), (3, &0.into()), "{summary}");
    let refused = summary["refused"].to_string();
    for why in ["127.0.0.1, which is loopback", "169.254.169.254, which is link-local"] {
        assert!(refused.contains(why), "{why} is not in {refused}");
    }

    let allowed = [&ingest[..], &["--allow-private-urls", "--url-timeout", "2"]].concat();
    let outcome = pipeline.weimocir(&allowed).await?;
    let summary = outcome.json_of_any()?;
    assert_eq!((outcome.code, &summary["searchable"]), (3, &1.into()), "{summary}");
    let refused = summary["refused"].to_string();
    for why in ["404", "only http and https", "nowhere.png", "list.jsonl:5", "neither"] {
        assert!(refused.contains(why), "{why} is not in {refused}");
    }

    let small = [&allowed[..], &["--max-bytes", "100", "--collection", "small"]].concat();
    let refused = pipeline.weimocir(&small).await?.json_of_any()?["refused"].to_string();
    assert!(refused.contains("larger than 100 bytes"), "{refused}");
    Ok(())
}

/// Answers `/good.png` with the bytes, and 404 to the rest.
async fn serve_files(bytes: Vec<u8>) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let host = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = client.read(&mut request).await.unwrap_or(0);
            let found = request[..read].starts_with(b"GET /good.png ");
            let (status, body) =
                if found { ("200 OK", &bytes[..]) } else { ("404 Not Found", &[][..]) };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let sent = client.write_all(&[head.as_bytes(), body].concat()).await;
            if sent.is_err() {
                break;
            }
        }
    });
    Ok(host)
}
