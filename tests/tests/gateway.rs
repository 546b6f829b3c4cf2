//! The HTTP interface against a whole pipeline: every route, and everything that is wrong with a request.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use weimocir_catalogue::Split;
use weimocir_domain::{Collection, ImageId, Revision};
use weimocir_runtime::{Collections, Pictures};
use weimocir_tests::{Kind, Pipeline, Worker, render};
use weimocir_wire::{
    search::{SearchAnswer, SearchRequest},
    subjects,
    work::{EncodeInLane, Metadata},
};

struct Ready {
    pipeline: Pipeline,
    workers: Vec<Worker>,
    url: String,
    pictures: Vec<PathBuf>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(held, _)| held == name);
        found.map_or("", |(_, value)| value)
    }

    fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    fn ok(&self, status: u16) -> anyhow::Result<Value> {
        let body = self.json()?;
        ensure!(self.status == status, "{}: {body}", self.status);
        Ok(body)
    }

    /// A problem document of this status and code.
    fn problem(&self, status: u16, code: &str) -> anyhow::Result<String> {
        let body = self.ok(status)?;
        ensure!(self.header("content-type") == "application/problem+json", "{body}");
        ensure!(body["status"] == status && body["code"] == code, "{body}");
        Ok(body["detail"].as_str().context("no detail")?.to_owned())
    }
}

