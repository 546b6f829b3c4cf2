//! What a feed has taken from one place, so that a feed that starts again takes what is new.

use std::collections::HashSet;

use async_nats::jetstream::kv;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use weimocir_domain::{Collection, ImageId};
use weimocir_wire::{Encoding, decode, encode, feed::FeedMark};

use crate::{Bus, BusError};

/// Marks read at the same time.
// because: a round trip takes a fraction of a millisecond, and there may be a million
const AT_ONCE: usize = 64;

/// The marks of one place for one collection.
#[derive(Debug, Clone)]
pub struct Marks {
    bucket: kv::Store,
    /// What the names of its entries begin with.
    prefix: String,
}

impl Marks {
    /// Makes the bucket of all feeds if it is missing.
    ///
    /// # Errors
    /// The server refuses the bucket.
    pub async fn open(bus: &Bus, collection: &Collection, place: &str) -> Result<Self, BusError> {
        let prefix = format!("{collection}.{}.", name(place));
        Ok(Self { bucket: bus.feeds_bucket().await?, prefix })
    }

    /// Every mark, in no particular order.
    ///
    /// # Errors
    /// The server does not answer, or holds something else.
    pub fn all(&self) -> BoxFuture<'_, Result<Vec<FeedMark>, BusError>> {
        self.read_all_but(HashSet::new()).boxed()
    }

    /// As `all`, without the marks of these keys, which are not even read.
    ///
    /// # Errors
    /// As `all`.
    pub fn others<'a>(
        &self,
        keys: impl Iterator<Item = &'a String>,
    ) -> BoxFuture<'_, Result<Vec<FeedMark>, BusError>> {
        self.read_all_but(keys.map(|key| self.entry(key)).collect()).boxed()
    }

    async fn read_all_but(&self, passed: HashSet<String>) -> Result<Vec<FeedMark>, BusError> {
        // because: the bucket's own list of keys takes a consumer, which not everybody may make
        let subjects = format!("{}{}>", self.bucket.prefix, self.prefix);
        let subjects = self.bucket.stream.info_with_subjects(subjects).await;
        let subjects: Vec<(String, usize)> =
            subjects.map_err(unread)?.try_collect().await.map_err(unread)?;
        let names = subjects
            .into_iter()
            .filter_map(|(subject, _)| Some(subject.strip_prefix(&self.bucket.prefix)?.to_owned()))
            .filter(|name| !passed.contains(name));
        stream::iter(names.collect::<Vec<_>>())
            .map(|name| async move { self.read(&name).await })
            .buffer_unordered(AT_ONCE)
            .try_filter_map(|mark| async { Ok(mark) })
            .try_collect()
            .await
    }

    /// Nothing where a mark was removed, and where a copy of the bucket has not heard of it yet:
    /// what is taken once more is there already.
    async fn read(&self, name: &str) -> Result<Option<FeedMark>, BusError> {
        let entry = self.bucket.entry(name).await.map_err(unread)?;
        let held = entry.filter(|entry| entry.operation == kv::Operation::Put);
        held.map(|entry| decode(&entry.value, Encoding::Json)).transpose().map_err(unread)
    }

    /// # Errors
    /// The server does not store it.
    pub async fn put(&self, mark: &FeedMark) -> Result<(), BusError> {
        let failed = |e: String| BusError::failed(format!("remember {}", mark.key), e);
        let value = encode(mark, Encoding::Json).map_err(|e| failed(e.to_string()))?;
        let stored = self.bucket.put(self.entry(&mark.key), value.into()).await;
        stored.map(|_| ()).map_err(|e| failed(e.to_string()))
    }

    /// # Errors
    /// The server does not store it.
    pub async fn remove(&self, key: &str) -> Result<(), BusError> {
        let removed = self.bucket.delete(self.entry(key)).await;
        removed.map_err(|e| BusError::failed(format!("forget {key}"), e))
    }

    fn entry(&self, key: &str) -> String {
        format!("{}{}", self.prefix, name(key))
    }
}

fn unread(error: impl std::fmt::Display) -> BusError {
    BusError::failed("read what the feed has taken", error)
}

/// What stands for a text of any characters and length, as an image's id does for its file.
fn name(text: &str) -> String {
    ImageId::of(text.as_bytes()).to_string()
}
