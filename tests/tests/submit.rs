//! Pictures over NATS: `weimocir.submit` as any client asks it, and all that is wrong with a request.

use std::time::Duration;

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use weimocir_catalogue::Split;
use weimocir_domain::ImageId;
use weimocir_tests::{Outcome, Pipeline, Worker, render, until};
use weimocir_wire::{
    Blob, subjects,
    submit::{SubmitAnswer, SubmitOutcome, SubmitRequest},
};

struct Ready {
    pipeline: Pipeline,
    _workers: Vec<Worker>,
    client: async_nats::Client,
    url: String,
    pictures: Vec<String>,
}

impl Ready {
    async fn new(gateway: &[&str]) -> anyhow::Result<Self> {
        let (pipeline, mut workers) = Pipeline::complete().await?;
        pipeline.weimocir(&["provision", "--collection", "default", "--json"]).await?.json()?;
        let (worker, url) = pipeline.start_gateway(gateway).await?;
        workers.push(worker);
        let folder = pipeline.folder().join("pictures");
        let gallery = render(Split::Validation, 4, 96, &folder)?;
        let path = |name: &str| folder.join(format!("{name}.png")).display().to_string();
        let pictures = gallery.pictures.iter().map(|picture| path(&picture.name)).collect();
        let client = async_nats::connect(pipeline.url()).await?;
        Ok(Self { pipeline, _workers: workers, client, url, pictures })
    }

