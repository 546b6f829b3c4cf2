//! `weimocir up`: every worker in one process, and a NATS server if none answers.

use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use weimocir_caption::CaptionArgs;
use weimocir_encode::EncodeArgs;
use weimocir_gateway::GatewayArgs;
use weimocir_query::QueryArgs;
use weimocir_runtime::{
    Bus, BusError, CancellationToken, NatsArgs, Operations, OperationsArgs, Patience, on_signal,
};
use weimocir_store::StoreArgs;

use crate::{
    Done, Shared,
    nats_server::{self, NatsServer},
};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UpArgs {
    /// Start a nats-server if none answers: the one named with --nats-server, or the one on PATH
    #[arg(long)]
    pub with_nats: bool,
    /// The nats-server program for --with-nats
    #[arg(long, env = "WEIMOCIR_NATS_SERVER", value_name = "FILE")]
    pub nats_server: Option<PathBuf>,
    /// Folder for the streams of that server
    #[arg(long, default_value = ".weimocir/nats", value_name = "DIR")]
    pub nats_data: PathBuf,
    #[command(flatten)]
    pub caption: CaptionArgs,
    #[command(flatten)]
    pub encode: EncodeArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub query: QueryArgs,
    /// Answer no HTTP, and serve no page
    #[arg(long)]
    pub no_gateway: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub operations: OperationsArgs,
}

pub(crate) async fn run(args: UpArgs, shared: Shared) -> anyhow::Result<Done> {
    let shutdown = on_signal()?;
    let mut nats = shared.nats.clone();
    let server = match args.with_nats {
        true => start_if_absent(&args, &mut nats).await?,
        false => None,
    };
    let operations = Operations::start(&args.operations).await?;
    let outcome = workers(&args, &nats, operations, shutdown).await;
    if let Some(server) = server {
        server.stop().await?;
    }
    outcome.map(|()| Done::Fully)
}

async fn start_if_absent(args: &UpArgs, nats: &mut NatsArgs) -> anyhow::Result<Option<NatsServer>> {
    match Bus::connect(nats, "weimocir", Patience::Glance).await {
        Ok(bus) => {
            bus.close().await;
            tracing::info!(url = nats.shown_url(), "using the nats-server that answers");
            return Ok(None);
        }
        Err(BusError::Unreachable { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let program = nats_server::find(args.nats_server.clone())?;
    let server = NatsServer::start(&program, &args.nats_data, port_of(&nats.url)).await?;
    nats.url = server.url().to_owned();
    tracing::info!(url = nats.url, data = %args.nats_data.display(), "nats-server started");
    Ok(Some(server))
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit(':').next()?.trim_end_matches('/').parse().ok()
}

type Worker = BoxFuture<'static, anyhow::Result<()>>;

/// Runs all of them until `shutdown`, or until one fails: then all stop.
pub(crate) async fn workers(
    args: &UpArgs,
    nats: &NatsArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut workers: Vec<(&str, Worker)> = vec![
        (
            "store",
            weimocir_store::run(
                nats.clone(),
                args.store.clone(),
                operations.clone(),
                shutdown.clone(),
            ),
        ),
        (
            "encode",
            weimocir_encode::run(
                nats.clone(),
                args.encode.clone(),
                operations.clone(),
                shutdown.clone(),
            ),
        ),
        (
            "caption",
            weimocir_caption::run(
                nats.clone(),
                args.caption.clone(),
                operations.clone(),
                shutdown.clone(),
            ),
        ),
        (
            "query",
            weimocir_query::run(
                nats.clone(),
                args.query.clone(),
                operations.clone(),
                shutdown.clone(),
            ),
        ),
    ];
    if !args.no_gateway {
        let (nats, args) = (nats.clone(), args.gateway.clone());
        let gateway = weimocir_gateway::run(nats, args, operations, shutdown.clone());
        workers.push(("gateway", gateway));
    }
    let mut running = JoinSet::new();
    for (name, worker) in workers {
        running.spawn(
            async move { worker.await.with_context(|| format!("the {name} worker failed")) },
        );
    }
    let mut outcome = Ok(());
    while let Some(finished) = running.join_next().await {
        let finished = finished.context("a worker died").and_then(|done| done);
        shutdown.cancel();
        if outcome.is_ok() {
            outcome = finished;
        }
    }
    outcome
}

impl UpArgs {
    /// Everything by default, with data below `folder`.
    pub(crate) fn below(folder: &Path) -> anyhow::Result<Self> {
        #[derive(clap::Parser)]
        struct Parser {
            #[command(flatten)]
            up: UpArgs,
        }
        let mut up = <Parser as clap::Parser>::try_parse_from(["up"])?.up;
        up.store.data = folder.join("store");
        up.nats_data = folder.join("nats");
        up.no_gateway = true;
        Ok(up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_workers_call_an_argument_the_same() {
        let up = UpArgs::below(Path::new("folder")).unwrap();
        assert!(up.no_gateway);
        let command = <UpArgs as clap::Args>::augment_args(clap::Command::new("up"));
        let mut ids: Vec<_> = command.get_arguments().map(|argument| argument.get_id()).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
