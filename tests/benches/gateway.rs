//! What HTTP costs: the same searches over NATS and through the gateway, in turns; then many clients
//! at once, and the memory that the gateway takes for them.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use clap::Parser;
use futures::future::try_join_all;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use weimocir_catalogue::Split;
use weimocir_runtime::Bus;
use weimocir_tests::{Pipeline, render};
use weimocir_wire::{
    search::{SearchAnswer, SearchRequest},
    subjects,
};

#[derive(Debug, Parser)]
struct Args {
    /// Images in the gallery
    #[arg(long, default_value_t = 500)]
    images: usize,
    /// Searches each way, one after the other
    #[arg(long, default_value_t = 500)]
    searches: usize,
    /// Clients that ask at the same time
    #[arg(long, default_value_t = 500)]
    clients: usize,
    /// Searches of each of them
    #[arg(long, default_value_t = 4)]
    each: usize,
}

type Http = Client<HttpConnector, Full<Bytes>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (pipeline, _workers) = Pipeline::complete().await?;
    let (gateway, url) = pipeline.start_gateway(&[]).await?;
    let folder = pipeline.folder().join("pictures");
    render(Split::Test, args.images, 64, &folder)?;
    let folder = folder.display().to_string();
    pipeline.weimocir(&["ingest", &folder, "--wait", "--json"]).await?.json()?;
    let bus = pipeline.bus().await?;
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let search = SearchRequest {
        modifier: Some("a red dress with stripes".into()),
        timeout_ms: Some(30_000),
        ..SearchRequest::default()
    };

    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..args.searches {
        direct.push(timed(over_nats(&bus, &search)).await?);
        through.push(timed(over_http(&http, &url, &search)).await?);
    }
    println!("| one client | p50, ms | p99, ms |\n|---|---|---|");
    let (direct, through) = (quantiles(direct), quantiles(through));
    for (name, (p50, p99)) in [("NATS", direct), ("HTTP", through)] {
        println!("| {name} | {p50:.2} | {p99:.2} |");
    }

    let before = gateway.peak_memory()?;
    let began = Instant::now();
    let search = Arc::new(search);
    let clients = (0..args.clients).map(|_| {
        let (http, url, search) = (http.clone(), url.clone(), search.clone());
        let asking = async move {
            let mut times = Vec::with_capacity(args.each);
            for _ in 0..args.each {
                times.push(timed(over_http(&http, &url, &search)).await?);
            }
            anyhow::Ok(times)
        };
        async move { tokio::spawn(asking).await? }
    });
    let times: Vec<f64> = try_join_all(clients).await?.into_iter().flatten().collect();
    let (answered, seconds) = (times.len(), began.elapsed().as_secs_f64());
    let (p50, p99) = quantiles(times);
    let after = gateway.peak_memory()?;
    println!(
        "\n{} clients at once: {answered} answers, no error, {:.0} a second, p50 {p50:.0} ms, p99 {p99:.0} ms; \
         the gateway's memory {before} MiB before, {after} MiB at most",
        args.clients,
        answered as f64 / seconds
    );
    println!(
        "{}",
        json!({
            "nats_p50_ms": direct.0, "nats_p99_ms": direct.1,
            "http_p50_ms": through.0, "http_p99_ms": through.1,
            "clients": args.clients, "answers": answered, "gateway_peak_mib": after,
        })
    );
    Ok(())
}

async fn timed(asking: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<f64> {
    let start = Instant::now();
    asking.await?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

async fn over_nats(bus: &Bus, search: &SearchRequest) -> anyhow::Result<()> {
    let answer: SearchAnswer = bus.ask(subjects::SEARCH, search, Duration::from_secs(30)).await?;
    ensure!(answer.candidates.len() == 10, "{} candidates", answer.candidates.len());
    Ok(())
}

async fn over_http(http: &Http, url: &str, search: &SearchRequest) -> anyhow::Result<()> {
    let request = hyper::Request::post(format!("{url}/v1/search"))
        .header("content-type", "application/json")
        .body(Full::from(serde_json::to_vec(search)?))?;
    let answer = http.request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
    let answer: SearchAnswer = serde_json::from_slice(&body)?;
    ensure!(answer.candidates.len() == 10, "{} candidates", answer.candidates.len());
    Ok(())
}

/// p50 and p99.
fn quantiles(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_unstable_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
