//! Captioners that are no model in this process: a server's, a file's, and `weimocir caption`.

use std::path::Path;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use weimocir_catalogue::Split;
use weimocir_domain::ImageId;
use weimocir_tests::{Kind, Pipeline, Worker, render};

const CAPTIONS: [&str; 3] = ["A thing.", "The image shows a thing.", "A thing on a background."];

/// Speaks the chat API: captions for who has the key `right`, else 401. Every third request is told
/// to come again.
async fn endpoint() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    tokio::spawn(async move {
        let mut requests = 0;
        while let Ok((client, _)) = listener.accept().await {
            requests += 1;
            let busy = requests % 3 == 0;
            tokio::spawn(async move { serve(client, busy).await });
        }
    });
    Ok(url)
}

async fn serve(mut client: TcpStream, busy: bool) -> std::io::Result<()> {
    let request = read(&mut client).await?;
    let content = json!({ "captions": CAPTIONS }).to_string();
    let (status, body) = if !request.to_lowercase().contains("authorization: bearer right") {
        ("401 Unauthorized", json!({ "error": { "message": "no such key" } }))
    } else if busy {
        ("429 Too Many Requests", json!({ "error": { "message": "later" } }))
    } else {
        let message = json!({ "role": "assistant", "content": content });
        ("200 OK", json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }))
    };
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nretry-after: 0\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    client.write_all((head + &body).as_bytes()).await
}

/// The head of a request, after all of the request has come.
async fn read(client: &mut TcpStream) -> std::io::Result<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().split_once("content-length: ").map_or(0, |(_, rest)| {
                    rest.split("\r\n").next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
                });
            if body.len() >= length {
                return Ok(head.to_owned());
            }
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(text);
        }
    }
}

/// A nats-server, a store, an encoder, and a captioner of these arguments.
async fn pipeline(caption: &[&str]) -> anyhow::Result<(Pipeline, Vec<Worker>)> {
    let pipeline = Pipeline::bare().await?;
    let mut workers = vec![];
    for kind in [Kind::Store, Kind::Encode] {
        workers.push(pipeline.start(kind, &[])?);
    }
    workers.push(pipeline.start(Kind::Caption, caption)?);
    for kind in [Kind::Store, Kind::Encode, Kind::Caption] {
        pipeline.until_alive(kind, 1).await?;
    }
    Ok((pipeline, workers))
}

/// The captions that the gallery holds of a picture.
async fn captions(pipeline: &Pipeline, picture: &Path) -> anyhow::Result<Value> {
    let id = ImageId::of(&std::fs::read(picture)?).to_string();
    Ok(pipeline.weimocir(&["get", &id, "--json"]).await?.json()?["captions"].clone())
}

