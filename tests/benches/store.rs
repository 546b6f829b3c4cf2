//! A store of a million images: how fast it takes them, what killing it loses, how long it takes to
//! start and how much memory it then needs.
//!
//! Vectors are put into the log as an encoder would put them. The store is a process of its own; it is
//! killed again and again while they come in. Every acknowledged part is looked up afterwards.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use weimocir_domain::{Alpha, Beta, Collection, ImageId, ModelId, Revision, Shard, TextReference};
use weimocir_runtime::{Bus, Collections};
use weimocir_tests::{
    Kind, Pipeline, Worker,
    mixture::{Image, Mixture},
};
use weimocir_wire::{
    Vector,
    query::{CandidatesChunk, CandidatesQuery, Lookup, LookupQuery},
    subjects::{self, Part},
    vectors::{CaptionVector, CaptionsPart, ImagePart},
};

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 1_000_000)]
    images: usize,
    #[arg(long, default_value_t = 512)]
    dim: usize,
    /// Captions of each image, up to three
    #[arg(long, default_value_t = 3)]
    captions: usize,
    /// How often the store is killed while images come in
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Where everything is kept meanwhile
    #[arg(long, default_value = ".build/bench-store", value_name = "FOLDER")]
    folder: PathBuf,
}

/// Images made and put into the log at once.
const BLOCK: usize = 2_000;
const SEARCHES: usize = 300;
const SHARD: Shard = Shard(0);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.folder)?;
    let pipeline = Pipeline::bare_in(tempfile::tempdir_in(&args.folder)?).await?;
    let bench = Bench {
        bus: pipeline.bus().await?,
        collection: "default".parse()?,
        mixture: Mixture::new(args.dim),
        pipeline,
        args,
    };
    bench.run().await
}

struct Bench {
    args: Args,
    pipeline: Pipeline,
    bus: Bus,
    collection: Collection,
    mixture: Mixture,
}

fn model() -> ModelId {
    ModelId::new("mixture")
}

fn id(n: usize) -> ImageId {
    ImageId::of(&(n as u64).to_be_bytes())
}

impl Bench {
    async fn run(self) -> anyhow::Result<()> {
        self.bus.provision().await?;
        let collections = Collections::open(&self.bus).await?;
        collections.ensure(&self.collection, 1).await?;
        collections.bind(&self.collection, &model()).await?;

        let (store, per_second) = self.feed().await?;
        let missing = self.missing().await?;
        println!(
            "{} images taken at {per_second:.0}/s, the store killed {} times",
            self.args.images, self.args.kills
        );
        println!("acknowledged and not found after: {missing}");
        let data = self.pipeline.folder().join("store/default/shard-0");
        let index = bytes_in(&data.join("index"))?;
        println!(
            "on disk: {:.1} GB in sled, {:.1} GB of index",
            (bytes_in(&data)? - index) as f64 / 1e9,
            index as f64 / 1e9
        );

        println!("\n| start | s | memory, MB (without files' pages) |\n|---|---|---|");
        let began = Instant::now();
        ensure!(store.stop().await? == 0, "the store does not stop cleanly");
        println!("| (stopping) | {:.1} | |", began.elapsed().as_secs_f64());
        let (store, stopped) = self.start("after a stop").await?;
        store.kill().await?;
        forget_cached_files();
        let (store, cold) = self.start("with nothing in the system's cache").await?;
        store.kill().await?;
        let (store, killed) = self.start("after a kill").await?;

        let latencies = self.search().await?;
        let (all, own) = memory(&store)?;
        println!("| (after {SEARCHES} searches) | | {all} ({own}) |");
        let at = |share: f64| latencies[(share * (latencies.len() - 1) as f64) as usize];
        let (p50, p99) = (at(0.5), at(0.99));
        println!("\nasked over NATS, K 10: p50 {p50:.1} ms, p99 {p99:.1} ms");
        store.kill().await?;
        std::fs::remove_dir_all(data.join("index"))?;
        let (store, anew) = self.start("with the index gone, made anew from sled").await?;
        ensure!(self.missing().await? == 0, "not all is found");
        drop(store);
        let result = json!({
            "images": self.args.images, "images_per_s": per_second, "kills": self.args.kills,
            "lost": missing, "start_s": stopped.seconds, "cold_start_s": cold.seconds,
            "start_after_kill_s": killed.seconds, "start_without_index_s": anew.seconds,
            "resident_mb": all, "anonymous_mb": own, "search_p50_ms": p50, "search_p99_ms": p99,
        });
        println!("{result}");
        Ok(())
    }

    /// Puts all images into the log while the store is killed; returns when it has them all.
    async fn feed(&self) -> anyhow::Result<(Worker, f64)> {
        let began = Instant::now();
        let mut store = self.pipeline.start(Kind::Store, &[])?;
        let images = self.args.images;
        let mut kills = 0;
        for first in (0..images).step_by(BLOCK) {
            let made = self.mixture.images(first, BLOCK.min(images - first));
            let parts =
                made.iter().enumerate().map(|(n, image)| self.put_until_taken(first + n, image));
            futures::stream::iter(parts).buffer_unordered(1_000).try_collect::<Vec<()>>().await?;
            if first * self.args.kills >= (kills + 1) * images {
                kills += 1;
                store.kill().await?;
                store = self.pipeline.start(Kind::Store, &[])?;
            }
            if first % (images / 20).next_multiple_of(BLOCK) == 0 {
                eprintln!("{first} images in the log after {:.0} s", began.elapsed().as_secs_f64());
            }
        }
        self.until_whole().await?;
        Ok((store, images as f64 / began.elapsed().as_secs_f64()))
    }

