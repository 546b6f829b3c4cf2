//! One search and one picture, each followed through all processes by its spans.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value,
};
use prost::Message;
use weimocir_catalogue::Split;
use weimocir_tests::{Kind, Pipeline, render, until};

/// A span: who did it, what, and as a part of which.
#[derive(Debug, Clone)]
struct Held {
    service: String,
    name: String,
    id: Vec<u8>,
    parent: Vec<u8>,
}

/// Spans by trace.
type Traces = Arc<Mutex<BTreeMap<Vec<u8>, Vec<Held>>>>;

/// An OTLP receiver on a port of its own, and its address.
async fn receiver() -> anyhow::Result<(String, Traces)> {
    let traces = Traces::default();
    let router = Router::new().route("/v1/traces", post(receive)).with_state(traces.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((url, traces))
}

async fn receive(State(traces): State<Traces>, body: Bytes) -> Result<(), String> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|e| e.to_string())?;
    let mut traces = traces.lock().unwrap_or_else(PoisonError::into_inner);
    for of_process in request.resource_spans {
        let attributes =
            of_process.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = attributes.into_iter().find(|attribute| attribute.key == "service.name");
        let service = match service.and_then(|service| service.value?.value) {
            Some(Value::StringValue(name)) => name,
            other => return Err(format!("no service name: {other:?}")),
        };
        for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let held = Held {
                service: service.clone(),
                name: span.name,
                id: span.span_id,
                parent: span.parent_span_id,
            };
            traces.entry(span.trace_id).or_default().push(held);
        }
    }
    Ok(())
}

/// The trace that begins with a span of the gateway and has spans of all these.
fn of(traces: &Traces, expected: &[(&str, &str)]) -> Option<Vec<Held>> {
    let traces = traces.lock().unwrap_or_else(PoisonError::into_inner);
    let found = traces.values().find(|spans| {
        let held: BTreeSet<_> =
            spans.iter().map(|span| (span.service.as_str(), span.name.as_str())).collect();
        expected.iter().all(|one| held.contains(one))
    });
    found.cloned()
}

/// Whether every span but one is a part of another of the trace.
fn hangs_together(spans: &[Held]) -> bool {
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    let roots = spans.iter().filter(|span| span.parent.is_empty()).count();
    roots == 1 && spans.iter().all(|span| span.parent.is_empty() || ids.contains(&span.parent))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_and_a_picture_are_one_trace_each() -> anyhow::Result<()> {
    let (url, traces) = receiver().await?;
    let pipeline = Pipeline::bare().await?;
    let environment = [
        ("WEIMOCIR_OTLP".to_owned(), url),
        ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "100".to_owned()),
    ];
    let mut workers = Vec::new();
    for kind in Kind::ALL {
        workers.push(pipeline.start_with(kind, &[], &environment)?);
    }
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    let (gateway, address) = pipeline.start_gateway_with(&[], &environment).await?;
    workers.push(gateway);

    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Test, 1, 128, &folder)?;
    let picture = std::fs::read(folder.join(format!("{}.png", gallery.pictures[0].name)))?;
    let post = async |path: &str, kind: &'static str, body: Vec<u8>| {
        let url = format!("{address}{path}");
        tokio::task::spawn_blocking(move || {
            let sent = ureq::post(url).header("content-type", kind).send(&body[..]);
            anyhow::Ok(sent?.status().as_u16())
        })
        .await?
    };
    let form = [
        &b"--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n"[..],
        &picture,
        b"\r\n--edge--\r\n",
    ]
    .concat();
    let kind = "multipart/form-data; boundary=edge";
    assert_eq!(post("/v1/collections/default/images", kind, form).await?, 202);
    let of_picture = [
        ("weimocir-gateway", "http"),
        ("weimocir-encode", "work"),
        ("weimocir-caption", "work"),
        ("weimocir-store", "store"),
    ];
    until("a trace of the picture", async || Ok(of(&traces, &of_picture).is_some())).await?;
    // both parts of it are stored, the captions after two steps more
    let is_whole = |spans: &[Held]| {
        hangs_together(spans) && spans.iter().filter(|span| span.name == "store").count() == 2
    };
    until("the whole trace of the picture", async || {
        Ok(of(&traces, &of_picture).is_some_and(|spans| is_whole(&spans)))
    })
    .await
    .with_context(|| format!("{:?}", of(&traces, &of_picture)))?;

    let search = br#"{"modifier": "a green shirt"}"#.to_vec();
    assert_eq!(post("/v1/search", "application/json", search).await?, 200);
    let of_search = [
        ("weimocir-gateway", "http"),
        ("weimocir-query", "answer"),
        ("weimocir-encode", "answer"),
        ("weimocir-store", "answer"),
    ];
    until("a trace of the search", async || {
        Ok(of(&traces, &of_search).is_some_and(|spans| hangs_together(&spans)))
    })
    .await
    .with_context(|| format!("{:?}", of(&traces, &of_search)))?;
    Ok(())
}
