//! The queue of pictures, shared by encode workers.
//!
//! Each has a simulated device, which takes a fixed time for a batch and no processor: what is measured
//! is the queue, the pulls, the acknowledgements and the log. Pictures wait, held by the server, until
//! all workers are there.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use weimocir_domain::{Collection, ImageId, Shard};
use weimocir_runtime::{Collections, ShardLog};
use weimocir_tests::{EncodeWork, Kind, Pipeline};

use crate::Args;

struct Bench<'a> {
    args: &'a Args,
    pipeline: Pipeline,
    work: EncodeWork,
    images: Vec<ImageId>,
}

/// What one number of workers came to.
struct Row {
    workers: usize,
    seconds: f64,
    /// Share of the machine's processors that was busy, with whatever else ran.
    busy: f64,
    lost: u64,
    repeated: u64,
    redelivered: u64,
    /// In the log, of each image.
    bytes: f64,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Value> {
    let pipeline = Pipeline::bare().await?;
    pipeline.weimocir(&["provision", "--json"]).await?.json()?;
    let work = EncodeWork::open(&pipeline).await?;
    let images = work.store(args.images).await?;
    let bench = Bench { args, pipeline, work, images };
    bench.run().await
}

impl Bench<'_> {
    async fn run(&self) -> anyhow::Result<Value> {
        let &Args { batch_ms, batch, images, .. } = self.args;
        let device = batch as f64 / (batch_ms as f64 / 1e3);
        println!(
            "Encode workers: {images} pictures wait; a device takes {batch_ms} ms for {batch} of them ({device:.1}/s)\n"
        );
        println!(
            "| workers | images/s | share of linear | share of the devices | processors busy | lost | encoded again | redelivered |\n|---|---|---|---|---|---|---|---|"
        );
        let mut rows = Vec::new();
        for &workers in &self.args.workers {
            let row = self.measure(workers).await?;
            let rate = f64::from(images) / row.seconds;
            let first: &Row = rows.first().unwrap_or(&row);
            let alone = f64::from(images) / first.seconds / first.workers as f64;
            let linear = rate / (alone * workers as f64);
            println!(
                "| {workers} | {rate:.1} | {linear:.3} | {:.3} | {:.0} % | {} | {} | {} |",
                rate / (device * workers as f64),
                row.busy * 1e2,
                row.lost,
                row.repeated,
                row.redelivered
            );
            rows.push(row);
        }
        let lost: u64 = rows.iter().map(|row| row.lost).sum();
        ensure!(lost == 0, "{lost} images were lost");
        Ok(self.told(&rows))
    }

    fn told(&self, rows: &[Row]) -> Value {
        let images = f64::from(self.args.images);
        let alone = rows.first().map_or(f64::NAN, |r| images / r.seconds / r.workers as f64);
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let rate = images / row.seconds;
                json!({
                    "workers": row.workers,
                    "images_per_s": rate,
                    "share_of_linear": rate / (alone * row.workers as f64),
                    "lost": row.lost,
                    "encoded_again": row.repeated,
                    "redelivered": row.redelivered,
                    "log_bytes_per_image": row.bytes,
                })
            })
            .collect();
        json!({ "batch_ms": self.args.batch_ms, "batch": self.args.batch, "rows": rows })
    }

    async fn measure(&self, count: usize) -> anyhow::Result<Row> {
        let collection: Collection = format!("workers-{count}").parse()?;
        let bus = self.pipeline.bus().await?;
        Collections::open(&bus).await?.ensure(&collection, 1).await?;
        self.work.hold().await?;
        self.work.submit(&collection, &self.images).await?;
        let before = self.work.counted().await?;
        let (workers, addresses) = self.start(count)?;
        self.pipeline.until_alive(Kind::Encode, count).await?;

        let written = async || -> anyhow::Result<u64> {
            let log = ShardLog::open(&bus, &collection, Shard(0)).await?;
            Ok(log.identity().last_sequence)
        };
        let (began, idle) = (Instant::now(), Processors::now()?);
        self.work.release().await?;
        let all = u64::from(self.args.images);
        // because: a worker may be given up without an end
        let until = began + Duration::from_secs(1_200);
        while written().await? < all && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (seconds, busy) = (began.elapsed().as_secs_f64(), idle.busy_since()?);
        while self.work.counted().await?.left > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut encoded = 0;
        for address in addresses {
            encoded += done(address).await?;
        }
        for worker in workers {
            ensure!(
                worker.stop().await? == 0,
                "a worker failed: {}",
                self.pipeline.log(Kind::Encode)
            );
        }
        let deliveries = self.work.counted().await?.deliveries - before.deliveries;
        Ok(Row {
            workers: count,
            seconds,
            busy,
            lost: all.saturating_sub(written().await?),
            repeated: encoded.saturating_sub(all),
            redelivered: deliveries.saturating_sub(all),
            bytes: self.work.log_bytes(&collection).await? as f64 / all as f64,
        })
    }

    fn start(&self, count: usize) -> anyhow::Result<(Vec<weimocir_tests::Worker>, Vec<String>)> {
        let &Args { batch_ms, batch, in_flight, .. } = self.args;
        let model = format!("simulated:{batch_ms}ms,{batch}");
        let (batch, in_flight) = (batch.to_string(), in_flight.map(|n| n.to_string()));
        let mut args = vec!["--model", &model, "--encode-batch-images", &batch];
        args.extend(in_flight.iter().flat_map(|n| ["--encode-in-flight", n]));
        let (mut workers, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..count {
            // because: a port that was free a moment ago is most likely still free
            let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
            let args = [&args[..], &["--operations", &address]].concat();
            workers.push(self.pipeline.start(Kind::Encode, &args)?);
            addresses.push(address);
        }
        Ok((workers, addresses))
    }
}

/// Deliveries that a worker has done.
async fn done(address: String) -> anyhow::Result<u64> {
    let asking = tokio::task::spawn_blocking(move || {
        let url = format!("http://{address}/metrics");
        anyhow::Ok(ureq::get(url).call()?.body_mut().read_to_string()?)
    });
    let metrics = asking.await??;
    let line = metrics.lines().find(|line| {
        line.starts_with("weimocir_deliveries_total") && line.contains("outcome=\"done\"")
    });
    match line {
        None => Ok(0),
        Some(line) => Ok(line.rsplit(' ').next().context("no number")?.parse()?),
    }
}

/// The machine's processors, in ticks since it started.
struct Processors {
    idle: u64,
    all: u64,
}

impl Processors {
    fn now() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let ticks = text.lines().next().context("no processors")?.split_whitespace().skip(1);
        let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
        ensure!(ticks.len() > 4, "no processors: {text}");
        Ok(Self { idle: ticks[3] + ticks[4], all: ticks.iter().sum() })
    }

    fn busy_since(&self) -> anyhow::Result<f64> {
        let now = Self::now()?;
        Ok(1.0 - (now.idle - self.idle) as f64 / (now.all - self.all).max(1) as f64)
    }
}
