//! The queue of pictures to encode, seen and held by its server's own interface.

use anyhow::{Context, ensure};
use async_nats::Client;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use weimocir_domain::{Collection, ImageId, Shard};
use weimocir_runtime::{Bus, Pictures};
use weimocir_wire::{
    names::{ENCODE_DURABLE, WORK_STREAM, vectors_stream},
    subjects,
    work::{EncodeImage, Metadata},
};

use crate::{Pipeline, tiny};

/// Pictures stored or submitted at once.
const JOBS: usize = 64;

#[derive(Debug)]
pub struct EncodeWork {
    client: Client,
    bus: Bus,
}

/// What the server has counted, since the queue was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Deliveries, repeated ones included.
    pub deliveries: u64,
    /// Messages that wait or are being worked on.
    pub left: u64,
}

impl EncodeWork {
    /// # Errors
    /// No server, or one without the queue.
    pub async fn open(pipeline: &Pipeline) -> anyhow::Result<Self> {
        let client = async_nats::connect(pipeline.url()).await?;
        Ok(Self { client, bus: pipeline.bus().await? })
    }

    /// Nothing is delivered until `release`.
    pub async fn hold(&self) -> anyhow::Result<()> {
        self.pause(&json!({ "pause_until": "2999-01-01T00:00:00Z" })).await
    }

    pub async fn release(&self) -> anyhow::Result<()> {
        self.pause(&json!({})).await
    }

    async fn pause(&self, until: &Value) -> anyhow::Result<()> {
        self.of_queue("PAUSE", until).await.map(|_| ())
    }

    pub async fn counted(&self) -> anyhow::Result<Counted> {
        let info = self.of_queue("INFO", &json!({})).await?;
        let number = |path: &str| {
            info.pointer(path).and_then(Value::as_u64).with_context(|| format!("no {path}: {info}"))
        };
        let deliveries = number("/delivered/consumer_seq")?;
        Ok(Counted { deliveries, left: number("/num_pending")? + number("/num_ack_pending")? })
    }

    async fn of_queue(&self, what: &str, question: &Value) -> anyhow::Result<Value> {
        self.ask(format!("CONSUMER.{what}.{WORK_STREAM}.{ENCODE_DURABLE}"), question).await
    }

    async fn ask(&self, what: String, question: &Value) -> anyhow::Result<Value> {
        let subject = format!("$JS.API.{what}");
        let answer = self.client.request(subject, question.to_string().into()).await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        ensure!(answer["error"].is_null(), "{what}: {answer}");
        Ok(answer)
    }

    /// What a collection's first shard takes in the log, in bytes.
    pub async fn log_bytes(&self, collection: &Collection) -> anyhow::Result<u64> {
        let stream = vectors_stream(collection, Shard(0));
        let info = self.ask(format!("STREAM.INFO.{stream}"), &json!({})).await?;
        info.pointer("/state/bytes").and_then(Value::as_u64).context("no size")
    }

    /// Stores tiny pictures, and gives their ids.
    pub async fn store(&self, count: u32) -> anyhow::Result<Vec<ImageId>> {
        let pictures = Pictures::open(&self.bus).await?;
        let put = |n: u32| {
            let pictures = pictures.clone();
            async move { anyhow::Ok(pictures.put(&tiny(n)).await?) }
        };
        futures::stream::iter((0..count).map(put)).buffered(JOBS).try_collect().await
    }

    /// Submits pictures that are stored.
    pub async fn submit(&self, collection: &Collection, images: &[ImageId]) -> anyhow::Result<()> {
        let one = |image: ImageId| {
            let (collection, source) = (collection.clone(), "bench".to_owned());
            let work = EncodeImage { collection, image, source, metadata: Metadata::new() };
            async move {
                self.bus.submit(subjects::ENCODE_IMAGE, &work).await?;
                anyhow::Ok(())
            }
        };
        let submitted = futures::stream::iter(images.iter().copied().map(one));
        submitted.buffer_unordered(JOBS).try_collect().await
    }
}
