//! One shard's vectors log: appended to by the encoders, followed by a store replica.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
    stream::Stream,
};
use futures::StreamExt;
use weimocir_domain::{Collection, ImageId, Shard};
use weimocir_wire::{names, subjects};

use crate::{Bus, BusError};

/// Which log this is: a log made anew, under the same name, is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentity {
    pub created: String,
    pub last_sequence: u64,
}

#[derive(Debug)]
pub struct LogEntry {
    pub sequence: u64,
    pub subject: String,
    pub payload: Vec<u8>,
    message: jetstream::Message,
}

/// A replica's place in a shard's log.
#[derive(Debug)]
pub struct ShardLog {
    name: String,
    stream: Stream,
    consumer: Option<PullConsumer>,
    durable: String,
}

impl ShardLog {
    /// # Errors
    /// The log does not exist: the collection was not made.
    pub async fn open(
        bus: &Bus,
        collection: &Collection,
        shard: Shard,
        replica: &str,
    ) -> Result<Self, BusError> {
        let name = names::vectors_stream(collection, shard);
        let stream = bus
            .jetstream
            .get_stream(&name)
            .await
            .map_err(|e| BusError::failed(format!("open the log {name}"), e))?;
        Ok(Self { name, stream, consumer: None, durable: names::store_durable(replica) })
    }

    pub fn identity(&self) -> LogIdentity {
        let info = self.stream.cached_info();
        LogIdentity { created: info.created.to_string(), last_sequence: info.state.last_sequence }
    }

    /// Starts to follow after `applied`, the last sequence that the replica holds for certain. A
    /// durable that stands elsewhere (the replica's disk was lost, or restored) is made anew.
    pub async fn follow_after(&mut self, applied: u64) -> Result<(), BusError> {
        let failed = |e: String| BusError::failed(format!("follow the log {}", self.name), e);
        if let Ok(info) = self.stream.consumer_info(&self.durable).await
            && info.ack_floor.stream_sequence > applied
        {
            tracing::warn!(
                log = self.name,
                applied,
                acked = info.ack_floor.stream_sequence,
                "the replica holds less than it once acknowledged; reading the log again"
            );
            self.stream.delete_consumer(&self.durable).await.map_err(|e| failed(e.to_string()))?;
        }
        let config = pull::Config {
            durable_name: Some(self.durable.clone()),
            // because: one reader applies in order, so the last word acknowledges all before it
            ack_policy: AckPolicy::All,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: applied + 1 },
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 20_000,
            ..Default::default()
        };
        let consumer = match self.stream.get_consumer(&self.durable).await {
            Ok(consumer) => consumer,
            Err(_) => {
                self.stream.create_consumer(config).await.map_err(|e| failed(e.to_string()))?
            }
        };
        self.consumer = Some(consumer);
        Ok(())
    }

    /// The entries that wait, at most `limit`; waits a moment for the first, and returns as soon as
    /// there is no more to take.
    pub async fn next_entries(&self, limit: usize) -> Result<Vec<LogEntry>, BusError> {
        let failed = |e: String| BusError::failed(format!("read the log {}", self.name), e);
        let Some(consumer) = &self.consumer else {
            return Err(failed("it is not followed yet".into()));
        };
        let mut entries = Vec::new();
        let first = consumer.batch().max_messages(1).expires(Duration::from_millis(500));
        collect(first.messages().await.map_err(|e| failed(e.to_string()))?, &mut entries)
            .await
            .map_err(failed)?;
        if entries.is_empty() {
            return Ok(entries);
        }
        let rest = consumer.fetch().max_messages(limit.saturating_sub(1).max(1));
        collect(rest.messages().await.map_err(|e| failed(e.to_string()))?, &mut entries)
            .await
            .map_err(failed)?;
        Ok(entries)
    }
}

async fn collect(mut batch: pull::Batch, entries: &mut Vec<LogEntry>) -> Result<(), String> {
    while let Some(message) = batch.next().await {
        let message = message.map_err(|e| e.to_string())?;
        let sequence = message.info().map_err(|e| e.to_string())?.stream_sequence;
        let (subject, payload) = (message.subject.to_string(), message.payload.to_vec());
        entries.push(LogEntry { sequence, subject, payload, message });
    }
    Ok(())
}

impl LogEntry {
    /// Acknowledges this entry and all before it.
    pub async fn applied(&self) {
        if let Err(error) = self.message.ack().await {
            tracing::debug!(%error, "an acknowledgement was lost; the entry comes again and is skipped");
        }
    }
}

impl Bus {
    /// Removes what the log keeps of an image but its tombstone.
    pub async fn purge_image(
        &self,
        collection: &Collection,
        shard: Shard,
        image: ImageId,
    ) -> Result<(), BusError> {
        let failed = |e: String| BusError::failed(format!("purge image {image} from the log"), e);
        let name = names::vectors_stream(collection, shard);
        let stream =
            self.jetstream.get_stream_no_info(&name).await.map_err(|e| failed(e.to_string()))?;
        for part in [subjects::Part::Image, subjects::Part::Captions] {
            stream
                .purge()
                .filter(subjects::vectors(collection, shard, image, part))
                .await
                .map_err(|e| failed(e.to_string()))?;
        }
        Ok(())
    }
}
