//! A bucket as a feed. `s3s` speaks the protocol and checks the signatures; the objects are in memory,
//! so that the service can be busy and forbidding.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use anyhow::ensure;
use s3s::{
    Body, S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        GetObjectInput, GetObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
        StreamingBlob,
    },
    s3_error,
    service::S3ServiceBuilder,
};
use serde_json::Value;
use tokio::process::{Child, Command};
use weimocir_domain::{Collection, ImageId, Shard};
use weimocir_runtime::ShardLog;
use weimocir_tests::{Outcome, Pipeline, Worker, program, tiny, until};

const BUCKET: &str = "gallery";
const SECRET: &str = "sesame";
/// One request of so many is told to slow down.
const BUSY: usize = 40;

type Objects = Arc<Mutex<BTreeMap<String, (Vec<u8>, SystemTime)>>>;

/// The service of one bucket.
#[derive(Clone, Default)]
struct Shop {
    objects: Objects,
    asked: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

impl Shop {
    fn put(&self, key: &str, bytes: Vec<u8>) {
        self.objects.lock().unwrap().insert(key.to_owned(), (bytes, SystemTime::now()));
    }

    fn remove(&self, key: &str) {
        self.objects.lock().unwrap().remove(key);
    }

    fn slow_down(&self) -> S3Result<()> {
        match self.asked.fetch_add(1, Ordering::Relaxed) % BUSY {
            7 => Err(s3_error!(SlowDown)),
            _ => Ok(()),
        }
    }

    /// On a port of its own, whose address it gives.
    async fn serve(&self) -> anyhow::Result<String> {
        let mut service = S3ServiceBuilder::new(self.clone());
        service.set_auth(SimpleAuth::from_single("shop", SECRET));
        let service = service.build().into_shared();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(client), service.clone());
                // because: a client that leaves is no failure of the service
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Ok(address)
    }
}

#[async_trait::async_trait]
impl S3 for Shop {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.slow_down()?;
        let input = request.input;
        if input.bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let (prefix, after) = (input.prefix.unwrap_or_default(), input.continuation_token);
        let objects = self.objects.lock().unwrap();
        let wanted = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
        let mut wanted = wanted.skip_while(|(key, _)| after.as_ref().is_some_and(|a| *key <= a));
        let contents: Vec<Object> = wanted
            .by_ref()
            .take(1_000)
            .map(|(key, (bytes, at))| Object {
                key: Some(key.clone()),
                size: Some(bytes.len() as i64),
                last_modified: Some((*at).into()),
                e_tag: Some(listed_tag(key, bytes)),
                ..Object::default()
            })
            .collect();
        let more = wanted.next().is_some();
        let last = contents.last().and_then(|object| object.key.clone());
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: Some(contents.len() as i32),
            contents: Some(contents),
            is_truncated: Some(more),
            next_continuation_token: last.filter(|_| more),
            name: Some(input.bucket),
            prefix: Some(prefix),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.slow_down()?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        let key = request.input.key;
        if key.ends_with("locked.png") {
            return Err(s3_error!(AccessDenied));
        }
        let objects = self.objects.lock().unwrap();
        let (bytes, at) = objects.get(&key).ok_or_else(|| s3_error!(NoSuchKey))?.clone();
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(bytes.len() as i64),
            e_tag: Some(format!("\"{}\"", ImageId::of(&bytes))),
            last_modified: Some(at.into()),
            body: Some(StreamingBlob::from(Body::from(bytes::Bytes::from(bytes)))),
            ..GetObjectOutput::default()
        }))
    }
}

/// The ETag, with a line break inside where a key asks for it.
fn listed_tag(key: &str, bytes: &[u8]) -> String {
    let middle = if key.ends_with("odd.png") { "\n" } else { "" };
    format!("\"{middle}{}\"", ImageId::of(bytes))
}

fn id(n: u32) -> String {
    ImageId::of(&tiny(n)).to_string()
}

struct Ready {
    pipeline: Pipeline,
    _workers: Vec<Worker>,
    shop: Shop,
    address: String,
}