    fn picture(&self, n: usize) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(&self.pictures[n])?)
    }

    /// As a client that has never heard of our types.
    async fn submit(&self, payload: &str) -> anyhow::Result<Value> {
        let answer = self.client.request(subjects::SUBMIT, payload.to_owned().into()).await?;
        Ok(serde_json::from_slice(&answer.payload)?)
    }

    async fn python(&self, pictures: &[&str]) -> anyhow::Result<Outcome> {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/submit.py");
        let mut python = tokio::process::Command::new("python3");
        self.pipeline.run(python.arg(example).args(pictures)).await
    }

    /// Waits until the closest image to a picture is the picture.
    async fn until_found(&self, n: usize) -> anyhow::Result<Value> {
        let id = ImageId::of(&self.picture(n)?).to_string();
        let reference = ["search", "--reference", &self.pictures[n], "-k", "1", "--json"];
        // because: a reference that the gallery has is left out otherwise
        let args = [&reference[..], &["--keep-reference"]].concat();
        let found = async || -> anyhow::Result<Option<Value>> {
            let outcome = self.pipeline.weimocir(&args).await?;
            let answer = outcome.json_of_any()?;
            let candidate = answer["candidates"][0].clone();
            Ok((candidate["image"] == id.as_str()).then_some(candidate))
        };
        until("the picture in a search", async || Ok(found().await?.is_some())).await?;
        found().await?.context("it is gone again")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_puts_pictures_in_and_a_search_finds_them() -> anyhow::Result<()> {
    let ready = Ready::new(&["--allow-private-urls"]).await?;
    let [first, second] = [&*ready.pictures[0], &*ready.pictures[1]];
    let told = ready.python(&[first, second]).await?;
    let id = |n: usize| anyhow::Ok(ImageId::of(&ready.picture(n)?).to_string());
    let lines = |outcome: &str| -> anyhow::Result<String> {
        Ok(format!("{}  {outcome}  {first}\n{}  {outcome}  {second}\n", id(0)?, id(1)?))
    };
    assert_eq!((told.code, told.stdout), (0, lines("submitted")?), "{}", told.stderr);
    let found = ready.until_found(1).await?;
    assert_eq!(found["source"], second);
    until("the captions", async || Ok(ready.until_found(1).await?["captions"][2].is_object()))
        .await?;
    ready.until_found(0).await?;
    until("both to be there", async || {
        Ok(ready.python(&[first]).await?.stdout.contains("present"))
    })
    .await?;

    // by its address, which here is the gateway's own of another picture
    let file = format!("{}/v1/images/{}/file", ready.url, id(0)?);
    let told = ready.python(&[&file, "/dev/null"]).await?;
    assert_eq!((told.code, told.stdout), (1, format!("{}  present  {file}\n", id(0)?)));
    assert!(told.stderr.contains("/dev/null: invalid: the file is empty"), "{}", told.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn message_pack_metadata_and_captions_of_its_own() -> anyhow::Result<()> {
    let ready = Ready::new(&[]).await?;
    let bytes = ready.picture(2)?;
    let request = SubmitRequest {
        image: Some(Blob(bytes.clone())),
        source: Some("shop/2".into()),
        metadata: json!({ "price": 12.5 }).as_object().cloned().unwrap_or_default(),
        captions: Some(vec!["a thing that nobody draws".into()]),
        ..SubmitRequest::default()
    };
    let bus = ready.pipeline.bus().await?;
    let answer: SubmitAnswer = bus.ask(subjects::SUBMIT, &request, Duration::from_secs(10)).await?;
    let id = ImageId::of(&bytes);
    assert_eq!(answer, SubmitAnswer { id, outcome: SubmitOutcome::Submitted });
    until("its caption", async || {
        Ok(ready.until_found(2).await?["captions"][0]["text"] == "a thing that nobody draws")
    })
    .await?;
    let found = ready.until_found(2).await?;
    assert_eq!((&found["source"], &found["metadata"]["price"]), (&"shop/2".into(), &12.5.into()));
    assert_eq!(found["captions"].as_array().map(Vec::len), Some(1));

    let uncaptioned =
        json!({ "image": BASE64_STANDARD.encode(ready.picture(3)?), "make_captions": false });
    assert_eq!(ready.submit(&uncaptioned.to_string()).await?["outcome"], "submitted");
    assert_eq!(ready.until_found(3).await?["captions"], json!([]));
    let backlog = bus.backlog("WEIMOCIR_WORK", "caption").await?;
    assert_eq!((backlog.waiting, backlog.in_work), (0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_submission_is_said() -> anyhow::Result<()> {
    let ready = Ready::new(&["--http-max-bytes", "100000", "--url-timeout", "2"]).await?;
    let image = BASE64_STANDARD.encode(ready.picture(0)?);
    let large = BASE64_STANDARD.encode(vec![0; 100_001]);
    let long = json!({ "x": "y".repeat(9_000) });
    let cases = [
        (json!({}), "invalid", "one of `image` and `url`"),
        (json!({ "image": image, "url": "http://a/b.png" }), "invalid", "one of `image` and `url`"),
        (json!({ "image": "no base64!" }), "invalid", "Invalid symbol"),
        (json!({ "image": 7 }), "invalid", "invalid type"),
        (json!({ "image": BASE64_STANDARD.encode("<svg/>") }), "invalid", "not a picture"),
        (json!({ "image": "" }), "invalid", "empty"),
        (json!({ "image": large }), "invalid", "larger than 100000 bytes"),
        (json!({ "image": image, "metadata": long }), "invalid", "metadata"),
        (json!({ "image": image, "metadata": [1] }), "invalid", "expected a map"),
        (json!({ "image": image, "colour": "red" }), "invalid", "unknown field"),
        (json!({ "image": image, "version": 9 }), "invalid", "version 9"),
        (json!({ "image": image, "collection": "No Such" }), "invalid", "collection"),
        (
            json!({ "image": image, "collection": "nowhere" }),
            "unknown_collection",
            "`nowhere`; there are: default",
        ),
        (json!({ "url": "http://127.0.0.1:1/a.png" }), "invalid", "127.0.0.1, which is loopback"),
        (json!({ "url": "http://169.254.169.254/latest" }), "invalid", "link-local"),
        (json!({ "url": "file:///etc/passwd" }), "invalid", "only http and https"),
        (json!({ "url": "http://nowhere.invalid/a.png" }), "unavailable", "nowhere.invalid"),
    ];
    for (request, code, why) in cases {
        let answer = ready.submit(&request.to_string()).await?;
        let told = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(answer["error"]["code"] == code && told.contains(why), "{code}, {why}: {answer}");
    }
    let answer = ready.submit("{\"image\": ").await?;
    assert_eq!(answer["error"]["code"], "invalid", "{answer}");
    let status = ready.pipeline.weimocir(&["status", "--json"]).await?.json()?;
    assert_eq!(status["collections"][0]["images"], 0, "{status}");
    assert_eq!(
        status["backlog"]["encode image"],
        json!({ "waiting": 0, "in_work": 0 }),
        "{status}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_at_once_than_a_gateway_takes_are_told_that_it_is_busy() -> anyhow::Result<()> {
    let ready = Ready::new(&["--http-uploads", "1", "--allow-private-urls"]).await?;
    // a server that takes a connection and says nothing holds the one place
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let slow = json!({ "url": format!("http://{}/a.png", listener.local_addr()?) }).to_string();
    let asking = ready.submit(&slow);
    let others = async {
        let (held, _) = listener.accept().await?;
        let image = json!({ "image": BASE64_STANDARD.encode(ready.picture(0)?) }).to_string();
        let refused = ready.submit(&image).await?;
        assert_eq!(refused["error"]["code"], "busy", "{refused}");
        drop((held, listener));
        anyhow::Ok(image)
    };
    let (slow, image) = tokio::join!(asking, others);
    assert_eq!(slow?["error"]["code"], "unavailable");
    assert_eq!(ready.submit(&image?).await?["outcome"], "submitted");
    Ok(())
}
