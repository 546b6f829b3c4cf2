//! Searches, shared by stores and by query workers.
//!
//! Stores have a simulated scan (`--simulated-scan`): each takes a fixed time for an image, one search
//! after the other, so that a collection whose shards are spread over more stores is scanned sooner.
//! Query workers are full of searches that wait for their encoder, which is this process: it takes a
//! fixed time, and any number at once.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use serde_json::{Value, json};
use weimocir_domain::{Alpha, Beta, Collection, ImageId, ModelId, Revision};
use weimocir_runtime::{Asked, Bus, CancellationToken, Collections, Service};
use weimocir_tests::{Kind, Pipeline, Worker, mixture::Mixture};
use weimocir_wire::{
    Vector,
    names::ENCODE_SERVICE,
    query::{EncodeQuery, EncodeTiming, EncodedQuery, EncodedText},
    search::{RefusalCode, SearchAnswer, SearchRequest},
    subjects::{self, Part},
    vectors::ImagePart,
};

use crate::Args;

const DIM: usize = 512;
/// Of the collection that stores share.
const SHARDS: u16 = 16;
const IMAGES: usize = 8_000;
/// Of the collection that query workers ask.
const FEW: usize = 500;
/// Clients of stores, each of which asks again as soon as it is answered.
const CLIENTS: usize = 8;
/// Searches that a query worker has in hand at the same time.
const IN_HAND: usize = 4;
/// What a client does when all are busy.
const AGAIN: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(30);

/// More stores, each with its part of the shards.
pub(crate) async fn stores(args: &Args) -> anyhow::Result<Value> {
    let bench = Bench::new(IMAGES, SHARDS, Duration::ZERO).await?;
    let _query = bench.pipeline.start(Kind::Query, &["--searches", "256"])?;
    bench.pipeline.until_alive(Kind::Query, 1).await?;
    println!(
        "\nStores: {IMAGES} images in {SHARDS} shards; {} ns for an image, so that one store takes {:.0} ms for a search\n",
        args.scan_ns,
        (args.scan_ns * IMAGES as u64) as f64 / 1e6
    );
    let mut table = Table::new("stores", ("ms alone, p50", "ms_alone"));
    for &count in &args.workers {
        ensure!(count <= usize::from(SHARDS), "there are {SHARDS} shards for {count} stores");
        let stores = bench.start_stores(count, Some(args.scan_ns))?;
        bench.until_whole().await?;
        let mut alone = Vec::new();
        for _ in 0..11 {
            let began = Instant::now();
            ensure!(bench.search().await? == Answered::Whole, "a search on its own failed");
            alone.push(began.elapsed().as_secs_f64() * 1e3);
        }
        alone.sort_by(f64::total_cmp);
        let alone = alone[alone.len() / 2];
        let rate = bench.rate(CLIENTS, args).await?;
        table.add(count, rate, (alone, format!("{alone:.0}")));
        for store in stores {
            store.stop().await?;
        }
    }
    Ok(json!({ "images": IMAGES, "scan_ns": args.scan_ns, "rows": table.rows }))
}