impl Ready {
    async fn new() -> anyhow::Result<Self> {
        let (pipeline, workers) = Pipeline::complete().await?;
        let shop = Shop::default();
        let address = shop.serve().await?;
        Ok(Self { pipeline, _workers: workers, shop, address })
    }

    fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(program("weimocir")?);
        command
            .args(args)
            .env("WEIMOCIR_NATS", self.pipeline.url())
            .env("AWS_ACCESS_KEY_ID", "shop")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_ENDPOINT_URL", &self.address)
            .env("AWS_ALLOW_HTTP", "true")
            .kill_on_drop(true);
        Ok(command)
    }

    async fn ingest(&self, args: &[&str]) -> anyhow::Result<Outcome> {
        let args = [&["ingest", "--no-captions", "--json"], args].concat();
        self.pipeline.run(&mut self.command(&args)?).await
    }

    fn begin(&self, args: &[&str]) -> anyhow::Result<Child> {
        let args = [&["ingest", "--no-captions"], args].concat();
        Ok(self.command(&args)?.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Submissions that there have ever been.
    async fn submissions(&self) -> anyhow::Result<u64> {
        let context = async_nats::jetstream::new(async_nats::connect(self.pipeline.url()).await?);
        Ok(context.get_stream("WEIMOCIR_WORK").await?.get_info().await?.state.last_sequence)
    }

    async fn holds(&self, images: u64) -> anyhow::Result<bool> {
        let status = self.pipeline.weimocir(&["status", "--json"]).await?.json()?;
        Ok(status["collections"][0]["images"] == images)
    }

    async fn has(&self, n: u32) -> anyhow::Result<bool> {
        Ok(self.pipeline.weimocir(&["get", &id(n), "--json"]).await?.code == 0)
    }
}

const COUNT: u32 = 2_000;

fn key(n: u32) -> String {
    format!("shoes/{n:04}.png")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_taken_once_whatever_happens_to_its_feed() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    (0..COUNT).for_each(|n| ready.shop.put(&key(n), tiny(n)));
    ready.shop.put("shoes/notes.txt", b"no picture".to_vec());
    ready.shop.put("hats/1.png", tiny(COUNT));
    ready.shop.put("hats/odd.png", tiny(COUNT + 2));

    let mut first = ready.begin(&["s3://gallery/shoes"])?;
    until("a part of it", async || Ok(ready.submissions().await? > 700)).await?;
    first.kill().await?;
    let before = ready.submissions().await?;
    assert!(before < u64::from(COUNT), "it was done before it could be killed");

    ready.shop.put("shoes/broken.png", b"no picture".to_vec());
    ready.shop.put("shoes/locked.png", tiny(COUNT + 1));
    let outcome = ready.ingest(&["s3://gallery/shoes/", "--wait"]).await?;
    let summary = outcome.json_of_any()?;
    assert_eq!((outcome.code, summary["refused"].as_array().map(Vec::len)), (3, Some(2)));
    let refused = summary["refused"].to_string();
    for why in ["s3://gallery/shoes/broken.png", "known format", "locked.png", "AccessDenied"] {
        assert!(refused.contains(why), "{why} is not in {refused}");
    }
    let of = |name: &str| summary[name].as_u64().unwrap_or_default();
    let all = of("submitted") + of("already_there") + of("unchanged");
    assert_eq!(all, u64::from(COUNT), "{summary}");
    // because: no more than were on their way when it was killed are read again
    assert!(of("unchanged") + 64 > before, "{before} were submitted: {summary}");
    until("the gallery", async || ready.holds(COUNT.into()).await).await?;
    assert_eq!(ready.submissions().await?, u64::from(COUNT), "a picture was submitted twice");
    let bus = ready.pipeline.bus().await?;
    let log = ShardLog::open(&bus, &Collection::default(), Shard(0)).await?;
    assert_eq!(log.identity().last_sequence, u64::from(COUNT), "a vector was written twice");

    // all of it is known now, and nothing is read but what failed
    let reads = ready.shop.reads.load(Ordering::Relaxed);
    let summary = ready.ingest(&["s3://gallery/shoes"]).await?.json_of_any()?;
    assert_eq!((&summary["unchanged"], &summary["submitted"]), (&COUNT.into(), &0.into()));
    assert!(ready.shop.reads.load(Ordering::Relaxed) < reads + 20, "it was read again");
    // another folder is another matter
    let summary = ready.ingest(&["s3://gallery/hats", "--wait"]).await?.json()?;
    assert_eq!((&summary["searchable"], &summary["unchanged"]), (&2.into(), &0.into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_bucket_is_followed() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    (0..20).for_each(|n| ready.shop.put(&key(n), tiny(n)));
    ready.shop.put("shoes/same as 3.png", tiny(3));
    let watch = ["s3://gallery/shoes", "--watch", "--poll", "1", "--follow-deletions"];
    let mut watching = ready.begin(&watch)?;
    until("the first look", async || ready.holds(20).await).await?;

    ready.shop.put(&key(100), tiny(100));
    until("the one that was added", async || ready.has(100).await).await?;
    ready.shop.put(&key(5), tiny(105));
    until("the change", async || Ok(ready.has(105).await? && !ready.has(5).await?)).await?;
    ready.shop.remove(&key(6));
    until("the deletion", async || Ok(!ready.has(6).await?)).await?;
    assert!(ready.holds(20).await?);

    // changes while nobody looks; one of two equal objects goes, and a picture comes back
    watching.kill().await?;
    ready.shop.remove(&key(3));
    ready.shop.remove(&key(7));
    ready.shop.put(&key(8), tiny(108));
    ready.shop.put(&key(6), tiny(6));
    let _watching = ready.begin(&watch)?;
    until("what changed meanwhile", async || {
        let there = ready.has(108).await? && ready.has(6).await?;
        Ok(there && !ready.has(7).await? && !ready.has(8).await?)
    })
    .await?;
    assert!(ready.has(3).await?, "an image went whose other object is there");
    assert!(ready.holds(20).await?);
    ready.shop.remove("shoes/same as 3.png");
    until("the end of both", async || Ok(!ready.has(3).await?)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_server_is_away_is_taken_when_it_is_back() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    ready.shop.put(&key(0), tiny(0));
    let _watching = ready.begin(&["s3://gallery/shoes", "--watch", "--poll", "1"])?;
    until("the first look", async || ready.has(0).await).await?;

    ready.pipeline.stop_server().await?;
    let reads = || ready.shop.reads.load(Ordering::Relaxed);
    let before = reads();
    (1..4).for_each(|n| ready.shop.put(&key(n), tiny(n)));
    // because: what a first look could not submit is read by the second
    until("a second look", async || Ok(reads() > before + 3)).await?;
    ready.pipeline.restart_server().await?;
    until("all of them", async || {
        Ok(ready.has(1).await? && ready.has(2).await? && ready.has(3).await?)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_of_one_object_is_not_taken_for_its_twin() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    for twin in ["first", "second"] {
        ready.shop.put(&format!("shoes/broken {twin}.png"), b"no picture".to_vec());
        ready.shop.put(&format!("shoes/priced {twin}.png"), tiny(1));
    }
    let metadata = ready.pipeline.folder().join("metadata.json");
    std::fs::write(
        &metadata,
        r#"{"priced first": {"price": "cheap"}, "priced second": {"price": 3}}"#,
    )?;
    let metadata = metadata.display().to_string();
    // because: the one that is refused must come first
    let args = ["s3://gallery/shoes", "--wait", "--jobs", "1", "--field", "price:integer"];
    let args = [&args[..], &["--metadata", &metadata]].concat();
    for (submitted, unchanged) in [(1, 0), (0, 1)] {
        let outcome = ready.ingest(&args).await?;
        let summary = outcome.json_of_any()?;
        let refused = summary["refused"].to_string();
        for source in ["broken first.png", "broken second.png", "priced first.png"] {
            assert!(refused.contains(source), "{source} is not in {refused}");
        }
        assert_eq!((outcome.code, summary["refused"].as_array().map(Vec::len)), (3, Some(3)));
        assert_eq!(summary["submitted"], submitted, "{summary}");
        assert_eq!(summary["unchanged"], unchanged, "{summary}");
    }
    assert!(ready.has(1).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_stays_as_long_as_any_folder_of_the_bucket_has_it() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    let objects = [("shoes/a.png", 1), ("shoes/b.png", 2), ("hats/a.png", 1), ("hats/c.png", 3)];
    objects.into_iter().for_each(|(key, n)| ready.shop.put(key, tiny(n)));
    let follow = ["--poll", "1", "--follow-deletions"];
    let folders = ["s3://gallery/shoes", "s3://gallery/hats", "--watch"];
    let mut watching = ready.begin(&[&folders[..], &follow].concat())?;
    until("both folders", async || ready.holds(3).await).await?;

    ready.shop.remove("shoes/a.png");
    ready.shop.remove("shoes/b.png");
    until("the deletion", async || Ok(!ready.has(2).await?)).await?;
    // because: what comes now is taken after the end of that deletion
    ready.shop.put("shoes/d.png", tiny(4));
    until("the one that was added", async || ready.has(4).await).await?;
    assert!(ready.has(1).await?, "an image went whose object in another folder is there");

    // taken again by force, a folder still ends what is gone
    watching.kill().await?;
    ready.shop.remove("hats/c.png");
    let forced = ["s3://gallery/hats", "--wait", "--force", "--follow-deletions"];
    let summary = ready.ingest(&forced).await?.json()?;
    assert_eq!((&summary["submitted"], &summary["deleted"]), (&1.into(), &1.into()), "{summary}");
    assert!(ready.has(1).await? && !ready.has(3).await?);
    // and the image of two folders goes with the last object
    ready.shop.put("hats/e.png", tiny(5));
    ready.shop.remove("hats/a.png");
    let summary = ready.ingest(&["s3://gallery/hats", "--follow-deletions"]).await?.json()?;
    assert_eq!(summary["deleted"], 1, "{summary}");
    assert!(!ready.has(1).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_bucket_is_said() -> anyhow::Result<()> {
    let ready = Ready::new().await?;
    ready.shop.put("shoes/notes.txt", b"no picture".to_vec());
    let told = async |outcome: Outcome, why: &[&str]| -> anyhow::Result<()> {
        let Outcome { code, stdout, stderr } = outcome;
        ensure!(
            code == 1 && why.iter().all(|why| stderr.contains(why)),
            "{code} {stdout} {stderr}"
        );
        ensure!(!stderr.contains(SECRET), "{stderr}");
        Ok(())
    };
    let none = ["no picture below s3://gallery/shoes"];
    told(ready.ingest(&["s3://gallery/shoes"]).await?, &none).await?;
    told(ready.ingest(&["s3://nowhere"]).await?, &["s3://nowhere", "NoSuchBucket"]).await?;
    told(ready.ingest(&["s3://"]).await?, &["names no bucket"]).await?;
    told(ready.ingest(&["s3://gallery/a//b"]).await?, &["s3://gallery/a//b"]).await?;
    told(ready.ingest(&["s3://gallery", "."]).await?, &["two feeds"]).await?;
    told(ready.ingest(&[".", "--follow-deletions"]).await?, &["--follow-deletions"]).await?;
    let args = ["ingest", "--json", "s3://gallery/shoes"];
    let wrong = ready.command(&args)?.env("AWS_SECRET_ACCESS_KEY", "simsim").output().await?;
    let text = String::from_utf8(wrong.stderr)?;
    ensure!(wrong.status.code() == Some(1) && text.contains("SignatureDoesNotMatch"), "{text}");
    let plain = ready.command(&args)?.env("AWS_ALLOW_HTTP", "false").output().await?;
    let document: Value = serde_json::from_slice(&plain.stdout)?;
    ensure!(plain.status.code() == Some(1), "http was used unasked: {document}");
    Ok(())
}
