//! Faults against real processes and a real nats-server, and whether anything that was acknowledged is
//! lost by them, or found twice.
//!
//! `trouble` says what goes wrong, to what `fleet`, `proxy` and `cluster` hold; `feed` submits meanwhile and
//! remembers what was acknowledged; `audit` looks for it afterwards.

mod audit;
mod cluster;
mod feed;
mod fleet;
mod proxy;
mod trouble;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tokio::{task::JoinHandle, time::sleep};
use weimocir_domain::Collection;
use weimocir_runtime::{Bus, CancellationToken, Collections, NatsArgs, Patience};
use weimocir_wire::{
    search::{SearchAnswer, SearchRequest},
    subjects,
};

pub use trouble::Fault;

use crate::pipeline::{Pipeline, nats_server, program};
use audit::Audit;
use cluster::Cluster;
use feed::{Feed, Manner, Samples};
use fleet::Fleet;
use proxy::Proxy;
use trouble::Scene;

/// Shards of every collection; because an image must be found whichever it is in.
const SHARDS: u16 = 2;

/// How much is tried of a fault.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub rounds: usize,
    /// Submitted in each round.
    pub pictures: usize,
    /// Of everything random.
    pub seed: u64,
}

/// What a fault came to, over all rounds.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub rounds: usize,
    pub acknowledged: usize,
    pub searchable: usize,
    pub lost: usize,
    pub duplicated: usize,
    /// From the end of the trouble, or of the feed if that was later, until all was searchable.
    pub recoveries: Vec<Duration>,
    /// Searches meanwhile that were answered in full, and those that were not.
    pub searches: (usize, usize),
    /// Workers that ended by themselves and were started again.
    pub revived: usize,
}

/// Tries a fault again and again on one pipeline, each time with a collection of its own.
///
/// # Errors
/// The pipeline does not start or does not answer at the end of a round.
pub async fn strike(fault: Fault, plan: Plan) -> anyhow::Result<Tally> {
    let samples = Samples::new()?;
    let mut suite = Suite::start(fault).await?;
    let mut tally = Tally::default();
    for round in 0..plan.rounds {
        let rng = ChaCha8Rng::seed_from_u64(plan.seed.wrapping_mul(1_000) + round as u64);
        suite
            .round(round, plan.pictures, &samples, rng, &mut tally)
            .await
            .with_context(|| format!("in round {round} of \"{fault}\" with seed {}", plan.seed))?;
        tally.rounds += 1;
    }
    tally.revived = suite.scene.fleet.revived;
    Ok(tally)
}

#[derive(Debug)]
struct Suite {
    fault: Fault,
    scene: Scene,
    /// Of who feeds, searches and audits, past any proxy.
    bus: Bus,
}

impl Suite {
    async fn start(fault: Fault) -> anyhow::Result<Self> {
        let server = nats_server()?;
        let (mut cluster, mut proxy, mut environment) = (None, None, Vec::new());
        let pipeline = match fault {
            Fault::LeaderKilled => {
                let servers = cluster.insert(Cluster::start(server).await?);
                environment.push(("WEIMOCIR_NATS_REPLICAS".to_owned(), "3".to_owned()));
                Pipeline::at(servers.url())?
            }
            _ => Pipeline::bare().await?,
        };
        if fault.needs_proxy() {
            let between = proxy.insert(Proxy::start(pipeline.url()).await?);
            environment.push(("WEIMOCIR_NATS".to_owned(), between.url().to_owned()));
        }
        if fault == Fault::ClockStepped {
            let library = program("libweimocir_clock.so")?;
            environment.push(("LD_PRELOAD".to_owned(), library.display().to_string()));
            let clock = trouble::clock(&pipeline).display().to_string();
            environment.push(("WEIMOCIR_TEST_CLOCK".to_owned(), clock));
        }
        let replicas = if cluster.is_some() { 3 } else { 1 };
        let args = NatsArgs { url: pipeline.url().to_owned(), replicas, ..NatsArgs::default() };
        let bus = Bus::connect(&args, "faults", Patience::Worker).await?;
        bus.provision().await?;
        let fleet = Fleet::start(pipeline, environment).await?;
        Ok(Self { fault, scene: Scene { fleet, proxy, cluster }, bus })
    }

    async fn round(
        &mut self,
        round: usize,
        pictures: usize,
        samples: &Samples,
        mut rng: ChaCha8Rng,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let collection: Collection = format!("round-{round}").parse()?;
        Collections::open(&self.bus).await?.ensure(&collection, SHARDS).await?;
        let samples = Arc::new(samples.draw(pictures, &mut rng)?);
        let manner = if self.fault == Fault::Repeated { Manner::Repeating } else { Manner::Once };
        let (bus, of, own) = (self.bus.clone(), samples.clone(), collection.clone());
        let feed = Feed { bus, collection: own, samples: of, manner };
        let feed = tokio::spawn(feed.run(ChaCha8Rng::seed_from_u64(round as u64)));
        let searching = Searching::start(&self.bus, &collection);

        self.scene.strike(self.fault, &collection, &mut rng).await?;
        let fleet = &mut self.scene.fleet;
        let acknowledged = tokio::select! {
            fed = feed => fed??,
            error = fleet.supervise() => return Err(error),
        };
        let quiet = Instant::now();
        let (bus, collection) = (&self.bus, &collection);
        let (samples, acknowledged) = (&samples[..], &acknowledged);
        let audit = Audit { bus, collection, shards: SHARDS, samples, acknowledged };
        tokio::select! {
            settled = audit.settle() => settled?,
            error = fleet.supervise() => return Err(error),
        }
        tally.recoveries.push(quiet.elapsed());
        let (answered, failed) = searching.stop().await?;
        let found = audit.found().await?;
        tally.acknowledged += found.acknowledged;
        tally.searchable += found.searchable;
        tally.lost += found.lost;
        tally.duplicated += found.duplicated;
        tally.searches = (tally.searches.0 + answered, tally.searches.1 + failed);
        Ok(())
    }
}

/// Searches one after the other, until told to stop.
struct Searching {
    stop: CancellationToken,
    task: JoinHandle<(usize, usize)>,
}

impl Searching {
    fn start(bus: &Bus, collection: &Collection) -> Self {
        let stop = CancellationToken::new();
        let (bus, until, collection) = (bus.clone(), stop.clone(), collection.clone());
        let task = tokio::spawn(async move {
            let (mut answered, mut failed) = (0, 0);
            while !until.is_cancelled() {
                let request = SearchRequest {
                    collection: collection.clone(),
                    modifier: Some("a picture".to_owned()),
                    timeout_ms: Some(2_000),
                    ..SearchRequest::default()
                };
                let within = Duration::from_secs(3);
                let answer = bus.ask::<_, SearchAnswer>(subjects::SEARCH, &request, within).await;
                match answer {
                    Ok(answer) if !answer.partial => answered += 1,
                    _ => failed += 1,
                }
                sleep(Duration::from_millis(100)).await;
            }
            (answered, failed)
        });
        Self { stop, task }
    }

    async fn stop(self) -> anyhow::Result<(usize, usize)> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}
