//! What an orchestrator asks of a process over HTTP: is it alive, is it ready, how is it doing.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_nats::connection::State;
use axum::{Router, extract, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::Bus;

#[derive(Debug, Clone, Default, clap::Args)]
pub struct OperationsArgs {
    /// Answer /live, /ready and /metrics (Prometheus) here, such as 0.0.0.0:9090; nowhere if not given
    #[arg(long, env = "WEIMOCIR_OPERATIONS", value_name = "ADDRESS", global = true)]
    pub operations: Option<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    #[error("cannot listen on {address} (--operations): {cause}")]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error("cannot collect metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// The state of this process, told by its workers.
#[derive(Debug, Clone, Default)]
pub struct Operations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Connections of the workers that are ready.
    buses: Mutex<Vec<Bus>>,
    /// What must still come about.
    awaited: AtomicUsize,
    stopping: AtomicBool,
}

/// Something without which the process is not ready; until it is dropped.
#[derive(Debug)]
pub struct Awaited(Arc<Shared>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Ordering::Release);
    }
}

impl Operations {
    /// Answers from now on, until the process ends. Without an address nothing is answered, and the
    /// metrics are not collected.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(args: &OperationsArgs) -> Result<Self, OperationsError> {
        let operations = Self::default();
        let Some(address) = args.operations else { return Ok(operations) };
        collect_metrics()?;
        let listen = |cause| OperationsError::Listen { address, cause };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
        let router = operations.router();
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "probes and metrics are answered no more");
            }
        });
        Ok(operations)
    }

    /// `/live`, `/ready` and `/metrics`.
    pub fn router(&self) -> Router {
        let ready = |operations: extract::State<Self>| async move {
            match operations.why_not_ready() {
                None => (StatusCode::OK, "ready\n"),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            }
        };
        Router::new()
            .route("/live", get(|| async { "alive\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(|| async { rendered_metrics() }))
            .with_state(self.clone())
    }

    /// Until it is dropped, the process is not ready.
    #[must_use]
    pub fn awaiting(&self) -> Awaited {
        self.0.awaited.fetch_add(1, Ordering::AcqRel);
        Awaited(self.0.clone())
    }

    /// A worker does its work from now on, as long as its connection holds.
    pub fn ready(&self, bus: &Bus) {
        self.0.buses.lock().unwrap_or_else(PoisonError::into_inner).push(bus.clone());
    }

    /// The process takes no more work.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    fn why_not_ready(&self) -> Option<&'static str> {
        let Shared { buses, awaited, stopping } = &*self.0;
        let buses = buses.lock().unwrap_or_else(PoisonError::into_inner);
        if stopping.load(Ordering::Acquire) {
            Some("stopping\n")
        } else if buses.is_empty() || awaited.load(Ordering::Acquire) > 0 {
            Some("starting\n")
        } else if buses.iter().any(|bus| bus.client.connection_state() != State::Connected) {
            Some("nats is away\n")
        } else {
            None
        }
    }
}

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Bounds of histograms of seconds.
// because: a lookup takes 0.2 ms, a caption on a CPU seconds
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Collects what is measured in this process, from now on. A second call changes nothing.
///
/// # Errors
/// Another collector is installed already.
pub fn collect_metrics() -> Result<(), BuildError> {
    if METRICS.get().is_none() {
        let handle = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
        METRICS.get_or_init(|| handle);
    }
    Ok(())
}

fn rendered_metrics() -> ([(&'static str, &'static str); 1], String) {
    let text = METRICS.get().map_or_else(String::new, |handle| {
        handle.run_upkeep();
        handle.render()
    });
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text)
}
