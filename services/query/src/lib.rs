//! The query worker: answers `weimocir.search`. It composes reference and modifier into a query,
//! has them encoded ahead of the ingest work, asks every shard, and merges what they stream back.
//!
//! `search` is the sequence of steps; `reference` finds the reference's embedding and captions;
//! `feedback` those of images that are liked or not;
//! `scatter` asks the shards; `rerank` looks at the best once more. It computes no embedding and holds no vector itself.

mod feedback;
mod reference;
mod rerank;
mod scatter;
mod search;

use std::collections::HashMap;

use futures::{FutureExt, future::BoxFuture};
use weimocir_runtime::{
    Asked, Bus, CancellationToken, Collections, NatsArgs, Operations, OperationsArgs, Patience,
    Service, TelemetryArgs,
};
use weimocir_wire::{metrics as metric_names, names::QUERY_SERVICE, subjects};

use crate::search::Searcher;

/// Answers searches: composes the query, asks every shard, merges.
#[derive(Debug, clap::Parser)]
#[command(name = "weimocir-query", version)]
pub struct Command {
    #[command(flatten)]
    pub nats: NatsArgs,
    #[command(flatten)]
    pub query: QueryArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[command(flatten)]
    pub operations: OperationsArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct QueryArgs {
    /// Searches handled at the same time; more are told at once that this worker is busy
    #[arg(long, env = "WEIMOCIR_SEARCHES", default_value_t = 64, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub searches: u16,
}

/// Runs until `shutdown`, then finishes the searches begun.
///
/// # Errors
/// No NATS, or a server that refuses the subscriptions.
pub fn run(
    nats: NatsArgs,
    args: QueryArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    work_until(nats, args, operations, shutdown).boxed()
}

async fn work_until(
    nats: NatsArgs,
    args: QueryArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let bus = Bus::connect(&nats, QUERY_SERVICE, Patience::Worker).await?;
    bus.provision().await?;
    let service = Service::start(&bus, QUERY_SERVICE, HashMap::new()).await?;
    let searcher = Searcher::new(bus.clone(), Collections::open(&bus).await?);
    let asked = Asked {
        subject: subjects::SEARCH.into(),
        group: "query".into(),
        question: "search",
        limit: usize::from(args.searches),
    };
    let handler = move |request| {
        let searcher = searcher.clone();
        async move { searcher.search(request).await.map(|answer| [answer]) }
    };
    service.answer(asked, handler, &shutdown).await?;
    // because: a metric that has not been there yet cannot be alarmed by
    metrics::counter!(metric_names::PARTIAL_SEARCHES).absolute(0);
    operations.ready(&bus);
    tracing::info!("query ready");
    shutdown.cancelled().await;
    service.finish().await;
    bus.close().await;
    Ok(())
}
