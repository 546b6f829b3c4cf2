//! A day's load on workers whose number KEDA's and the HPA's rules decide, from what a real nats-server
//! tells of its queue: how the backlog and the replicas follow, and whether an image is lost when workers
//! come and go.
//!
//! Workers are processes with a simulated device, started, and stopped by SIGTERM, as Kubernetes would.
//! The rules are those of `deploy/kubernetes/components/autoscaling/encode.yaml` on a clock that runs
//! 15 times as fast, with as much less lag for each worker.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep},
};
use weimocir_domain::{Collection, ImageId, Shard};
use weimocir_evaluation::{Panel, Timelines};
use weimocir_runtime::{Collections, ShardLog};
use weimocir_tests::{
    EncodeWork, Kind, Pipeline, Worker,
    autoscale::{Autoscaler, Growth, Rules, Share},
};
use weimocir_wire::names::{ENCODE_DURABLE, WORK_STREAM};

#[derive(Debug, Parser)]
struct Args {
    /// Seconds that the day takes
    #[arg(long, default_value_t = 300.0)]
    day: f64,
    /// Most workers
    #[arg(long, default_value_t = 8)]
    most: usize,
    /// What a device takes for a batch, in milliseconds
    #[arg(long, default_value_t = 500)]
    batch_ms: u64,
    #[arg(long, default_value_t = 8)]
    batch: usize,
    #[arg(long, default_value = "docs/autoscaling.svg", value_name = "FILE")]
    chart: PathBuf,
}

/// How much faster than in a cluster the rules' clock runs.
const FASTER: f64 = 15.0;
/// Seconds between two looks at the queue (15 in a cluster).
const POLL: f64 = 15.0 / FASTER;

/// Shares of a day, and from then on how many workers' devices the load would keep busy.
// because: a shop's day: little at night, a morning, a midday, a quiet afternoon and an evening
const DAY: [(f64, f64); 7] =
    [(0.0, 0.5), (0.15, 2.5), (0.3, 4.5), (0.4, 2.0), (0.6, 1.0), (0.7, 5.5), (0.8, 0.5)];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (pipeline, monitor) = Pipeline::monitored().await?;
    pipeline.weimocir(&["provision", "--json"]).await?.json()?;
    let work = Arc::new(EncodeWork::open(&pipeline).await?);
    let bus = pipeline.bus().await?;
    let collection = Collection::default();
    Collections::open(&bus).await?.ensure(&collection, 1).await?;
    let day = Day::of(&args);
    let images = work.store(day.images() + 100).await?;
    let mut fleet = Fleet::new(&pipeline, &args);
    fleet.resize(1)?;
    pipeline.until_alive(Kind::Encode, 1).await?;

    let began = Instant::now();
    let feeding = tokio::spawn(feed(work.clone(), day.clone(), images, began));
    let told = follow(&mut fleet, &monitor, &day, began).await?;
    let submitted = feeding.await??;
    while lag(&monitor).await? > 0 {
        ensure!(began.elapsed().as_secs_f64() < 4.0 * day.seconds, "the backlog does not drain");
        sleep(Duration::from_millis(200)).await;
    }
    fleet.end().await?;
    let log = ShardLog::open(&bus, &collection, Shard(0)).await?;
    let held = log.identity().last_sequence;
    let deliveries = work.counted().await?.deliveries;
    told.report(&day, &args)?;
    let lost = submitted.saturating_sub(held);
    println!(
        "\n{}",
        json!({
            "submitted": submitted,
            "lost": lost,
            "redelivered": deliveries.saturating_sub(submitted),
            "workers_started": fleet.started,
            "most_replicas": told.most_replicas(),
            "drained_s": (0..day.steps.len()).map(|nth| told.drained(&day, nth)).collect::<Vec<_>>(),
        })
    );
    ensure!(lost == 0, "{lost} of {submitted} images were lost");
    Ok(())
}

/// The load over time.
#[derive(Clone)]
struct Day {
    seconds: f64,
    /// From a second on, pictures a second.
    steps: Vec<(f64, f64)>,
}