/// More query workers.
pub(crate) async fn queries(args: &Args) -> anyhow::Result<Value> {
    let bench = Bench::new(FEW, 1, Duration::from_millis(args.encoding_ms)).await?;
    let _stores = bench.start_stores(1, None)?;
    println!(
        "\nQuery workers: {IN_HAND} searches at the same time each, whose encoding takes {} ms\n",
        args.encoding_ms
    );
    let mut table = Table::new("query workers", ("told busy, of 100", "told_busy"));
    for &count in &args.workers {
        let searches = IN_HAND.to_string();
        let workers = (0..count)
            .map(|_| bench.pipeline.start(Kind::Query, &["--searches", &searches]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        bench.pipeline.until_alive(Kind::Query, count).await?;
        bench.until_whole().await?;
        // because: each goes to a worker by chance, and all are to be full
        let rate = bench.rate(2 * IN_HAND * count, args).await?;
        table.add(count, rate, (rate.busy, format!("{:.0}", rate.busy * 1e2)));
        for worker in workers {
            worker.stop().await?;
        }
    }
    Ok(json!({ "encoding_ms": args.encoding_ms, "rows": table.rows }))
}

/// What each number of workers came to, printed as it comes.
struct Table {
    workers: &'static str,
    /// What else is told of each.
    besides: &'static str,
    /// Searches a second that linear is reckoned from, of one worker.
    of_one: Option<f64>,
    rows: Vec<Value>,
}

impl Table {
    fn new(workers: &'static str, (column, besides): (&str, &'static str)) -> Self {
        println!(
            "| {workers} | searches/s | share of linear | {column} | failed |\n|---|---|---|---|---|"
        );
        Self { workers, besides, of_one: None, rows: Vec::new() }
    }

    fn add(&mut self, count: usize, came: Rate, (besides, shown): (f64, String)) {
        let Rate { rate, failed, .. } = came;
        let linear = rate / count as f64 / *self.of_one.get_or_insert(rate / count as f64);
        println!("| {count} | {rate:.1} | {linear:.3} | {shown} | {failed} |");
        self.rows.push(json!({
            (self.workers.replace(' ', "_")): count, "searches_per_s": rate,
            (self.besides): besides, "share_of_linear": linear, "failed": failed,
        }));
    }
}

/// What clients came to.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// Whole answers in a second.
    rate: f64,
    /// Share of the questions that were told to come again.
    busy: f64,
    failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Whole,
    Busy,
    /// Refused, or with shards missing.
    Not,
}

struct Bench {
    pipeline: Pipeline,
    bus: Bus,
    shards: u16,
    asked: AtomicU64,
    _encoder: Service,
}

impl Bench {
    /// Images in the log, and an encoder.
    async fn new(images: usize, shards: u16, encoding: Duration) -> anyhow::Result<Arc<Self>> {
        let pipeline = Pipeline::bare().await?;
        let bus = pipeline.bus().await?;
        bus.provision().await?;
        let collections = Collections::open(&bus).await?;
        let (collection, model) = (Collection::default(), ModelId::new("mixture"));
        collections.ensure(&collection, shards).await?;
        collections.bind(&collection, &model).await?;
        let mixture = Mixture::new(DIM);
        let put = (0..).zip(mixture.images(0, images)).map(|(n, image)| {
            let id = ImageId::of(&u64::to_be_bytes(n));
            let part = ImagePart {
                image: id,
                revision: Revision(n + 1),
                model: model.clone(),
                embedding: Vector(image.embedding),
                source: format!("mixture/{n}"),
                metadata: serde_json::Map::new(),
            };
            let (bus, collection) = (&bus, &collection);
            async move {
                let place = (id.shard(shards), Part::Image);
                anyhow::Ok(bus.submit_part(collection, id, place, (part.revision, &part)).await?)
            }
        });
        stream::iter(put.collect::<Vec<_>>())
            .buffer_unordered(256)
            .try_collect::<Vec<()>>()
            .await?;
        let encoder = encoder(&bus, mixture, encoding).await?;
        let asked = AtomicU64::new(0);
        Ok(Arc::new(Self { pipeline, bus, shards, asked, _encoder: encoder }))
    }

    /// Starts stores, the shards dealt out among them.
    fn start_stores(&self, count: usize, scan_ns: Option<u64>) -> anyhow::Result<Vec<Worker>> {
        let scan = scan_ns.map(|ns| ns.to_string());
        let start = |n: usize| {
            let shards = (0..self.shards).filter(|shard| usize::from(*shard) % count == n);
            let shards = shards.map(|shard| shard.to_string()).collect::<Vec<_>>().join(",");
            let data = self.pipeline.folder().join(format!("store-{n}-of-{count}"));
            let data = data.to_str().context("a folder whose name is no text")?;
            let mut args = vec!["--store-shards", &shards, "--store-data", data];
            args.extend(scan.iter().flat_map(|ns| ["--simulated-scan", ns]));
            self.pipeline.start(Kind::Store, &args)
        };
        (0..count).map(start).collect()
    }

