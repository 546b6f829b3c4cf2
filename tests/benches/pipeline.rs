//! Throughput and latency of the whole pipeline, against the encoder alone in the same run.
//!
//! The encoder has core 0 to itself, as it would have a GPU; NATS, the store, the feed and all else
//! share core 1. Captions come with the pictures while throughput is measured, so that the encoder
//! does the same work in both runs: decode a picture, encode it and its three captions. For the
//! latencies every worker runs, the captioner included. Needs two cores and `taskset`.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::StreamExt;
use serde_json::json;
use weimocir_catalogue::{Gallery, Split};
use weimocir_domain::{Collection, ImageId};
use weimocir_models::{DeviceChoice, Encoder, ModelSource};
use weimocir_runtime::{Bus, Collections, Pictures};
use weimocir_tests::{Kind, Pipeline, pinned, render};
use weimocir_wire::{
    Blob,
    query::{Lookup, LookupQuery},
    search::{Reference, SearchAnswer, SearchRequest},
    subjects,
    work::{CaptionImage, EncodeImage, Metadata},
};

// because: the encoder alone must be as fast here as in the worker
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Args {
    /// Pictures for each run of the throughput
    #[arg(long, default_value_t = 3_000)]
    pictures: usize,
    /// Runs, of which the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Pictures submitted one at a time for the latencies
    #[arg(long, default_value_t = 100)]
    light: usize,
    /// Searches for each number of clients
    #[arg(long, default_value_t = 400)]
    searches: usize,
    /// Only the encoder, on the pictures and captions of this folder; prints images/s
    #[arg(long)]
    encoder_alone: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(folder) = &args.encoder_alone {
        println!("{}", encoder_alone(folder)?);
        return Ok(());
    }
    let pipeline = Pipeline::bare().await?;
    pipeline.pin_server(1).await?;
    let folder = pipeline.folder().join("pictures");
    let gallery = render(Split::Test, args.pictures, 128, &folder)?;
    let (share, rate) = throughput(&args, &pipeline, &folder).await?;
    let (searchable, captioned, one, sixteen) =
        latencies(&args, &pipeline, &gallery, &folder).await?;

    println!("\n| | p50 ms | p99 ms |\n|---|---|---|");
    for (name, times) in [
        ("submit to searchable, one at a time", &searchable),
        ("submit to captioned, one at a time", &captioned),
        ("search, 1 client", &one),
        ("search, 16 clients", &sixteen),
    ] {
        println!("| {name} | {:.1} | {:.1} |", quantile(times, 0.5), quantile(times, 0.99));
    }
    let result = json!({
        "pipeline_share": share,
        "images_per_s": rate,
        "searchable_p50_ms": quantile(&searchable, 0.5),
        "searchable_p99_ms": quantile(&searchable, 0.99),
        "captioned_p50_ms": quantile(&captioned, 0.5),
        "search_p50_ms": quantile(&one, 0.5),
        "search_p99_ms": quantile(&one, 0.99),
        "search_16_clients_p50_ms": quantile(&sixteen, 0.5),
        "search_16_clients_p99_ms": quantile(&sixteen, 0.99),
    });
    println!("\n{result}");
    Ok(())
}

/// The share of the encoder's own rate that the pipeline reaches, and its rate: medians.
async fn throughput(args: &Args, pipeline: &Pipeline, folder: &Path) -> anyhow::Result<(f64, f64)> {
    let _workers =
        [pipeline.start_on(1, Kind::Store, &[])?, pipeline.start_on(0, Kind::Encode, &[])?];
    pipeline.until_alive(Kind::Store, 1).await?;
    pipeline.until_alive(Kind::Encode, 1).await?;
    println!("| run | encoder alone, images/s | pipeline, images/s | share |\n|---|---|---|---|");
    let (mut shares, mut rates) = (Vec::new(), Vec::new());
    for run in 1..=args.runs {
        let alone = alone_on_core_0(folder).await?;
        let rate = through_the_pipeline(pipeline, folder, run).await?;
        println!("| {run} | {alone:.0} | {rate:.0} | {:.2} |", rate / alone);
        shares.push(rate / alone);
        rates.push(rate);
    }
    Ok((quantile(&shares, 0.5), quantile(&rates, 0.5)))
}

async fn alone_on_core_0(folder: &Path) -> anyhow::Result<f64> {
    let own = std::env::current_exe()?;
    let output = pinned(0, &own)
        .arg("--encoder-alone")
        .arg(folder)
        .output()
        .await
        .context("taskset cannot be run")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text.trim().parse()?)
}

async fn through_the_pipeline(
    pipeline: &Pipeline,
    folder: &Path,
    run: usize,
) -> anyhow::Result<f64> {
    let path = folder.display().to_string();
    let captions = folder.join("captions.jsonl").display().to_string();
    let collection = format!("run{run}");
    let args =
        ["ingest", &path, "--captions", &captions, "--collection", &collection, "--wait", "--json"];
    let summary = pipeline.weimocir_on(1, &args).await?.json()?;
    let seconds = summary["seconds"].as_f64().context("no time was taken")?;
    Ok(summary["captioned"].as_f64().unwrap_or(0.0) / seconds)
}