impl Day {
    fn of(args: &Args) -> Self {
        let device = args.batch as f64 / (args.batch_ms as f64 / 1e3);
        let steps = DAY.map(|(share, devices)| (share * args.day, devices * device));
        Self { seconds: args.day, steps: steps.to_vec() }
    }

    fn rate(&self, at: f64) -> f64 {
        self.steps.iter().rev().find(|(from, _)| *from <= at).map_or(0.0, |(_, rate)| *rate)
    }

    /// Where a step ends.
    fn end(&self, nth: usize) -> f64 {
        self.steps.get(nth + 1).map_or(self.seconds, |(at, _)| *at)
    }

    /// Pictures of the whole day.
    fn images(&self) -> u32 {
        let of = |(nth, (from, rate)): (usize, &(f64, f64))| (self.end(nth) - from) * rate;
        self.steps.iter().enumerate().map(of).sum::<f64>().ceil() as u32
    }
}

/// Submits the day's pictures as they are due. Gives how many there were.
async fn feed(
    work: Arc<EncodeWork>,
    day: Day,
    images: Vec<ImageId>,
    began: Instant,
) -> anyhow::Result<u64> {
    let collection = Collection::default();
    let mut ticks = interval(Duration::from_millis(100));
    let (mut due, mut before, mut given) = (0.0, 0.0, 0_usize);
    loop {
        ticks.tick().await;
        let now = began.elapsed().as_secs_f64().min(day.seconds);
        due += (now - before) * day.rate(before);
        before = now;
        let next = (due as usize).min(images.len());
        work.submit(&collection, &images[given..next]).await?;
        given = next;
        if now >= day.seconds {
            return Ok(given as u64);
        }
    }
}

/// What was seen at each look.
struct Told {
    /// Seconds, lag and replicas.
    looks: Vec<(f64, u64, usize)>,
    target: u64,
}

/// Looks at the queue and has as many workers run as the rules say, until the day and its backlog are
/// over.
async fn follow(
    fleet: &mut Fleet<'_>,
    monitor: &str,
    day: &Day,
    began: Instant,
) -> anyhow::Result<Told> {
    let rules = rules(fleet.most);
    let target = rules.target;
    let mut scaler = Autoscaler::new(rules);
    let mut looks = Vec::new();
    let mut ticks = interval(Duration::from_secs_f64(POLL));
    loop {
        ticks.tick().await;
        let (now, lag) = (began.elapsed().as_secs_f64(), lag(monitor).await?);
        let replicas = scaler.replicas(now, lag);
        looks.push((now, lag, replicas));
        fleet.resize(replicas)?;
        if now > day.seconds && (lag == 0 && replicas == 1 || now > 2.0 * day.seconds) {
            return Ok(Told { looks, target });
        }
    }
}

fn rules(most: usize) -> Rules {
    Rules {
        least: 1,
        most,
        target: (2_000.0 / FASTER) as u64,
        up: Growth { share: 1.0, pods: 4, period: 30.0 / FASTER },
        down: Share { share: 0.5, period: 60.0 / FASTER },
        window: 300.0 / FASTER,
    }
}

/// As KEDA's scaler for JetStream reads it: what waits, and what is being worked on.
async fn lag(monitor: &str) -> anyhow::Result<u64> {
    let url = format!("{monitor}/jsz?acc=$G&consumers=true&config=true");
    let asking = tokio::task::spawn_blocking(move || {
        anyhow::Ok(ureq::get(url).call()?.body_mut().read_to_string()?)
    });
    let told: Value = serde_json::from_str(&asking.await??)?;
    let consumers = told["account_details"].as_array().into_iter().flatten();
    let consumers = consumers.flat_map(|account| account["stream_detail"].as_array()).flatten();
    let consumers = consumers.flat_map(|stream| stream["consumer_detail"].as_array()).flatten();
    let mut of_queue =
        consumers.filter(|one| one["stream_name"] == WORK_STREAM && one["name"] == ENCODE_DURABLE);
    let consumer = of_queue.next().with_context(|| format!("no such queue in {told}"))?;
    let number = |name: &str| consumer[name].as_u64().with_context(|| format!("no {name}"));
    Ok(number("num_pending")? + number("num_ack_pending")?)
}