    /// As an encoder does, whose work comes again until its parts are acknowledged.
    async fn put_until_taken(&self, n: usize, image: &Image) -> anyhow::Result<()> {
        let mut tries = 0;
        while let Err(error) = self.put(n, image).await {
            tries += 1;
            ensure!(tries < 5, error);
        }
        Ok(())
    }

    async fn put(&self, n: usize, image: &Image) -> anyhow::Result<()> {
        let revision = Revision(n as u64 + 1);
        let part = ImagePart {
            image: id(n),
            revision,
            model: model(),
            embedding: Vector(image.embedding.clone()),
            source: format!("catalogue/{n}.jpg"),
            metadata: [("number".to_owned(), n.into())].into_iter().collect(),
        };
        let place = (SHARD, Part::Image);
        self.bus.submit_part(&self.collection, id(n), place, (revision, &part)).await?;
        let captions = image.captions.iter().take(self.args.captions);
        let captions = captions.map(|t| CaptionVector {
            text: format!("a picture whose number is {n}, described by its vector alone"),
            embedding: Vector(t.clone()),
        });
        let captions = captions.collect();
        let part = CaptionsPart { image: id(n), revision, model: model(), captions };
        let place = (SHARD, Part::Captions);
        self.bus.submit_part(&self.collection, id(n), place, (revision, &part)).await?;
        Ok(())
    }

    async fn look_up(&self, images: Vec<ImageId>) -> anyhow::Result<Option<Lookup>> {
        let subject = subjects::lookup(&self.collection, SHARD);
        let asked = self.bus.ask(&subject, &LookupQuery { images }, Duration::from_secs(20)).await;
        Ok(asked.ok())
    }

    /// Waits until the store answers, and has everything.
    async fn until_whole(&self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(1_800);
        loop {
            let whole = self.args.images as u64;
            let lookup = self.look_up(vec![]).await?;
            if lookup.is_some_and(|l| (l.images, l.captioned) == (whole, whole)) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the store: {}", self.pipeline.log(Kind::Store));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Parts that the log has acknowledged and the store does not know.
    async fn missing(&self) -> anyhow::Result<usize> {
        let mut missing = 0;
        for first in (0..self.args.images).step_by(BLOCK) {
            let numbers = first..(first + BLOCK).min(self.args.images);
            let lookup = self.look_up(numbers.clone().map(id).collect()).await?;
            for (n, state) in numbers.zip(lookup.context("no answer")?.states) {
                let revision = Some(Revision(n as u64 + 1));
                missing += usize::from(state.image != revision);
                missing += usize::from(state.captions != revision);
            }
        }
        Ok(missing)
    }

    async fn start(&self, how: &str) -> anyhow::Result<(Worker, Started)> {
        let began = Instant::now();
        let store = self.pipeline.start(Kind::Store, &[])?;
        self.until_whole().await?;
        let seconds = began.elapsed().as_secs_f64();
        let (all, own) = memory(&store)?;
        println!("| {how} | {seconds:.1} | {all} ({own}) |");
        Ok((store, Started { seconds }))
    }

    /// Milliseconds of searches, in ascending order.
    async fn search(&self) -> anyhow::Result<Vec<f64>> {
        let subject = subjects::candidates(&self.collection, SHARD);
        let mut taken = Vec::new();
        for n in 0..SEARCHES {
            let query = self.mixture.query(n);
            let question = CandidatesQuery {
                model: model(),
                reference: Some(Vector(query.reference.embedding.clone())),
                modifier: Some(Vector(query.modifier.clone())),
                text_reference: TextReference::Image,
                captions: vec![],
                alpha: Alpha::new(query.alpha)?,
                beta: Beta::new(query.beta)?,
                k: 10,
                exclude: vec![],
                filter: None,
                explain: false,
            };
            let began = Instant::now();
            let within = Duration::from_secs(10);
            let chunk: CandidatesChunk = self.bus.ask(&subject, &question, within).await?;
            taken.push(began.elapsed().as_secs_f64() * 1e3);
            ensure!(chunk.candidates.len() == 10, "{} candidates", chunk.candidates.len());
        }
        taken.sort_by(f64::total_cmp);
        Ok(taken)
    }
}

struct Started {
    seconds: f64,
}

/// Megabytes resident, and those of them that are no file's.
fn memory(store: &Worker) -> anyhow::Result<(u64, u64)> {
    let id = store.id().context("the store has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).context("no such field")?;
        let kilobytes: u64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
        anyhow::Ok(kilobytes * 1024 / 1_000_000)
    };
    Ok((field("VmRSS:")?, field("RssAnon:")?))
}

fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => bytes_in(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}

fn forget_cached_files() {
    let dropped = std::fs::write("/proc/sys/vm/drop_caches", "3");
    if let Err(error) = dropped {
        println!("| (the system's cache cannot be emptied: {error}) | | |");
    }
}
