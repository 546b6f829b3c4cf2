//! The gateway: the pipeline over HTTP, pictures over NATS, and the page that people search with. It
//! holds no picture and no vector: every answer is the workers', asked over NATS.
//!
//! `app` wires the routes; `search`, `images`, `collections`, `status` and `events` answer them, `page`
//! serves what a browser loads. `access` says who may ask and how often, `problem` how a refusal
//! looks, `extract` how requests are read, `measure` what the metrics count.

mod access;
mod app;
mod collections;
mod events;
mod extract;
mod images;
mod measure;
mod page;
mod problem;
mod search;
mod status;

use std::{collections::HashMap, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use axum::http::HeaderValue;
use futures::{FutureExt, future::BoxFuture};
use tokio::net::TcpListener;
use weimocir_fetch::FetchArgs;
use weimocir_runtime::{
    Asked, Bus, BusError, CancellationToken, NatsArgs, Operations, OperationsArgs, Patience,
    Service, TelemetryArgs, collect_metrics,
};
use weimocir_wire::{names::GATEWAY_SERVICE, subjects};

use crate::{
    access::Keys,
    app::{App, Gateway},
};

/// Answers the HTTP interface, takes pictures over NATS, and serves the search page.
#[derive(Debug, clap::Parser)]
#[command(name = "weimocir-gateway", version)]
pub struct Command {
    #[command(flatten)]
    pub nats: NatsArgs,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[command(flatten)]
    pub operations: OperationsArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct GatewayArgs {
    /// Where to answer HTTP
    #[arg(long, env = "WEIMOCIR_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// File with API keys, one a line (`#` begins a comment); whoever asks must send one. Everybody
    /// may ask if not given
    #[arg(long, env = "WEIMOCIR_API_KEYS", value_name = "FILE")]
    pub api_keys: Option<PathBuf>,
    /// Requests a second that one key, or without keys one address, may send; twice as many at once
    #[arg(long, env = "WEIMOCIR_RATE_LIMIT", value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit: Option<u32>,
    /// Take the last address of X-Forwarded-For for the one that asks: behind a proxy that writes it
    #[arg(long, env = "WEIMOCIR_TRUST_FORWARDED")]
    pub trust_forwarded: bool,
    /// Web pages of this origin may ask, such as https://shop.example; `*` for all. As often as needed
    #[arg(long, env = "WEIMOCIR_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<HeaderValue>,
    /// Pictures larger than this are refused, in bytes
    #[arg(long, env = "WEIMOCIR_HTTP_MAX_BYTES", default_value_t = 32 << 20, value_name = "BYTES")]
    pub http_max_bytes: u64,
    /// Searches asked of the pipeline at the same time; more wait for as long as they may take
    // because: fewer than the 64 that one query worker answers at once, so that others find it free
    #[arg(long, env = "WEIMOCIR_HTTP_SEARCHES", default_value_t = 48, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub http_searches: u16,
    /// Requests that bring pictures, over HTTP and NATS, handled at the same time; more are told to come again
    #[arg(long, env = "WEIMOCIR_HTTP_UPLOADS", default_value_t = 32, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub http_uploads: u16,
    /// Shards of a collection that a picture makes by being the first
    #[arg(long, env = "WEIMOCIR_HTTP_SHARDS", default_value_t = 1, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub http_shards: u16,
    #[command(flatten)]
    pub fetch: FetchArgs,
}

/// Runs until `shutdown`, then answers the requests begun.
///
/// # Errors
/// No NATS, an address that cannot be listened on, or unreadable API keys.
pub fn run(
    nats: NatsArgs,
    args: GatewayArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    work_until(nats, args, operations, shutdown).boxed()
}

async fn work_until(
    nats: NatsArgs,
    args: GatewayArgs,
    operations: Operations,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    collect_metrics()?;
    let keys = args.api_keys.as_deref().map(Keys::read).transpose()?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (--listen)", args.listen))?;
    let address = listener.local_addr()?;
    let bus = Bus::connect(&nats, GATEWAY_SERVICE, Patience::Worker).await?;
    bus.provision().await?;
    let gateway = Gateway::open(bus.clone(), args, keys, shutdown.clone()).await?;
    let service = Service::start(&bus, GATEWAY_SERVICE, HashMap::new()).await?;
    answer_submissions(&service, &gateway, &shutdown).await?;
    let measuring = tokio::spawn(measure::pipeline(gateway.clone(), shutdown.clone()));
    operations.ready(&bus);
    let router = app::router(gateway, &operations);
    tracing::info!(url = %format!("http://{address}"), "gateway ready");
    let connections = router.into_make_service_with_connect_info::<SocketAddr>();
    let stop = shutdown.clone().cancelled_owned();
    let served = axum::serve(listener, connections).with_graceful_shutdown(stop).await;
    shutdown.cancel();
    service.finish().await;
    measuring.await.context("the measuring task died")?;
    bus.close().await;
    served.context("the HTTP server failed")
}

/// All gateways share what comes on `weimocir.submit`.
async fn answer_submissions(
    service: &Service,
    gateway: &App,
    shutdown: &CancellationToken,
) -> Result<(), BusError> {
    let asked = Asked {
        subject: subjects::SUBMIT.into(),
        group: "gateway".into(),
        question: "submit",
        limit: usize::from(gateway.args.http_uploads),
    };
    let gateway = gateway.clone();
    let handler = move |request| images::submit_over_nats(gateway.clone(), request);
    service.answer(asked, handler, shutdown).await
}
