//! The store worker: follows the vectors log of its shards, keeps them on disk and in memory, and
//! answers what they hold. What a search makes of the candidates is the query worker's.
//!
//! `shard` wires one shard: `load` (disk to memory, at the start), `apply` (log to disk to memory),
//! `disk` (sled), `saved` (the index's files beside it), `gallery` (memory, and in it `search`), `serve`
//! (questions). `delete` turns deletions into tombstones; `simulated` is for measurements.

mod apply;
mod delete;
mod disk;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gallery;
mod load;
mod part;
mod pieces;
mod saved;
mod serve;
mod shard;
mod simulated;

use std::{
    collections::HashMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use weimocir_domain::{Collection, FieldKinds, Shard};
use weimocir_runtime::{
    Bus, CancellationToken, Collections, NatsArgs, Operations, OperationsArgs, Patience, Service,
    TelemetryArgs,
};
use weimocir_wire::names::STORE_SERVICE;

pub use disk::DiskError;

pub use delete::deletions;

use crate::simulated::SimulatedScan;

/// Keeps the vectors of its shards and answers what they hold.
#[derive(Debug, clap::Parser)]
#[command(name = "weimocir-store", version)]
pub struct Command {
    #[command(flatten)]
    pub nats: NatsArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[command(flatten)]
    pub operations: OperationsArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct StoreArgs {
    /// Folder of the stored vectors; what is lost there is read again from the log
    #[arg(
        long = "store-data",
        env = "WEIMOCIR_STORE_DATA",
        default_value = ".weimocir/store",
        value_name = "DIR"
    )]
    pub data: PathBuf,
    /// Shards to keep, with commas between; all of them if not given
    #[arg(
        long = "store-shards",
        env = "WEIMOCIR_STORE_SHARDS",
        value_delimiter = ',',
        value_name = "N"
    )]
    pub shards: Vec<u16>,
    /// For measuring what is around a store: a scan takes so many nanoseconds for each image, one search
    /// at a time and without a processor
    #[arg(long, value_name = "NANOSECONDS", hide = true)]
    pub simulated_scan: Option<u64>,
}

/// Runs until `shutdown`, then finishes what was begun.
///
/// # Errors
/// No NATS, or a disk that cannot be written.
pub fn run(
    nats: NatsArgs,
    args: StoreArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    work_until(nats, args, operations, shutdown).boxed()
}

async fn work_until(
    nats: NatsArgs,
    args: StoreArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let bus = Bus::connect(&nats, STORE_SERVICE, Patience::Worker).await?;
    bus.provision().await?;
    let facts = [("data".into(), args.data.display().to_string())].into();
    let service = std::sync::Arc::new(Service::start(&bus, STORE_SERVICE, facts).await?);
    let mut tasks = JoinSet::new();
    tasks.spawn(delete::run(bus.clone(), shutdown.clone()));
    let outcome =
        serve_collections(&bus, &args, &service, (&operations, &mut tasks), &shutdown).await;
    shutdown.cancel();
    while let Some(finished) = tasks.join_next().await {
        if let Err(error) = finished.context("a task of the store died").and_then(|done| done) {
            tracing::error!("{error:#}");
        }
    }
    if let Some(service) = std::sync::Arc::into_inner(service) {
        service.finish().await;
    }
    bus.close().await;
    outcome
}

/// Starts the shards of every collection that there is or comes to be; fails when one of them does.
async fn serve_collections(
    bus: &Bus,
    args: &StoreArgs,
    service: &std::sync::Arc<Service>,
    (operations, tasks): (&Operations, &mut JoinSet<anyhow::Result<()>>),
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let register = Collections::open(bus).await?;
    let scan = args.simulated_scan.map(SimulatedScan::new);
    // because: a store that begins anew is not ready before it has what there is already
    let mut first =
        register.records().await?.into_iter().map(|_| operations.awaiting()).collect::<Vec<_>>();
    let mut collections = register.watch().await?;
    let mut kept: HashMap<Collection, Kept> = HashMap::new();
    let mut fields: HashMap<Collection, watch::Sender<FieldKinds>> = HashMap::new();
    operations.ready(bus);
    tracing::info!(data = %args.data.display(), "store ready");
    loop {
        let record = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(finished) = tasks.join_next() => {
                finished.context("a task of the store died")??;
                continue;
            }
            record = collections.next() => record.context("the watch on collections ended")?,
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(%error, "the collections cannot be watched for a moment");
                continue;
            }
        };
        let _counted = first.pop();
        if record.dropped {
            fields.remove(&record.name);
            forget(&args.data.join(record.name.as_str()), kept.remove(&record.name)).await;
            continue;
        }
        let kept = kept.entry(record.name.clone()).or_insert_with(|| Kept::until(shutdown));
        let fields = fields.entry(record.name.clone()).or_default();
        fields.send_if_modified(|held| {
            let changed = *held != record.fields;
            held.clone_from(&record.fields);
            changed
        });
        let wanted =
            (0..record.shards).filter(|n| args.shards.is_empty() || args.shards.contains(n));
        for shard in wanted.map(Shard) {
            kept.shards.entry(shard).or_insert_with(|| {
                let place = shard::Place {
                    collection: record.name.clone(),
                    known_as: record.known_as().clone(),
                    shard,
                    args: args.clone(),
                    scan: scan.clone(),
                };
                tasks.spawn(shard::run(
                    bus.clone(),
                    place,
                    fields.subscribe(),
                    (service.clone(), operations.awaiting()),
                    kept.stop.clone(),
                ))
            });
        }
    }
}

/// The shards of one set of logs that run here, and their end.
struct Kept {
    stop: CancellationToken,
    shards: HashMap<Shard, AbortHandle>,
}

impl Kept {
    fn until(shutdown: &CancellationToken) -> Self {
        Self { stop: shutdown.child_token(), shards: HashMap::new() }
    }
}

/// Stops the shards of logs that were dropped, and removes what there is of them.
async fn forget(folder: &Path, kept: Option<Kept>) {
    if let Some(Kept { stop, shards }) = kept {
        stop.cancel();
        while !shards.values().all(AbortHandle::is_finished) {
            sleep(Duration::from_millis(20)).await;
        }
    }
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::error!(folder = %folder.display(), %error, "what was dropped cannot be removed");
        }
        _ => {}
    }
}
