//! Searches and memory while far more pictures wait than the encoder can take. `WEIMOCIR_MODEL=simulated:10ms,8` gives
//! the encoder a device of its own.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use weimocir_domain::Collection;
use weimocir_runtime::{Bus, Collections, Pictures};
use weimocir_tests::{Pipeline, Worker, tiny};
use weimocir_wire::{
    names,
    search::{SearchAnswer, SearchRequest, SearchTiming},
    subjects,
    work::{EncodeImage, Metadata},
};

#[derive(Debug, Parser)]
struct Args {
    /// Pictures submitted as fast as the server takes them
    #[arg(long, default_value_t = 50_000)]
    pictures: u32,
    /// Pictures that are searchable before
    #[arg(long, default_value_t = 2_000)]
    before: u32,
    /// Searches of each measurement
    #[arg(long, default_value_t = 500)]
    searches: usize,
}

/// Pictures submitted at once.
const JOBS: usize = 64;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { pictures, before, searches } = Args::parse();
    let (pipeline, workers) = Pipeline::complete().await?;
    let bus = pipeline.bus().await?;
    Collections::open(&bus).await?.ensure(&Collection::default(), 1).await?;
    submit(&bus, 0..before).await?;
    let wait = async |left: u64| -> anyhow::Result<()> {
        while backlog(&bus).await? > left {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    wait(0).await?;
    println!(
        "| | images that wait | search p50, ms | p99, ms | of the encoder | waiting there | of the stores | resident memory, MB |\n|---|---|---|---|---|---|---|---|"
    );
    let idle = measured(&bus, searches).await?;
    let mut memory = vec![resident(&pipeline, &workers).await?];
    row("idle", 0, idle, &memory[0]);

    let start = Instant::now();
    let feeding = tokio::spawn({
        let bus = bus.clone();
        async move { submit(&bus, before..before + pictures).await }
    });
    while backlog(&bus).await? < u64::from(pictures / 10) && !feeding.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let fed = measured(&bus, searches).await?;
    memory.push(resident(&pipeline, &workers).await?);
    row("while more come", backlog(&bus).await?, fed, &memory[1]);
    feeding.await??;
    let submitting = start.elapsed();
    let most = backlog(&bus).await?;
    let waiting = measured(&bus, searches).await?;
    memory.push(resident(&pipeline, &workers).await?);
    row("all submitted", most, waiting, &memory[2]);
    for share in [2, 4] {
        wait(most / share).await?;
        let times = measured(&bus, searches).await?;
        memory.push(resident(&pipeline, &workers).await?);
        row(&format!("1/{share} left"), backlog(&bus).await?, times, &memory[memory.len() - 1]);
    }
    println!("\n{pictures} submitted in {:.0} s", submitting.as_secs_f64());
    let growth = memory.iter().skip(1).flat_map(|now| {
        now.iter().map(|(name, mb)| mb / memory[0].get(name).copied().unwrap_or(f64::NAN))
    });
    println!(
        "{}",
        json!({
            "idle_p99_ms": idle.p99,
            "backlog_p99_ms": waiting.p99,
            "backlog": most,
            "memory_growth": growth.fold(0.0, f64::max),
        })
    );
    Ok(())
}

/// Tiny images, each like no other.
async fn submit(bus: &Bus, which: std::ops::Range<u32>) -> anyhow::Result<()> {
    let pictures = Pictures::open(bus).await?;
    let one = |n: u32| {
        let (bus, pictures) = (bus.clone(), pictures.clone());
        async move {
            let image = pictures.put(&tiny(n)).await?;
            let (collection, source) = (Collection::default(), n.to_string());
            let work = EncodeImage { collection, image, source, metadata: Metadata::new() };
            bus.submit(subjects::ENCODE_IMAGE, &work).await?;
            anyhow::Ok(())
        }
    };
    futures::stream::iter(which.map(one)).buffer_unordered(JOBS).try_collect().await
}

async fn backlog(bus: &Bus) -> anyhow::Result<u64> {
    let backlog = bus.backlog(names::WORK_STREAM, names::ENCODE_DURABLE).await?;
    Ok(backlog.waiting + backlog.in_work)
}

/// Of searches by text, one after the other, in ms; p99 of each step on its own.
#[derive(Clone, Copy)]
struct Times {
    p50: f64,
    p99: f64,
    encoder: f64,
    waiting: f64,
    stores: f64,
}

async fn measured(bus: &Bus, searches: usize) -> anyhow::Result<Times> {
    let (mut times, mut timings) = (Vec::new(), Vec::new());
    for _ in 0..searches {
        let modifier = Some("a red dress".to_owned());
        let request = SearchRequest { modifier, ..SearchRequest::default() };
        let start = Instant::now();
        let answer: SearchAnswer =
            bus.ask(subjects::SEARCH, &request, Duration::from_secs(10)).await?;
        ensure!(!answer.partial, "an answer is partial");
        times.push(start.elapsed().as_secs_f64() * 1e3);
        timings.push(answer.timing);
    }
    let step = |of: fn(&SearchTiming) -> f64| percentile(99, timings.iter().map(of).collect());
    Ok(Times {
        p50: percentile(50, times.clone()),
        p99: percentile(99, times),
        encoder: step(|timing| timing.encode_ms),
        waiting: step(|timing| timing.encode.queued_ms),
        stores: step(|timing| timing.candidates_ms),
    })
}

fn percentile(percent: usize, mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() * percent / 100]
}

/// Of every process, in MB.
async fn resident(
    pipeline: &Pipeline,
    workers: &[Worker],
) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let mut all = BTreeMap::new();
    let own = workers.iter().map(|worker| (worker.kind().name(), worker.id()));
    for (name, id) in own.chain([("nats-server", pipeline.server_id().await)]) {
        let id = id.with_context(|| format!("{name} has ended"))?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: f64 =
            line.and_then(|l| l.split_whitespace().next()).context("no VmRSS")?.parse()?;
        all.insert(name, kilobytes / 1e3);
    }
    Ok(all)
}

fn row(when: &str, left: u64, times: Times, memory: &BTreeMap<&str, f64>) {
    let memory: Vec<String> = memory.iter().map(|(name, mb)| format!("{name} {mb:.0}")).collect();
    let Times { p50, p99, encoder, waiting, stores } = times;
    println!(
        "| {when} | {left} | {p50:.1} | {p99:.1} | {encoder:.1} | {waiting:.1} | {stores:.1} | {} |",
        memory.join(", ")
    );
}