/// The encoder's work without the pipeline, one batch after the other: decode 32 pictures, encode
/// them, encode their captions.
fn encoder_alone(folder: &Path) -> anyhow::Result<f64> {
    #[derive(serde::Deserialize)]
    struct Line {
        image: String,
        captions: Vec<String>,
    }
    let encoder = Encoder::load(&ModelSource::Bundled, DeviceChoice::Cpu)?;
    let preprocessor = encoder.preprocessor();
    let captions = std::fs::read_to_string(folder.join("captions.jsonl"))?;
    let lines: Vec<Line> = captions.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let start = Instant::now();
    for batch in lines.chunks(32) {
        let pixels = batch.iter().map(|line| {
            anyhow::Ok(preprocessor.pixels(&std::fs::read(folder.join(&line.image))?)?)
        });
        encoder.encode_images(&pixels.collect::<anyhow::Result<Vec<_>>>()?)?;
        let texts: Vec<String> = batch.iter().flat_map(|line| line.captions.clone()).collect();
        encoder.encode_texts(&texts)?;
    }
    Ok(lines.len() as f64 / start.elapsed().as_secs_f64())
}

type Times = Vec<f64>;

async fn latencies(
    args: &Args,
    pipeline: &Pipeline,
    gallery: &Gallery,
    folder: &Path,
) -> anyhow::Result<(Times, Times, Times, Times)> {
    let mut workers = Vec::new();
    for kind in Kind::ALL {
        workers.push(pipeline.start(kind, &[])?);
    }
    for kind in Kind::ALL {
        pipeline.until_alive(kind, 1).await?;
    }
    let bus = pipeline.bus().await?;
    let collection: Collection = "light".parse()?;
    let record = Collections::open(&bus).await?.ensure(&collection, 1).await?;
    let pictures = Pictures::open(&bus).await?;
    let (mut searchable, mut captioned) = (Times::new(), Times::new());
    for picture in gallery.pictures.iter().take(args.light) {
        let bytes = std::fs::read(folder.join(format!("{}.png", picture.name)))?;
        let start = Instant::now();
        let image = submit(&bus, &pictures, &record.name, &bytes).await?;
        let state =
            |of: fn(&weimocir_wire::query::ImageState) -> bool| held(&bus, &record.name, image, of);
        while !state(|state| state.image.is_some()).await? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        searchable.push(start.elapsed().as_secs_f64() * 1e3);
        while !state(|state| state.captions.is_some()).await? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        captioned.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let bytes = std::fs::read(folder.join(format!("{}.png", gallery.pictures[0].name)))?;
    let one = searches(&bus, &bytes, args.searches, 1).await?;
    let sixteen = searches(&bus, &bytes, args.searches, 16).await?;
    Ok((searchable, captioned, one, sixteen))
}

async fn submit(
    bus: &Bus,
    pictures: &Pictures,
    collection: &Collection,
    bytes: &[u8],
) -> anyhow::Result<ImageId> {
    let image = pictures.put(bytes).await?;
    let work = EncodeImage {
        collection: collection.clone(),
        image,
        source: "bench".into(),
        metadata: Metadata::new(),
    };
    let revision = bus.submit(subjects::ENCODE_IMAGE, &work).await?;
    let work = CaptionImage { collection: collection.clone(), image, revision, source: None };
    bus.submit(subjects::CAPTION, &work).await?;
    Ok(image)
}

async fn held(
    bus: &Bus,
    collection: &Collection,
    image: ImageId,
    of: fn(&weimocir_wire::query::ImageState) -> bool,
) -> anyhow::Result<bool> {
    let subject = subjects::lookup(collection, image.shard(1));
    let question = LookupQuery { images: vec![image] };
    match bus.ask::<_, Lookup>(&subject, &question, Duration::from_secs(5)).await {
        Ok(lookup) => Ok(lookup.states.first().is_some_and(of)),
        // because: the store may not have heard of a new collection yet
        Err(refusal) if refusal.code == weimocir_wire::search::RefusalCode::Unavailable => {
            Ok(false)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Searches over the first run's gallery, by picture and modifier, in milliseconds each.
async fn searches(
    bus: &Bus,
    picture: &[u8],
    count: usize,
    clients: usize,
) -> anyhow::Result<Times> {
    let request = SearchRequest {
        collection: "run1".parse()?,
        reference: Some(Reference::Image(Blob(picture.to_vec()))),
        modifier: Some("is green with a star".into()),
        ..SearchRequest::default()
    };
    let asked = futures::stream::iter(0..count).map(|_| async {
        let start = Instant::now();
        let answer: SearchAnswer =
            bus.ask(subjects::SEARCH, &request, Duration::from_secs(10)).await?;
        ensure!(!answer.candidates.is_empty(), "nothing was found");
        Ok(start.elapsed().as_secs_f64() * 1e3)
    });
    asked.buffer_unordered(clients).collect::<Vec<_>>().await.into_iter().collect()
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 - 1.0) * q).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
