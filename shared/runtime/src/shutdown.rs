//! A worker's life: start, run until told to stop, finish within a bound, exit.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{Operations, OperationsArgs, OperationsError, trace};

/// How long a worker may take to finish after it was told to stop.
// because: below the 30 seconds that Kubernetes grants by default
const DRAIN: Duration = Duration::from_secs(25);

/// A token that is cancelled by SIGTERM or SIGINT. A second one ends the process at once.
///
/// # Errors
/// The process may not install signal handlers.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for times in 1.. {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            if times > 1 {
                tracing::warn!("told to stop twice; leaving at once");
                std::process::exit(130);
            }
            tracing::info!("stopping");
            stop.cancel();
        }
    });
    Ok(token)
}

/// Runs `worker` with a token of [`on_signal`], answering probes beside it; one that does not finish in time is left.
///
/// # Errors
/// Whatever the worker fails with.
pub async fn run<F, E>(
    operations: &OperationsArgs,
    worker: impl FnOnce(Operations, CancellationToken) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
    E: From<std::io::Error> + From<OperationsError>,
{
    let shutdown = on_signal()?;
    let operations = Operations::start(operations).await?;
    let running = worker(operations.clone(), shutdown.clone());
    tokio::pin!(running);
    tokio::select! {
        outcome = &mut running => return outcome,
        () = shutdown.cancelled() => operations.stopping(),
    }
    let outcome = tokio::time::timeout(DRAIN, running).await.unwrap_or_else(|_| {
        tracing::warn!("not finished in time; leaving");
        Ok(())
    });
    // because: the exporter's own thread blocks while it sends
    if let Err(error) = tokio::task::spawn_blocking(trace::finish).await {
        tracing::warn!(%error, "the last spans are lost");
    }
    outcome
}