    /// Waits until a search is answered in whole.
    async fn until_whole(&self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while self.search().await? != Answered::Whole {
            ensure!(Instant::now() < until, "no whole answer: {}", self.pipeline.log(Kind::Store));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn search(&self) -> anyhow::Result<Answered> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let request = SearchRequest {
            modifier: Some(format!("number {number}")),
            timeout_ms: Some(WITHIN.as_millis() as u64),
            ..SearchRequest::default()
        };
        let answer: Result<SearchAnswer, _> =
            self.bus.ask(subjects::SEARCH, &request, WITHIN).await;
        Ok(match answer {
            Ok(answer) if !answer.partial && answer.candidates.len() == 10 => Answered::Whole,
            Ok(_) => Answered::Not,
            Err(refusal) if refusal.code == RefusalCode::Busy => Answered::Busy,
            Err(_) => Answered::Not,
        })
    }

    /// What so many clients come to that ask again as soon as they are answered.
    async fn rate(self: &Arc<Self>, clients: usize, args: &Args) -> anyhow::Result<Rate> {
        let begin = Instant::now() + Duration::from_secs(2);
        let end = begin + Duration::from_secs(args.seconds);
        let client = || {
            let bench = self.clone();
            async move {
                let (mut whole, mut busy, mut failed) = (0_u64, 0_u64, 0_u64);
                while Instant::now() < end {
                    let answered = bench.search().await?;
                    let counts = Instant::now() > begin && Instant::now() < end;
                    match answered {
                        Answered::Whole => whole += u64::from(counts),
                        Answered::Busy => {
                            busy += u64::from(counts);
                            tokio::time::sleep(AGAIN).await;
                        }
                        Answered::Not => failed += 1,
                    }
                }
                anyhow::Ok((whole, busy, failed))
            }
        };
        let clients = (0..clients).map(|_| tokio::spawn(client()));
        let (mut whole, mut busy, mut failed) = (0, 0, 0);
        for counts in try_join_all(clients).await? {
            let counts = counts?;
            (whole, busy, failed) = (whole + counts.0, busy + counts.1, failed + counts.2);
        }
        Ok(Rate {
            rate: whole as f64 / args.seconds as f64,
            busy: busy as f64 / (whole + busy).max(1) as f64,
            failed,
        })
    }
}

/// Answers with some vector of the mixture for each text, after `takes`.
async fn encoder(bus: &Bus, mixture: Mixture, takes: Duration) -> anyhow::Result<Service> {
    let service = Service::start(bus, ENCODE_SERVICE, [].into()).await?;
    let asked = Asked {
        subject: subjects::in_lane(subjects::ENCODE_QUERY, &ModelId::new("mixture")),
        group: "encode".into(),
        question: "encode",
        limit: 10_000,
    };
    let (alpha, beta) = (Alpha::new(0.5)?, Beta::new(0.5)?);
    let mixture = Arc::new(mixture);
    let answer = move |question: EncodeQuery| {
        let mixture = mixture.clone();
        async move {
            tokio::time::sleep(takes).await;
            let texts = question.texts.iter().map(|text| EncodedText {
                embedding: Vector(mixture.query(text.len()).modifier),
                truncated: false,
            });
            Ok([EncodedQuery {
                model: ModelId::new("mixture"),
                alpha: alpha.get(),
                beta: beta.get(),
                image: None,
                texts: texts.collect(),
                captions: vec![],
                timing: EncodeTiming::default(),
            }])
        }
    };
    service.answer(asked, answer, &CancellationToken::new()).await?;
    Ok(service)
}
