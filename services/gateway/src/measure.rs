//! What the metrics count: requests of each route, and what waits in the pipeline.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;
use weimocir_client::queues;
use weimocir_runtime::{BusError, CancellationToken, TRACE_TARGET};
use weimocir_wire::metrics as names;

use crate::app::{App, Gateway};

pub(crate) async fn count(request: Request, next: Next) -> Response {
    let began = Instant::now();
    // because: a label for every path that anybody tries would fill the memory
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "none".to_owned());
    let method = match request.method().as_str() {
        method @ ("GET" | "HEAD" | "POST" | "PATCH" | "DELETE" | "OPTIONS") => method.to_owned(),
        _ => "other".to_owned(),
    };
    let span = tracing::info_span!(target: TRACE_TARGET, "http", method, route);
    let response = next.run(request).instrument(span).await;
    let labels = [("method", method), ("route", route)];
    metrics::histogram!(names::HTTP_REQUEST_SECONDS, &labels).record(began.elapsed());
    let [method, route] = labels;
    let labels = [method, route, ("status", response.status().as_str().to_owned())];
    metrics::counter!(names::HTTP_REQUESTS, &labels).increment(1);
    response
}

/// How often the pipeline is asked what waits.
// because: Prometheus scrapes every 15 s or so, and a scrape must not wait for NATS
const PAUSE: Duration = Duration::from_secs(5);

pub(crate) async fn pipeline(app: App, shutdown: CancellationToken) {
    loop {
        if let Err(error) = look(&app).await {
            tracing::debug!(%error, "what waits is not known");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn look(app: &Gateway) -> Result<(), BusError> {
    for queue in queues(&app.bus).await? {
        let waiting = metrics::gauge!(names::QUEUE_WAITING, "queue" => queue.name);
        waiting.set(queue.backlog.waiting as f64);
        let in_work = metrics::gauge!(names::QUEUE_IN_WORK, "queue" => queue.name);
        in_work.set(queue.backlog.in_work as f64);
    }
    metrics::gauge!(names::DEAD_LETTERS).set(app.letters.count().await? as f64);
    Ok(())
}
