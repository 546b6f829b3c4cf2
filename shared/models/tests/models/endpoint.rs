//! The captioner behind an endpoint, against a real server.

use std::{io::Cursor, num::NonZeroUsize, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use weimocir_models::{
    ApiKey, CaptionError, Captioner, EndpointCaptioner, EndpointSettings, Lane, Picture,
};

use crate::http_server::{Scene, Server, answer, completion, fails, says};

const KEY: &str = "sk-very-secret-1234";
const THREE: [&str; 3] = ["A red square.", "The image shows a red square.", "A square on nothing."];

fn good() -> Scene {
    says(&json!({ "captions": THREE }).to_string())
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let picture = RgbImage::from_pixel(width, height, Rgb([200, 30, 40]));
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

fn picture(lane: Lane) -> Picture {
    Picture { bytes: png(40, 20).into(), seed: 7, lane, source: None }
}

fn settings(url: &str) -> EndpointSettings {
    EndpointSettings {
        key: ApiKey::new(KEY),
        first_pause: Duration::from_millis(1),
        attempts: 4,
        ..EndpointSettings::new(url, "some-model")
    }
}

async fn ask(settings: EndpointSettings, lane: Lane) -> Result<Vec<String>, CaptionError> {
    let captioner = EndpointCaptioner::new(settings).unwrap();
    let outcome = captioner.caption(picture(lane), NonZeroUsize::new(3).unwrap()).await;
    if let Err(error) = &outcome {
        let shown = format!("{error} {error:?} {captioner:?}");
        assert!(!shown.contains("very-s"), "the key is shown: {shown}");
    }
    outcome
}

/// The outcome of a picture of the gallery, and how many requests it took.
async fn play(scenes: &[Scene]) -> (Result<Vec<String>, CaptionError>, usize) {
    let server = Server::start(scenes);
    let outcome = ask(settings(&server.url), Lane::Ingest).await;
    (outcome, server.seen().len())
}

fn rejected(outcome: Result<Vec<String>, CaptionError>) -> String {
    match outcome.unwrap_err() {
        CaptionError::Rejected { reason } => reason,
        other => panic!("not rejected: {other:?}"),
    }
}

fn unavailable(outcome: Result<Vec<String>, CaptionError>) -> String {
    match outcome.unwrap_err() {
        CaptionError::Unavailable { reason } => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

fn broken(outcome: Result<Vec<String>, CaptionError>) -> String {
    match outcome.unwrap_err() {
        CaptionError::Broken { reason } => reason,
        other => panic!("not broken: {other:?}"),
    }
}

#[tokio::test]
async fn the_request_is_what_the_api_documents() {
    let server = Server::start(&[good()]);
    let captioner =
        EndpointCaptioner::new(EndpointSettings { longest_side: 64, ..settings(&server.url) })
            .unwrap();
    let host = server.url.trim_start_matches("http://").trim_end_matches("/v1");
    assert_eq!(captioner.name(), format!("endpoint:some-model@{host}"));
    let picture =
        Picture { bytes: png(200, 100).into(), seed: 7, lane: Lane::Ingest, source: None };
    assert_eq!(captioner.caption(picture, NonZeroUsize::new(3).unwrap()).await.unwrap(), THREE);

    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    let body = &seen[0].body;
    assert_eq!(body["model"], "some-model");
    assert_eq!((&body["temperature"], &body["seed"]), (&json!(0.2), &json!(7)));
    assert!(body["max_tokens"].is_u64());
    let format = &body["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["json_schema"]["schema"]["properties"]["captions"]["type"], "array");
    assert_eq!(body["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(body["messages"][0]["role"], "user");
    let parts = &body["messages"][0]["content"];
    assert_eq!(parts[0]["type"], "text");
    assert!(parts[0]["text"].as_str().unwrap().contains("3 different sentences"));
    assert_eq!(parts[1]["type"], "image_url");

    let url = parts[1]["image_url"]["url"].as_str().unwrap();
    let jpeg = STANDARD.decode(url.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
    assert_eq!(image::guess_format(&jpeg).unwrap(), ImageFormat::Jpeg);
    let sent = image::load_from_memory(&jpeg).unwrap().to_rgb8();
    assert_eq!(sent.dimensions(), (64, 32));
    let pixel = sent.get_pixel(30, 15).0;
    for (found, expected) in pixel.into_iter().zip([200_u8, 30, 40]) {
        assert!(found.abs_diff(expected) <= 4, "{pixel:?}");
    }
}

#[tokio::test]
async fn without_a_key_none_is_sent() {
    let server = Server::start(&[good()]);
    let settings = EndpointSettings { key: None, ..settings(&server.url) };
    assert!(ask(settings, Lane::Query).await.is_ok());
    assert_eq!(server.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    for limited in [
        fails(429, "slow down").with("retry-after", "1"),
        fails(503, "loading")
            .with("date", "Sun, 06 Nov 1994 08:49:36 GMT")
            .with("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        let server = Server::start(&[limited, good()]);
        assert_eq!(ask(settings(&server.url), Lane::Ingest).await.unwrap(), THREE);
        let seen = server.seen();
        assert_eq!(seen.len(), 2);
        assert!(seen[1].at - seen[0].at >= Duration::from_secs(1), "{seen:?}");
    }
}

#[tokio::test]
async fn a_longer_wait_than_there_is_patience_for_ends_at_once() {
    let server = Server::start(&[fails(429, "slow down").with("retry-after", "3600")]);
    let reason = unavailable(ask(settings(&server.url), Lane::Ingest).await);
    assert!(reason.contains("429") && reason.contains("slow down"), "{reason}");
    let busy = ask(settings(&server.url), Lane::Query).await.unwrap_err();
    assert!(matches!(busy, CaptionError::Busy { .. }), "{busy:?}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn trouble_of_the_server_passes_or_is_reported() {
    let (outcome, requests) =
        play(&[fails(500, "boom"), Scene::HangUp, fails(502, "gone"), good()]).await;
    assert_eq!((outcome.unwrap(), requests), (THREE.map(str::to_owned).to_vec(), 4));

    let (outcome, requests) = play(&[fails(500, "boom")]).await;
    let reason = unavailable(outcome);
    assert!(reason.contains("500") && reason.contains("boom"), "{reason}");
    assert!(reason.contains("after 4 failed requests"), "{reason}");
    assert_eq!(requests, 4);

    // one bad answer among them is no verdict on the picture
    let (outcome, requests) =
        play(&[fails(500, "boom"), fails(500, "boom"), says("no"), fails(500, "boom")]).await;
    assert!(unavailable(outcome).contains("boom"));
    assert_eq!(requests, 4);

    let (outcome, requests) = play(&[answer(200, "<html>a login page</html>")]).await;
    let reason = unavailable(outcome);
    assert!(reason.contains("no chat completion") && reason.contains("login page"), "{reason}");
    assert_eq!(requests, 4);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_asked_again_and_then_given_up() {
    let server = Server::start(&[Scene::Silence]);
    let impatient = EndpointSettings {
        timeout: Duration::from_millis(500),
        attempts: 2,
        ..settings(&server.url)
    };
    let reason = unavailable(ask(impatient, Lane::Ingest).await);
    assert!(reason.contains("did not answer within 0.5 seconds"), "{reason}");
    server.until_seen(2).await;

    let short = EndpointSettings { patience: Duration::from_millis(500), ..settings(&server.url) };
    let reason = unavailable(ask(short, Lane::Ingest).await);
    assert!(reason.contains("did not answer within"), "{reason}");
    server.until_seen(3).await;
    assert_eq!(server.seen().len(), 3, "patience is for all requests together");
}

#[tokio::test]
async fn nobody_at_the_address_is_unavailable() {
    let url = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/v1", listener.local_addr().unwrap())
    };
    let reason = unavailable(ask(settings(&url), Lane::Ingest).await);
    assert!(reason.contains("cannot be reached") && reason.contains("127.0.0.1"), "{reason}");
}

#[tokio::test]
async fn what_is_no_set_of_captions_is_asked_for_again_and_then_rejected() {
    let few = says(&json!({ "captions": ["A square.", "a square", " "] }).to_string());
    let field = completion(&json!({ "content": null, "refusal": "I can't look at this." }), "stop");
    let filtered = completion(&json!({ "content": "" }), "content_filter");
    let cut_off = completion(&json!({ "content": "{\"captions\": [\"A sq" }), "length");
    let cases = [
        (says("Sure! Here are three captions."), "not the JSON asked for"),
        (says("{\"captions\": [\"A square.\""), "not the JSON asked for"),
        (few, "1 different captions, 3 were asked for"),
        (says("I'm unable to describe this image."), "refuses: I'm unable"),
        (says(&json!({ "captions": ["I cannot help with it.", "a", "b"] }).to_string()), "refuses"),
        (field, "refuses: I can't look"),
        (filtered, "filter withheld"),
        (cut_off, "cut off"),
        (says(""), "empty"),
        (completion(&json!({}), "stop"), "empty"),
        (answer(200, r#"{"choices": []}"#), "empty"),
    ];
    for (unusable, why) in cases {
        let (outcome, requests) = play(&[unusable.clone(), good()]).await;
        assert_eq!((outcome.unwrap(), requests), (THREE.map(str::to_owned).to_vec(), 2), "{why}");
        let (outcome, requests) = play(&[unusable]).await;
        let reason = rejected(outcome);
        assert!(reason.contains(why) && reason.contains("3 of 3 answers"), "{why}: {reason}");
        assert_eq!(requests, 3, "{why}");
    }
}

#[tokio::test]
async fn an_unusable_answer_is_not_asked_for_with_the_same_seed() {
    let server = Server::start(&[says("no"), good()]);
    assert!(ask(settings(&server.url), Lane::Ingest).await.is_ok());
    let seeds: Vec<Value> = server.seen().iter().map(|seen| seen.body["seed"].clone()).collect();
    assert_eq!(seeds, [7, 8]);
}

#[tokio::test]
async fn an_answer_without_end_is_rejected() {
    let (outcome, requests) = play(&[says(&"a ".repeat(600_000))]).await;
    let reason = rejected(outcome);
    assert!(reason.contains("more than 1048576 bytes"), "{reason}");
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn a_server_that_takes_less_is_asked_for_less_from_then_on() {
    let server = Server::start(&[
        fails(400, "response_format.type must be json_object or text"),
        fails(400, "Unknown name \"seed\": cannot find field"),
        fails(422, "response_format is not supported by this model"),
        says(
            "```json\n[\"A red square.\", \"The image shows a red square.\", \"A square on nothing.\"]\n```",
        ),
        good(),
    ]);
    let captioner = EndpointCaptioner::new(settings(&server.url)).unwrap();
    for _ in 0..2 {
        let r = NonZeroUsize::new(3).unwrap();
        assert_eq!(captioner.caption(picture(Lane::Ingest), r).await.unwrap(), THREE);
    }
    let seen = server.seen();
    let formats: Vec<&Value> =
        seen.iter().map(|seen| &seen.body["response_format"]["type"]).collect();
    let expected = [
        json!("json_schema"),
        json!("json_object"),
        json!("json_object"),
        Value::Null,
        Value::Null,
    ];
    assert_eq!(formats, expected.iter().collect::<Vec<_>>());
    assert_eq!((&seen[1].body["seed"], &seen[2].body["seed"]), (&json!(7), &Value::Null));
}

#[tokio::test]
async fn a_request_that_is_refused_for_the_picture_costs_one_request() {
    for (status, message, why) in [
        (400, "could not load the image", "could not load the image"),
        (400, "rejected by our content_policy: response_format", "content_policy"),
        (413, "too large", "413"),
        (418, "teapot", "teapot"),
    ] {
        let (outcome, requests) = play(&[fails(status, message)]).await;
        let reason = rejected(outcome);
        assert!(reason.contains(why), "{reason}");
        assert_eq!(requests, 1, "{message}");
    }
}

#[tokio::test]
async fn what_no_picture_would_get_past_is_broken() {
    let echo = format!("Incorrect API key provided: {KEY}");
    let cut_echo = format!("{}{KEY}", "wrong key ".repeat(19));
    let elsewhere = answer(307, "").with("location", "http://127.0.0.1:9/v1/chat/completions");
    for (scene, why) in [
        (fails(401, &echo), "does not take the key: it answered 401"),
        (fails(401, &cut_echo), "wrong key [key]"),
        (answer(403, "{\"error\": \"forbidden\"}"), "forbidden"),
        (fails(404, "model `some-model` not found"), "`some-model` not found"),
        (elsewhere, "answered 307"),
    ] {
        let (outcome, requests) = play(&[scene]).await;
        let reason = broken(outcome);
        assert!(reason.contains(why), "{why}: {reason}");
        assert_eq!(requests, 1, "{why}");
    }
    let server = Server::start(&[fails(401, "no key")]);
    let keyless = EndpointSettings { key: None, ..settings(&server.url) };
    let reason = broken(ask(keyless, Lane::Ingest).await);
    assert!(reason.contains("wants a key, and none is set"), "{reason}");
}

#[tokio::test]
async fn what_is_no_picture_is_not_sent() {
    let server = Server::start(&[good()]);
    let captioner = EndpointCaptioner::new(settings(&server.url)).unwrap();
    let text = Picture { bytes: "no picture".into(), ..picture(Lane::Ingest) };
    let error = captioner.caption(text, NonZeroUsize::MIN).await.unwrap_err();
    assert!(matches!(error, CaptionError::Image(_)), "{error:?}");
    assert!(server.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_at_once_than_allowed() {
    let late = Scene::Late(Duration::from_millis(50), Box::new(good()));
    let server = Server::start(&[late]);
    let settings = EndpointSettings { concurrency: 2, ..settings(&server.url) };
    let captioner: Arc<dyn Captioner> = Arc::new(EndpointCaptioner::new(settings).unwrap());
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let captioner = Arc::clone(&captioner);
            tokio::spawn(async move {
                captioner.caption(picture(Lane::Ingest), NonZeroUsize::MIN).await
            })
        })
        .collect();
    for task in asked {
        assert_eq!(task.await.unwrap().unwrap(), THREE[..1]);
    }
    assert_eq!((server.most_open(), server.seen().len()), (2, 8));
}

#[tokio::test]
async fn a_query_has_a_place_of_its_own_or_is_told_at_once() {
    let server = Server::start(&[Scene::Silence]);
    let settings = EndpointSettings { concurrency: 1, ..settings(&server.url) };
    let captioner = EndpointCaptioner::new(settings).unwrap();
    let r = NonZeroUsize::MIN;
    let mut ingest = captioner.caption(picture(Lane::Ingest), r);
    let mut query = captioner.caption(picture(Lane::Query), r);
    tokio::select! {
        outcome = &mut ingest => panic!("{outcome:?}"),
        outcome = &mut query => panic!("{outcome:?}"),
        () = server.until_seen(2) => {}
    }
    let busy = captioner.caption(picture(Lane::Query), r).await.unwrap_err();
    assert!(
        matches!(&busy, CaptionError::Busy { reason } if reason.contains("places")),
        "{busy:?}"
    );
}

#[tokio::test]
async fn structured_answers_become_sentences() {
    let facts = json!({ "subject": "dress", "count": 1, "colours": ["red"],
        "attributes": ["long sleeves"], "background": "a white wall", "relations": [] });
    let server = Server::start(&[says(&facts.to_string())]);
    let structured = EndpointSettings { structured: true, ..settings(&server.url) };
    assert_eq!(
        ask(structured, Lane::Ingest).await.unwrap(),
        [
            "A red dress with long sleeves.",
            "The image shows a dress in front of a white wall.",
            "The background is a white wall.",
        ]
    );
    let body = &server.seen()[0].body;
    assert_eq!(body["response_format"]["json_schema"]["name"], "facts");
}
