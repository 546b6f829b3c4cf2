//! Streams and buckets: made if missing, the same however often it runs.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    context::{DeleteStreamError, DeleteStreamErrorKind},
    kv, object_store,
    stream::{Config, DiscardPolicy, RetentionPolicy},
};
use weimocir_domain::{Collection, Shard};
use weimocir_wire::{names, subjects};

use crate::{Bus, BusError, Pull, worker};

/// Work that waits beyond this is refused to the feed, which slows down.
// because: 100,000 messages of some 300 bytes stay a small matter for the server
const WORK_LIMIT: i64 = 100_000;

impl Bus {
    /// Makes what every worker needs. Any number of workers may do so at once.
    ///
    /// # Errors
    /// The server refuses, for example because its disk or account limits are reached.
    pub async fn provision(&self) -> Result<(), BusError> {
        self.stream(work(names::WORK_STREAM, &subjects::SUBMISSIONS)).await?;
        self.stream(work(names::CAPTIONS_STREAM, &[subjects::ENCODE_CAPTIONS])).await?;
        self.stream(lanes()).await?;
        self.stream(dead()).await?;
        self.images_bucket().await?;
        self.collections_bucket().await?;
        Ok(())
    }

    /// Makes what feeds of buckets need besides, for those who may not do so themselves.
    ///
    /// # Errors
    /// As for [`Bus::provision`].
    pub async fn provision_feeds(&self) -> Result<(), BusError> {
        self.feeds_bucket().await.map(drop)
    }

    /// Makes the queues' consumers, for workers that may not do so themselves. What is there stays.
    ///
    /// # Errors
    /// As for [`Bus::provision`], which comes before.
    pub async fn provision_queues(&self, queues: &[Pull]) -> Result<(), BusError> {
        for pull in queues {
            let action = || format!("provision the queue {} of {}", pull.durable, pull.stream);
            let stream = self.jetstream.get_stream_no_info(pull.stream).await;
            let stream = stream.map_err(|e| BusError::failed(action(), e))?;
            if stream.consumer_info(&pull.durable).await.is_ok() {
                continue;
            }
            let made = stream.create_consumer(worker::queue(pull)).await;
            made.map_err(|e| BusError::failed(action(), e))?;
        }
        Ok(())
    }

    /// Makes the log of one shard.
    pub(crate) async fn provision_log(
        &self,
        collection: &Collection,
        shard: Shard,
    ) -> Result<(), BusError> {
        self.stream(vectors(collection, shard)).await
    }

    /// Deletes the log of one shard, if it is there.
    pub(crate) async fn drop_log(
        &self,
        collection: &Collection,
        shard: Shard,
    ) -> Result<(), BusError> {
        let name = names::vectors_stream(collection, shard);
        match self.jetstream.delete_stream(&name).await {
            Err(e) if !is_missing(&e) => {
                Err(BusError::failed(format!("delete the stream {name}"), e))
            }
            _ => Ok(()),
        }
    }

    /// A stream that exists is left as it is: its replicas and limits are its operator's.
    async fn stream(&self, config: Config) -> Result<(), BusError> {
        let action = format!("provision the stream {}", config.name);
        self.jetstream
            .get_or_create_stream(Config { num_replicas: self.replicas, ..config })
            .await
            .map(|_| ())
            .map_err(|e| BusError::failed(action, e))
    }

    pub(crate) async fn images_bucket(&self) -> Result<object_store::ObjectStore, BusError> {
        let failed = |e: String| BusError::failed("provision the object store of pictures", e);
        match self.jetstream.get_object_store(names::IMAGES_BUCKET).await {
            Ok(bucket) => Ok(bucket),
            Err(_) => self
                .jetstream
                .create_object_store(object_store::Config {
                    bucket: names::IMAGES_BUCKET.into(),
                    description: Some("WeiMoCIR: picture files by image id".into()),
                    num_replicas: self.replicas,
                    ..Default::default()
                })
                .await
                .map_err(|e| failed(e.to_string())),
        }
    }

    pub(crate) async fn collections_bucket(&self) -> Result<kv::Store, BusError> {
        self.key_values(kv::Config {
            bucket: names::COLLECTIONS_BUCKET.into(),
            description: "WeiMoCIR: collections and what they are bound to".into(),
            history: 8,
            ..Default::default()
        })
        .await
    }

    pub(crate) async fn feeds_bucket(&self) -> Result<kv::Store, BusError> {
        self.key_values(kv::Config {
            bucket: names::FEEDS_BUCKET.into(),
            description: "WeiMoCIR: what feeds have taken".into(),
            history: 1,
            ..Default::default()
        })
        .await
    }

    async fn key_values(&self, config: kv::Config) -> Result<kv::Store, BusError> {
        if let Ok(bucket) = self.jetstream.get_key_value(&config.bucket).await {
            return Ok(bucket);
        }
        let action = format!("provision the bucket {}", config.bucket);
        self.jetstream
            .create_key_value(kv::Config { num_replicas: self.replicas, ..config })
            .await
            .map_err(|e| BusError::failed(action, e))
    }
}

fn is_missing(error: &DeleteStreamError) -> bool {
    matches!(error.kind(), DeleteStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn work(name: &str, of: &[&str]) -> Config {
    Config {
        name: name.into(),
        description: Some("WeiMoCIR: work to be done, once each".into()),
        subjects: of.iter().map(|&subject| subject.into()).collect(),
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: WORK_LIMIT,
        ..Default::default()
    }
}

/// What one model's workers leave undone is not to keep the others from theirs.
fn lanes() -> Config {
    Config {
        max_messages_per_subject: WORK_LIMIT / 16,
        discard_new_per_subject: true,
        ..work(names::LANES_STREAM, &subjects::LANES)
    }
}

fn dead() -> Config {
    Config {
        name: names::DEAD_STREAM.into(),
        description: Some("WeiMoCIR: deliveries given up, with reasons".into()),
        subjects: vec![subjects::DEAD.into()],
        max_age: Duration::from_secs(30 * 24 * 3600),
        ..Default::default()
    }
}

fn vectors(collection: &Collection, shard: Shard) -> Config {
    Config {
        name: names::vectors_stream(collection, shard),
        description: Some("WeiMoCIR: the last word on every image's parts".into()),
        subjects: vec![subjects::vectors_of_shard(collection, shard)],
        max_messages_per_subject: 1,
        allow_direct: true,
        ..Default::default()
    }
}
