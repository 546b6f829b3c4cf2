//! How the pipeline does.

use std::collections::BTreeMap;

use axum::{extract::State, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;
use weimocir_client::queues;
use weimocir_wire::names::SERVICES;

use crate::{
    app::App,
    collections::{self, CollectionView},
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    collections: Vec<CollectionView>,
    queues: Vec<QueueView>,
    workers: Vec<WorkerCount>,
    /// Deliveries that were given up, and wait for a person.
    dead_letters: u64,
}

/// Work of one step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueView {
    name: &'static str,
    waiting: u64,
    in_work: u64,
}

/// How many workers of a kind are alive.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerCount {
    name: &'static str,
    count: usize,
    /// What they say of themselves, such as their model.
    facts: BTreeMap<String, String>,
}

/// Show what there is, what waits, and who is alive
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "collections",
    responses(
        (status = 200, description = "The state of the pipeline", body = Status),
    ),
    security((), ("key" = []))
)]
pub(crate) async fn status(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let queues = queues(&app.bus).await?.into_iter().map(|queue| QueueView {
        name: queue.name,
        waiting: queue.backlog.waiting,
        in_work: queue.backlog.in_work,
    });
    let alive = app.bus.workers().await?;
    let workers = SERVICES.into_iter().map(|name| {
        let of_kind = || alive.iter().filter(|worker| worker.name == name);
        let facts = of_kind().next().map(|worker| worker.facts.clone()).unwrap_or_default();
        WorkerCount { name, count: of_kind().count(), facts }
    });
    Ok(axum::Json(Status {
        queues: queues.collect(),
        workers: workers.collect(),
        collections: collections::all(&app).await?,
        dead_letters: app.letters.count().await?,
    }))
}