struct Fleet<'a> {
    pipeline: &'a Pipeline,
    args: Vec<String>,
    most: usize,
    running: Vec<Worker>,
    /// On their way out.
    ending: JoinSet<anyhow::Result<i32>>,
    started: usize,
}

impl<'a> Fleet<'a> {
    fn new(pipeline: &'a Pipeline, args: &Args) -> Self {
        let model = format!("simulated:{}ms,{}", args.batch_ms, args.batch);
        // because: 128, its default, is 8 s of this device, a great part of this day
        let in_flight = (4 * args.batch).to_string();
        let batch = args.batch.to_string();
        let arguments =
            ["--model", &model, "--encode-batch-images", &batch, "--encode-in-flight", &in_flight];
        let arguments = arguments.map(str::to_owned).to_vec();
        let (running, ending) = (Vec::new(), JoinSet::new());
        Self { pipeline, args: arguments, most: args.most, running, ending, started: 0 }
    }

    fn resize(&mut self, count: usize) -> anyhow::Result<()> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        while self.running.len() < count {
            self.running.push(self.pipeline.start(Kind::Encode, &args)?);
            self.started += 1;
        }
        while self.running.len() > count {
            if let Some(worker) = self.running.pop() {
                self.ending.spawn(worker.stop());
            }
        }
        Ok(())
    }

    /// Ends all of them.
    async fn end(&mut self) -> anyhow::Result<()> {
        self.resize(0)?;
        while let Some(ended) = self.ending.join_next().await {
            ensure!(ended?? == 0, "a worker failed: {}", self.pipeline.log(Kind::Encode));
        }
        Ok(())
    }
}

impl Told {
    fn most_replicas(&self) -> usize {
        self.looks.iter().map(|(_, _, replicas)| *replicas).max().unwrap_or(0)
    }

    /// Seconds from the begin of a step until the backlog is no more than what one worker is for,
    /// where it grew beyond that in this step.
    fn drained(&self, day: &Day, nth: usize) -> Option<f64> {
        let (from, until) = (day.steps[nth].0, day.end(nth));
        let in_step = |at: f64| (from..until).contains(&at);
        let grown = self.looks.iter().find(|(at, lag, _)| in_step(*at) && *lag > self.target)?;
        let mut after = self.looks.iter().filter(|(at, ..)| *at > grown.0);
        after.find(|(_, lag, _)| *lag <= self.target).map(|(at, ..)| at - from)
    }

    fn report(&self, day: &Day, args: &Args) -> anyhow::Result<()> {
        println!(
            "| from, s | images/s | most lag | most replicas | drained after, s |\n|---|---|---|---|---|"
        );
        for (nth, (from, rate)) in day.steps.iter().enumerate() {
            let of_step =
                || self.looks.iter().filter(|(at, ..)| (*from..day.end(nth)).contains(at));
            let lag = of_step().map(|(_, lag, _)| *lag).max().unwrap_or(0);
            let replicas = of_step().map(|(.., replicas)| *replicas).max().unwrap_or(0);
            let drained = self.drained(day, nth);
            let drained = drained.map_or_else(|| "–".to_owned(), |took| format!("{took:.0}"));
            println!("| {from:.0} | {rate:.0} | {lag} | {replicas} | {drained} |");
        }
        let seconds = self.looks.last().map_or(day.seconds, |(at, ..)| *at);
        let panel = |name: &str, told: Vec<(f64, f64)>| Panel { name: name.to_owned(), told };
        let mut load = day.steps.clone();
        load.push((day.seconds, 0.0));
        let device = args.batch as f64 / (args.batch_ms as f64 / 1e3);
        let chart = Timelines {
            title: format!(
                "A day of {:.0} seconds; a worker encodes {device:.0} images/s",
                day.seconds
            ),
            seconds,
            panels: vec![
                panel("images submitted a second", load),
                panel(
                    "images that wait or are in work",
                    self.looks.iter().map(|(at, lag, _)| (*at, *lag as f64)).collect(),
                ),
                panel(
                    "encode workers",
                    self.looks.iter().map(|(at, _, replicas)| (*at, *replicas as f64)).collect(),
                ),
            ],
        };
        Ok(chart.write(&args.chart)?)
    }
}
