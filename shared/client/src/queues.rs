//! Work that waits, step by step.

use serde::Serialize;
use weimocir_runtime::{Backlog, Bus, BusError};
use weimocir_wire::names;

/// Deliveries of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queue {
    pub name: &'static str,
    #[serde(flatten)]
    pub backlog: Backlog,
}

const QUEUES: [(&str, &str, &str); 4] = [
    ("caption", names::WORK_STREAM, names::CAPTION_DURABLE),
    ("delete", names::WORK_STREAM, names::DELETE_DURABLE),
    ("encode captions", names::CAPTIONS_STREAM, names::ENCODE_DURABLE),
    ("encode image", names::WORK_STREAM, names::ENCODE_DURABLE),
];

/// Every queue of the pipeline, by name.
///
/// # Errors
/// The server does not answer, or nothing was ever provisioned.
pub async fn queues(bus: &Bus) -> Result<Vec<Queue>, BusError> {
    let mut queues = Vec::with_capacity(QUEUES.len());
    for (name, stream, durable) in QUEUES {
        queues.push(Queue { name, backlog: bus.backlog(stream, durable).await? });
    }
    // because: nobody knows which models there are
    let waiting = bus.messages(names::LANES_STREAM).await?;
    queues.push(Queue { name: "encode lanes", backlog: Backlog { waiting, in_work: 0 } });
    Ok(queues)
}