fn key_file(folder: &Path, key: &str) -> anyhow::Result<String> {
    let path = folder.join(format!("{key}.key"));
    std::fs::write(&path, format!("{key}\n"))?;
    Ok(path.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_captions_the_gallery() -> anyhow::Result<()> {
    let url = endpoint().await?;
    let folder = tempfile::tempdir()?;
    let key = key_file(folder.path(), "right")?;
    let endpoint = ["--captioner", "endpoint", "--caption-url", &url, "--caption-model", "m"];
    let args = [&endpoint[..], &["--caption-key-file", &key]].concat();
    let (pipeline, _workers) = pipeline(&args).await?;
    let pictures = pipeline.folder().join("pictures");
    let gallery = render(Split::Validation, 6, 96, &pictures)?;
    let path = pictures.display().to_string();
    let summary = pipeline.weimocir(&["ingest", &path, "--wait", "--json"]).await?.json()?;
    assert_eq!(summary["captioned"], 6, "{summary}");
    for picture in gallery.pictures {
        let picture = pictures.join(format!("{}.png", picture.name));
        assert_eq!(captions(&pipeline, &picture).await?, json!(CAPTIONS));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_key_is_refused_stops_and_says_so() -> anyhow::Result<()> {
    let url = endpoint().await?;
    let folder = tempfile::tempdir()?;
    let key = key_file(folder.path(), "wrong")?;
    let endpoint = ["--captioner", "endpoint", "--caption-url", &url, "--caption-model", "m"];
    let args = [&endpoint[..], &["--caption-key-file", &key]].concat();
    let (pipeline, mut workers) = pipeline(&args).await?;
    let pictures = pipeline.folder().join("pictures");
    render(Split::Validation, 1, 96, &pictures)?;
    let path = pictures.display().to_string();
    assert_eq!(pipeline.weimocir(&["ingest", &path]).await?.code, 0);
    let Some(captioner) = workers.pop() else { anyhow::bail!("there is no captioner") };
    assert_eq!(captioner.ended().await?, 1);
    let log = pipeline.log(Kind::Caption);
    assert!(log.contains("does not take the key: it answered 401"), "{log}");

    // the picture waits for a worker that can
    assert_eq!(pipeline.weimocir(&["dead", "list", "--json"]).await?.json()?, json!([]));
    let _other = pipeline.start(Kind::Caption, &[])?;
    weimocir_tests::until("the captions", || async {
        let status = pipeline.weimocir(&["status", "--json"]).await?.json()?;
        Ok(status["collections"][0]["captioned"] == 1)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_captions_the_pictures_that_it_names() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let gallery = weimocir_catalogue::gallery(Split::Validation, 3);
    let names: Vec<&str> = gallery.pictures.iter().map(|picture| picture.name.as_str()).collect();
    let published = json!([
        { "candidate": names[0], "captions": ["One.", "Two.", "Three.", "Of another picture."] },
        { "candidate": format!("{}.png", names[1]), "captions": ["Four."] },
    ]);
    let file = folder.path().join("captions.json");
    std::fs::write(&file, published.to_string())?;
    let captioner = format!("file:{}", file.display());
    let (pipeline, _workers) = pipeline(&["--captioner", &captioner]).await?;
    let pictures = pipeline.folder().join("pictures");
    render(Split::Validation, 3, 96, &pictures)?;
    let path = pictures.display().to_string();
    let outcome = pipeline.weimocir(&["ingest", &path, "--wait", "--json"]).await?;
    let summary = outcome.json_of_any()?;
    let refused = summary["refused"].as_array().cloned().unwrap_or_default();
    assert_eq!((outcome.code, refused.len()), (3, 1), "{summary}");
    assert!(refused[0]["source"].as_str().is_some_and(|source| source.contains(names[2])));
    let reason = refused[0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("has no entry for") && reason.contains(names[2]), "{reason}");

    for (name, expected) in
        [(names[0], json!(["One.", "Two.", "Three."])), (names[1], json!(["Four."]))]
    {
        let picture = pictures.join(format!("{name}.png"));
        assert_eq!(captions(&pipeline, &picture).await?, expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_captioned_without_nats() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let pictures = pipeline.folder().join("pictures");
    let gallery = render(Split::Validation, 2, 96, &pictures)?;
    let file = |number: usize| {
        pictures.join(format!("{}.png", gallery.pictures[number].name)).display().to_string()
    };
    let (first, second) = (file(0), file(1));
    let nowhere = ["--nats", "nats://127.0.0.1:1"];

    let args = ["caption", &first, &second, "-r", "2", "--seed", "5", "--json"];
    let report = pipeline.weimocir(&[&args[..], &nowhere].concat()).await?.json()?;
    assert!(report["model"].as_str().is_some_and(|m| m.starts_with("bundled-captioner:")));
    let images = report["images"].as_array().cloned().unwrap_or_default();
    assert_eq!((&images[0]["file"], &images[1]["file"]), (&json!(first), &json!(second)));
    for image in &images {
        let captions = image["captions"].as_array().map_or(0, Vec::len);
        assert!((1..=2).contains(&captions), "{image}");
    }
    let again = pipeline.weimocir(&[&args[..], &nowhere].concat()).await?.json()?;
    assert_eq!(again, report);

    let text = pipeline.folder().join("notes.txt").display().to_string();
    std::fs::write(&text, "no picture")?;
    let args = ["caption", &text, &first, "/missing.png", &second];
    let outcome = pipeline.weimocir(&args).await?;
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("{text}: the bytes are not a picture")));
    assert!(outcome.stderr.contains("/missing.png: it cannot be read"), "{}", outcome.stderr);
    let captioned = outcome.stdout.lines().filter(|line| !line.starts_with(' '));
    assert_eq!(captioned.collect::<Vec<_>>(), [&first, &second]);
    let report = pipeline.weimocir(&[&args[..], &["--json"]].concat()).await?;
    assert_eq!(report.code, 3);
    let report = report.json_of_any()?;
    assert!(report["images"][0]["error"].as_str().is_some_and(|e| e.contains("not a picture")));
    assert_eq!(report["images"][3]["file"], second);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_captioned_by_an_endpoint() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let url = endpoint().await?;
    let pictures = pipeline.folder().join("pictures");
    let gallery = render(Split::Validation, 1, 96, &pictures)?;
    let file = pictures.join(format!("{}.png", gallery.pictures[0].name)).display().to_string();
    let ask = ["caption", &file, "--model", "endpoint", "--caption-url", &url];
    let ask = [&ask[..], &["--caption-model", "m", "--json", "--caption-key-file"]].concat();

    let right = key_file(pipeline.folder(), "right")?;
    let report = pipeline.weimocir(&[&ask[..], &[&right]].concat()).await?.json()?;
    assert_eq!(report["images"][0]["captions"], json!(CAPTIONS), "{report}");
    assert!(report["model"].as_str().is_some_and(|model| model.starts_with("endpoint:m@127")));

    let wrong = key_file(pipeline.folder(), "wrong")?;
    let outcome = pipeline.weimocir(&[&ask[..], &[&wrong]].concat()).await?;
    assert!(outcome.code == 1 && outcome.stderr.contains("does not take the key"), "{outcome:?}");

    let outcome = pipeline.weimocir(&["caption", &file, "--model", "endpoint"]).await?;
    assert!(outcome.code == 1 && outcome.stderr.contains("needs --caption-url"), "{outcome:?}");
    Ok(())
}