impl Ready {
    async fn new(args: &[&str]) -> anyhow::Result<Self> {
        let (pipeline, mut workers) = Pipeline::complete().await?;
        let (gateway, url) = pipeline.start_gateway(args).await?;
        workers.push(gateway);
        pipeline.until_alive(Kind::Gateway, 1).await?;
        let folder = pipeline.folder().join("pictures");
        let gallery = render(Split::Test, 12, 128, &folder)?;
        let pictures = gallery.pictures.iter().map(|p| folder.join(format!("{}.png", p.name)));
        Ok(Self { pictures: pictures.collect(), pipeline, workers, url })
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let mut request =
            ureq::http::Request::builder().method(method).uri(self.url.clone() + path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body)?;
        tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false);
            let agent: ureq::Agent = config
                .timeout_global(Some(Duration::from_secs(60)))
                .allow_non_standard_methods(true)
                .build()
                .into();
            let mut answer = agent.run(request)?;
            let headers = answer.headers().iter().map(|(name, value)| {
                (name.to_string(), value.to_str().unwrap_or_default().to_owned())
            });
            let headers = headers.collect();
            let status = answer.status().as_u16();
            let body = answer.body_mut().with_config().limit(1 << 28).read_to_vec()?;
            anyhow::Ok(Answer { status, headers, body })
        })
        .await?
    }

    async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send("GET", path, &[], vec![]).await
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        let json = [("content-type", "application/json")];
        self.send("POST", path, &json, body.to_string().into_bytes()).await
    }

    async fn form(
        &self,
        path: &str,
        parts: &[(&str, Option<&str>, &[u8])],
    ) -> anyhow::Result<Answer> {
        let mut body = Vec::new();
        for (name, file, bytes) in parts {
            let file = file.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
            let head =
                format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
        }
        body.extend(b"--edge--\r\n");
        self.send("POST", path, &[("content-type", "multipart/form-data; boundary=edge")], body)
            .await
    }

    fn picture(&self, n: usize) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(&self.pictures[n])?)
    }

    /// Submits some pictures in one form, and waits until each is searchable and captioned.
    async fn fill(&self, collection: &str, count: usize) -> anyhow::Result<Vec<String>> {
        let files = (0..count).map(|n| self.picture(n)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = (0..count).map(|n| format!("{n}.png")).collect();
        let parts =
            names.iter().zip(&files).map(|(name, file)| ("image", Some(name.as_str()), &file[..]));
        let parts: Vec<_> = parts.collect();
        let answer =
            self.form(&format!("/v1/collections/{collection}/images"), &parts).await?.ok(202)?;
        let images = answer["images"].as_array().context("no images")?.clone();
        let ids: Vec<String> =
            images.iter().filter_map(|image| image["id"].as_str().map(str::to_owned)).collect();
        ensure!(ids.len() == count, "{answer}");
        let followed = self.follow(collection, &ids).await?;
        ensure!(
            followed.iter().filter(|e| e["state"] == "captioned").count() == count,
            "{followed:?}"
        );
        Ok(ids)
    }

    /// What becomes of images, to the end.
    async fn follow(&self, collection: &str, ids: &[String]) -> anyhow::Result<Vec<Value>> {
        let query: Vec<String> = ids.iter().map(|id| format!("id={id}")).collect();
        let path = format!("/v1/collections/{collection}/events?{}", query.join("&"));
        let answer = self.get(&path).await?;
        ensure!(answer.header("content-type") == "text/event-stream", "{}", answer.status);
        let text = String::from_utf8(answer.body)?;
        ensure!(text.trim_end().ends_with("event: done\ndata: {}"), "{text}");
        let events =
            text.split("\n\n").filter_map(|event| event.strip_prefix("event: image\ndata: "));
        events.map(|data| Ok(serde_json::from_str(data)?)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_go_in_and_are_searched() -> anyhow::Result<()> {
    let ready = Ready::new(&[]).await?;
    let ids = ready.fill("default", 8).await?;
    let images = "/v1/collections/default/images";

    // the newest first, page by page, until there are no more
    let (mut listed, mut next) = (Vec::new(), String::new());
    loop {
        let page = ready.get(&format!("{images}?limit=3{next}")).await?.ok(200)?;
        let of_page = page["images"].as_array().context("no images")?;
        listed.extend(
            of_page.iter().map(|image| image["id"].as_str().unwrap_or_default().to_owned()),
        );
        match &page["next"] {
            Value::Null => break,
            cursor => next = format!("&cursor={cursor}"),
        }
    }
    assert_eq!(listed, ids.iter().rev().cloned().collect::<Vec<_>>());

    // a picture is what it was, made small or not, and is loaded once
    let file = ready.get(&format!("/v1/images/{}/file", ids[0])).await?;
    assert_eq!((file.body.clone(), file.header("content-type")), (ready.picture(0)?, "image/png"));
    let tag = file.header("etag");
    let path = format!("/v1/images/{}/file", ids[0]);
    assert_eq!(ready.send("GET", &path, &[("if-none-match", tag)], vec![]).await?.status, 304);
    let small = ready.get(&format!("/v1/images/{}/thumbnail?size=64", ids[0])).await?;
    let small = image::load_from_memory(&small.body)?;
    assert_eq!((small.width(), small.height()), (64, 64));

    let one = ready.get(&format!("{images}/{}?embedding=true", ids[0])).await?.ok(200)?;
    assert_eq!((one["source"].as_str(), one["id"].as_str()), (Some("0.png"), Some(&*ids[0])));
    assert_eq!(one["embedding"].as_array().map(Vec::len), Some(128));
    assert_eq!(one["captions"].as_array().map(Vec::len), Some(3));

    // the same answer as over NATS, from a stored picture and an uploaded one
    let bus = ready.pipeline.bus().await?;
    let asked = json!({ "reference": { "id": ids[0] }, "modifier": "is green", "explain": true });
    let answer = ready.post("/v1/search", asked.clone()).await?;
    let (over_http, text) = (answer.ok(200)?, String::from_utf8(answer.body)?);
    let request: SearchRequest = serde_json::from_value(asked)?;
    let over_nats: SearchAnswer =
        bus.ask(subjects::SEARCH, &request, Duration::from_secs(5)).await?;
    // digit by digit
    assert!(text.contains(&serde_json::to_string(&over_nats.candidates)?), "{text}");
    assert!(text.contains(&serde_json::to_string(&over_nats.norms)?), "{text}");
    let request = json!({ "modifier": "is green" }).to_string();
    let picture = ready.picture(0)?;
    let parts = [("request", None, request.as_bytes()), ("reference", Some("a.png"), &picture[..])];
    let uploaded = ready.form("/v1/search", &parts).await?.ok(200)?;
    assert_eq!(uploaded["candidates"][0]["image"], over_http["candidates"][0]["image"]);

    // forgotten
    let path = format!("{images}/{}", ids[3]);
    assert_eq!(ready.send("DELETE", &path, &[], vec![]).await?.status, 202);
    weimocir_tests::until("the deletion", async || Ok(ready.get(&path).await?.status == 404))
        .await?;
    let status = ready.get("/v1/status").await?.ok(200)?;
    assert_eq!(status["collections"][0]["images"], 7);
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(4));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pictures_go_in_as_lines_and_each_is_answered() -> anyhow::Result<()> {
    let ready = Ready::new(&[]).await?;
    let line = |n: usize| {
        let image = BASE64_STANDARD.encode(ready.picture(n)?);
        anyhow::Ok(
            json!({ "image": image, "source": format!("{n}"), "metadata": { "n": n } }).to_string(),
        )
    };
    let (first, second) = (line(0)?, line(1)?);
    let broken = json!({ "image": BASE64_STANDARD.encode("no picture") }).to_string();
    let body = [&first, &broken, "", "{\"image\": 7}", &second, &first].join("\n");
    let lines = [("content-type", "application/x-ndjson")];
    let path = "/v1/collections/lines/images";
    let fields = json!({ "fields": { "n": "integer" } }).to_string().into_bytes();
    let json = [("content-type", "application/json")];
    ready.send("PATCH", "/v1/collections/lines", &json, fields).await?.ok(200)?;
    let answer = ready.send("POST", path, &lines, body.into_bytes()).await?;
    let outcomes: Vec<Value> = String::from_utf8(answer.body)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let said: Vec<_> = outcomes.iter().map(|one| one["outcome"].as_str().unwrap_or("")).collect();
    assert_eq!(said, ["submitted", "refused", "refused", "submitted", "submitted"]);
    let ids: Vec<String> =
        [0, 3].iter().map(|&n| outcomes[n]["id"].as_str().unwrap_or("").to_owned()).collect();
    ready.follow("lines", &ids).await?;
    let filter = json!({ "field": "n", "range": { "gte": 1 } });
    let asked = json!({ "collection": "lines", "modifier": "a shirt", "filter": filter });
    let found = ready.post("/v1/search", asked).await?.ok(200)?;
    assert_eq!(found["candidates"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["candidates"][0]["metadata"]["n"], 1);

    // what is there already is passed over
    let again = ready.form(path, &[("image", Some("a"), &ready.picture(1)?)]).await?.ok(202)?;
    assert_eq!(again["images"][0]["outcome"], "present");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said() -> anyhow::Result<()> {
    let mut ready = Ready::new(&["--http-max-bytes", "100000"]).await?;
    let id = ready.fill("default", 1).await?.remove(0);
    let searches = [
        (json!({}), 400, "invalid"),
        (json!({ "modifier": "  " }), 400, "invalid"),
        (json!({ "modifier": "x", "alpha": 1.5 }), 400, "invalid"),
        (json!({ "modifier": "x", "beta": "NaN" }), 400, "invalid"),
        (json!({ "modifier": "x", "gamma": -1 }), 400, "invalid"),
        (json!({ "modifier": "x", "k": 0 }), 400, "invalid"),
        (json!({ "modifier": "x", "k": 1001 }), 400, "invalid"),
        (json!({ "modifier": "x", "timeout_ms": 1 }), 400, "invalid"),
        (json!({ "modifier": "x", "colour": "red" }), 400, "invalid"),
        (json!({ "modifier": "x", "collection": "No Such" }), 400, "invalid"),
        (json!({ "modifier": "x", "collection": "nowhere" }), 404, "unknown_collection"),
        (json!({ "modifier": "x", "filter": { "field": "size", "is": 7 } }), 400, "invalid"),
        (json!({ "reference": { "id": "7" } }), 400, "invalid"),
        (json!({ "reference": { "id": ImageId::of(b"?").to_string() } }), 404, "unknown_image"),
        (json!({ "reference": { "image": "AAAA" } }), 400, "invalid"),
        (json!({ "reference": { "image": "no base64" } }), 400, "invalid"),
        (json!({ "more_like": [id], "less_like": [id] }), 400, "invalid"),
        (json!({ "more_like": vec![&id; 101] }), 400, "invalid"),
        (json!([1, 2]), 400, "invalid"),
    ];
    for (search, status, code) in searches {
        let answer = ready.post("/v1/search", search.clone()).await?;
        let detail = answer.problem(status, code).with_context(|| search.to_string())?;
        assert!(!detail.is_empty(), "{search}");
    }
    let text = [("content-type", "text/plain")];
    ready
        .send("POST", "/v1/search", &text, vec![])
        .await?
        .problem(415, "unsupported_media_type")?;
    ready.get("/v1/search").await?.problem(405, "method_not_allowed")?;
    ready.get("/v1/nothing").await?.problem(404, "not_found")?;
    ready.get("/page/nothing.js").await?.problem(404, "not_found")?;

    let images = "/v1/collections/default/images";
    ready.get(&format!("{images}?limit=0")).await?.problem(400, "invalid")?;
    ready.get(&format!("{images}?limit=x")).await?.problem(400, "invalid")?;
    ready.get(&format!("{images}?page=2")).await?.problem(400, "invalid")?;
    ready.get(&format!("{images}/abc")).await?.problem(400, "invalid")?;
    ready.get("/v1/collections/No/images").await?.problem(400, "invalid")?;
    ready.get("/v1/collections/nowhere/events").await?.problem(404, "unknown_collection")?;
    ready.get(&format!("/v1/images/{id}/thumbnail?size=5000")).await?.problem(400, "invalid")?;
    ready
        .get(&format!("/v1/images/{}/file", ImageId::of(b"?")))
        .await?
        .problem(404, "unknown_image")?;
    ready
        .send("DELETE", &format!("{images}/{}", ImageId::of(b"?")), &[], vec![])
        .await?
        .problem(404, "unknown_image")?;

    ready.form(images, &[]).await?.problem(400, "invalid")?;
    ready.form(images, &[("picture", None, b"x")]).await?.problem(400, "invalid")?;
    ready.form(images, &[("metadata", None, b"[]")]).await?.problem(400, "invalid")?;
    ready.form(images, &[("image", Some("a"), b"")]).await?.problem(422, "invalid")?;
    ready.form(images, &[("image", Some("a.svg"), b"<svg/>")]).await?.problem(422, "invalid")?;
    ready
        .form(images, &[("image", Some("a"), &vec![0; 100_001])])
        .await?
        .problem(413, "too_large")?;
    for (url, why) in [
        ("http://127.0.0.1:1/a.png", "127.0.0.1"),
        ("http://169.254.169.254/latest", "169.254.169.254"),
        ("file:///etc/passwd", "http"),
    ] {
        let told = ready.post(images, json!({ "url": url })).await?.problem(422, "invalid")?;
        assert!(told.contains(why), "{told}");
    }
    ready.post(images, json!({ "image": "", "url": "http://a" })).await?.problem(422, "invalid")?;
    let form = [("content-type", "multipart/form-data; boundary=edge")];
    let torn = b"--edge\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nhalf".to_vec();
    ready.send("POST", images, &form, torn).await?.problem(400, "invalid")?;

    // a picture that looks like one until it is decoded fails where it is followed
    let broken = ready.picture(1)?[..2_000].to_vec();
    let answer = ready.form(images, &[("image", Some("torn.png"), &broken)]).await?.ok(202)?;
    let torn = answer["images"][0]["id"].as_str().context("no id")?.to_owned();
    let told = ready.follow("default", std::slice::from_ref(&torn)).await?;
    let last = told.last().context("nothing was told")?;
    assert_eq!(last["state"], "failed", "{last}");
    assert!(last["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{last}");
    ready.get(&format!("/v1/images/{torn}/thumbnail")).await?.problem(422, "invalid")?;

    // nobody who could answer
    for kind in [Kind::Query, Kind::Store] {
        let at =
            ready.workers.iter().position(|worker| worker.kind() == kind).context("no worker")?;
        ready.workers.remove(at).kill().await?;
    }
    let answer = ready.post("/v1/search", json!({ "modifier": "x" })).await?;
    answer.problem(503, "unavailable")?;
    assert_eq!(answer.header("retry-after"), "1");
    ready.get(images).await?.problem(503, "unavailable")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_generation_that_serves_cannot_take_has_failed() -> anyhow::Result<()> {
    let ready = Ready::new(&[]).await?;
    ready.fill("default", 1).await?;
    let bus = ready.pipeline.bus().await?;
    let collection = Collection::default();
    let record = Collections::open(&bus).await?.get(&collection).await?;
    let model = record.serving_model().context("no model")?;
    // as a change of model submits it
    let image = Pictures::open(&bus).await?.put(b"no picture").await?;
    let work = EncodeInLane {
        generation: Some(collection.clone()),
        collection,
        image,
        revision: Revision(1_000),
        source: "lost".into(),
        metadata: Metadata::new(),
    };
    bus.submit(&subjects::in_lane(subjects::ENCODE_IMAGE, model), &work).await?;
    let told = ready.follow("default", &[image.to_string()]).await?;
    let last = told.last().context("nothing was told")?;
    assert_eq!(last["state"], "failed", "{last}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_with_a_key_may_ask_and_not_too_often() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let keys = pipeline.folder().join("keys");
    std::fs::write(&keys, "# of the shop\nsesame\n")?;
    let keys = keys.display().to_string();
    let (gateway, url) =
        pipeline.start_gateway(&["--api-keys", &keys, "--rate-limit", "4"]).await?;
    let ready = Ready { pipeline, workers: vec![gateway], url, pictures: vec![] };
    let collections = "/v1/collections";
    let refused = ready.get(collections).await?;
    refused.problem(401, "unauthorized")?;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let with = async |key: &'static str| {
        ready.send("GET", collections, &[("authorization", key)], vec![]).await
    };
    with("Bearer simsim").await?.problem(401, "unauthorized")?;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(with("Bearer sesame").await?.status);
    }
    assert_eq!(statuses[0], 200);
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    // who looks after it needs no key
    for open in ["/live", "/ready", "/", "/v1/openapi.json"] {
        assert_eq!(ready.get(open).await?.status, 200, "{open}");
    }
    let log = ready.pipeline.log(Kind::Gateway);
    assert!(!log.contains("sesame"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_the_description_and_the_metrics_are_served() -> anyhow::Result<()> {
    let pipeline = Pipeline::bare().await?;
    let origin = "https://shop.example";
    let (gateway, url) = pipeline.start_gateway(&["--allow-origin", origin]).await?;
    let ready = Ready { pipeline, workers: vec![gateway], url, pictures: vec![] };
    let page = ready.get("/").await?;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    let tag = page.header("etag");
    assert_eq!(ready.send("GET", "/", &[("if-none-match", tag)], vec![]).await?.status, 304);

    let description = ready.get("/v1/openapi.json").await?.ok(200)?;
    assert_eq!(description["openapi"], "3.1.0");
    let paths = description["paths"].as_object().context("no paths")?.values();
    let operations = paths.filter_map(Value::as_object).flat_map(|path| path.values());
    let named: Vec<&str> = operations.filter_map(|o| o["operationId"].as_str()).collect();
    let distinct: std::collections::BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(distinct.len(), named.len(), "two operations have one name: {named:?}");
    assert_eq!(ready.get("/docs/").await?.status, 200);

    let asked = ready.send("GET", "/v1/collections", &[("origin", origin)], vec![]).await?;
    assert_eq!(asked.header("access-control-allow-origin"), origin);
    let asked =
        ready.send("GET", "/v1/collections", &[("origin", "https://other")], vec![]).await?;
    assert_eq!(asked.header("access-control-allow-origin"), "");

    let metrics = String::from_utf8(ready.get("/metrics").await?.body)?;
    let line =
        "weimocir_http_requests_total{method=\"GET\",route=\"/v1/collections\",status=\"200\"} 2";
    assert!(metrics.lines().any(|held| held == line), "{metrics}");
    Ok(())
}
