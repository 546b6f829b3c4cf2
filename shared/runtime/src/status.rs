//! What the pipeline looks like from outside: workers alive, and work that waits.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream::{consumer, context::ConsumerInfoErrorKind};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use weimocir_wire::names;

use crate::{Bus, BusError};

/// A worker that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    pub name: String,
    pub id: String,
    pub version: String,
    /// What the worker says of itself, such as its model.
    #[serde(default, rename = "metadata")]
    pub facts: BTreeMap<String, String>,
}

/// Deliveries of one step that wait, and that are being worked on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Backlog {
    pub waiting: u64,
    pub in_work: u64,
}

/// How far the workers of a durable are, by the numbers of the stream's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The last message that they were given.
    pub handed_out: u64,
    /// The message up to which everything is settled; the greatest number, if nothing is left.
    pub settled: u64,
    /// What was given to them and is not settled.
    pub in_work: u64,
    /// What waits or is in work.
    pub left: u64,
}

impl Reached {
    /// A number that rises with every message that is handed out or settled, and with nothing else.
    // because: one that is never settled holds `settled` back, whatever becomes of those after it
    pub fn moved(&self) -> u64 {
        (2 * self.handed_out).saturating_sub(self.in_work)
    }
}

impl Bus {
    /// Everyone of the pipeline who answers within a moment.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, BusError> {
        let failed = |e: String| BusError::failed("ask who is alive", e);
        let inbox = self.client.new_inbox();
        let mut replies =
            self.client.subscribe(inbox.clone()).await.map_err(|e| failed(e.to_string()))?;
        self.client
            .publish_with_reply("$SRV.INFO", inbox, "".into())
            .await
            .map_err(|e| failed(e.to_string()))?;
        let mut workers = Vec::new();
        // because: nobody knows how many there are; workers answer in about a millisecond, and
        // 300 ms without a further one is silence
        while let Ok(Some(message)) = timeout(Duration::from_millis(300), replies.next()).await {
            if let Ok(worker) = serde_json::from_slice::<WorkerInfo>(&message.payload)
                && (worker.name == names::GATEWAY_SERVICE
                    || names::SERVICES.contains(&worker.name.as_str()))
            {
                workers.push(worker);
            }
        }
        workers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(workers)
    }

    /// What waits at a durable of a stream; nothing, if no worker ever attached to it.
    pub async fn backlog(&self, stream: &str, durable: &str) -> Result<Backlog, BusError> {
        let failed = |e: String| BusError::failed("read the backlog", e);
        let stream =
            self.jetstream.get_stream_no_info(stream).await.map_err(|e| failed(e.to_string()))?;
        match stream.consumer_info(durable).await {
            Ok(info) => {
                Ok(Backlog { waiting: info.num_pending, in_work: info.num_ack_pending as u64 })
            }
            Err(error) => {
                tracing::debug!(%error, durable, "no such consumer yet");
                Ok(Backlog::default())
            }
        }
    }

    /// What waits in a stream or is in work, whatever its durables.
    pub async fn messages(&self, stream: &str) -> Result<u64, BusError> {
        let failed = |e: String| BusError::failed("read the backlog", e);
        let stream = self.jetstream.get_stream(stream).await.map_err(|e| failed(e.to_string()))?;
        Ok(stream.cached_info().state.messages)
    }

    /// How far the workers of a durable are. Without such a durable nothing is left.
    pub async fn reached(&self, stream: &str, durable: &str) -> Result<Reached, BusError> {
        let Some(info) = self.consumer(stream, durable).await? else {
            return Ok(Reached { handed_out: 0, settled: u64::MAX, in_work: 0, left: 0 });
        };
        let handed_out = info.delivered.stream_sequence;
        let in_work = info.num_ack_pending as u64;
        let left = info.num_pending + in_work;
        let settled = match (left, in_work) {
            (0, _) => u64::MAX,
            (_, 0) => handed_out,
            _ => info.ack_floor.stream_sequence,
        };
        Ok(Reached { handed_out, settled, in_work, left })
    }

    /// The last message that a stream has taken.
    pub async fn last_sequence(&self, stream: &str) -> Result<u64, BusError> {
        let failed = |e: String| BusError::failed(format!("look at the stream {stream}"), e);
        let info = self.jetstream.get_stream(stream).await.map_err(|e| failed(e.to_string()))?;
        Ok(info.cached_info().state.last_sequence)
    }

    async fn consumer(
        &self,
        stream: &str,
        durable: &str,
    ) -> Result<Option<consumer::Info>, BusError> {
        let failed = |e: String| BusError::failed(format!("look at the queue {durable}"), e);
        let stream =
            self.jetstream.get_stream_no_info(stream).await.map_err(|e| failed(e.to_string()))?;
        match stream.consumer_info(durable).await {
            Ok(info) => Ok(Some(info)),
            Err(e) if e.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(e.to_string())),
        }
    }
}
