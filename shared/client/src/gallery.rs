//! Questions to the stores of one collection.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use weimocir_domain::{Collection, ImageId, Revision, Shard};
use weimocir_runtime::{Bus, Collections};
use weimocir_wire::{
    query::{
        ImageState, ListQuery, ListedImage, Listing, Lookup, LookupQuery, Record, RecordQuery,
    },
    search::{Refusal, RefusalCode},
    subjects,
    vectors::CollectionRecord,
};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shards asked at the same time.
// because: answers are small, and a collection may have a thousand shards
const SHARDS: usize = 32;

/// The stores of a collection, seen from outside.
#[derive(Debug, Clone)]
pub struct Gallery {
    pub bus: Bus,
    pub collection: CollectionRecord,
    /// Where it is looked up what serves; none where that is what the record says.
    collections: Option<Arc<Collections>>,
}

/// What a collection holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    pub images: u64,
    pub captioned: u64,
    /// Shards that nobody answers for: their images are not counted.
    pub missing_shards: Vec<u16>,
}

impl Gallery {
    /// The stores of the generation that serves by this record.
    pub fn new(bus: &Bus, collection: CollectionRecord) -> Self {
        Self { bus: bus.clone(), collection, collections: None }
    }

    /// The stores of one generation, whichever serves.
    pub fn of_generation(bus: &Bus, generation: Collection, shards: u16) -> Self {
        Self::new(bus, CollectionRecord::new(generation, shards))
    }

    /// Asks whichever generation serves by then, since a feed may go on for days.
    #[must_use]
    pub fn following(self, collections: &Collections) -> Self {
        Self { collections: Some(Arc::new(collections.clone())), ..self }
    }

    /// The generation that is asked now.
    pub(crate) async fn generation(&self) -> Collection {
        let known = || self.collection.generation().clone();
        let Some(collections) = &self.collections else { return known() };
        match collections.lately(&self.collection.name).boxed().await {
            Ok(record) => record.generation().clone(),
            Err(error) => {
                tracing::debug!(%error, "taking the generation that served when that was last known");
                let seen = collections.seen_last(&self.collection.name);
                seen.map_or_else(known, |record| record.generation().clone())
            }
        }
    }

    fn shard(&self, image: ImageId) -> Shard {
        image.shard(self.collection.shards)
    }

    async fn look_up(&self, shard: Shard, images: Vec<ImageId>) -> Result<Lookup, Refusal> {
        let subject = subjects::lookup(&self.generation().await, shard);
        self.bus.ask(&subject, &LookupQuery { images }, PATIENCE).await
    }

    pub async fn totals(&self) -> Totals {
        let shards = (0..self.collection.shards).map(|n| {
            let lookup = self.look_up(Shard(n), vec![]);
            async move { (n, lookup.await) }.boxed()
        });
        let mut totals = Totals::default();
        let mut answers = stream::iter(shards.collect::<Vec<_>>()).buffered(SHARDS);
        while let Some((shard, answer)) = answers.next().await {
            match answer {
                Ok(lookup) => {
                    totals.images += lookup.images;
                    totals.captioned += lookup.captioned;
                }
                Err(refusal) => {
                    tracing::debug!(shard, reason = refusal.message, "a shard does not answer");
                    totals.missing_shards.push(shard);
                }
            }
        }
        totals
    }

    /// What the gallery holds of the images, in no particular order. Without a store worker nothing
    /// is known, and the images count as new.
    ///
    /// # Errors
    /// A store that refuses the question.
    pub async fn states(&self, images: &[ImageId]) -> Result<Vec<(ImageId, ImageState)>, Refusal> {
        let mut by_shard = vec![Vec::new(); usize::from(self.collection.shards)];
        for &image in images {
            by_shard[usize::from(self.shard(image).0)].push(image);
        }
        let mut states = Vec::new();
        for (n, images) in (0..).zip(by_shard).filter(|(_, images)| !images.is_empty()) {
            match self.look_up(Shard(n), images.clone()).await {
                Ok(lookup) => states.extend(images.into_iter().zip(lookup.states)),
                Err(Refusal {
                    code: RefusalCode::Unavailable | RefusalCode::Busy | RefusalCode::Timeout,
                    ..
                }) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(states)
    }

    pub async fn state(&self, image: ImageId) -> Result<ImageState, Refusal> {
        Ok(self.states(&[image]).await?.pop().map(|(_, state)| state).unwrap_or_default())
    }

    /// As `state`, where an answer is needed.
    ///
    /// # Errors
    /// The image's store does not answer.
    pub async fn certain_state(&self, image: ImageId) -> Result<ImageState, Refusal> {
        let answer = self.look_up(self.shard(image), vec![image]).await?;
        Ok(answer.states.first().copied().unwrap_or_default())
    }

    /// Everything about one image.
    ///
    /// # Errors
    /// There is no such image, or its store does not answer.
    pub async fn record(&self, image: ImageId) -> Result<Record, Refusal> {
        let subject = subjects::record(&self.generation().await, self.shard(image));
        self.bus.ask(&subject, &RecordQuery { image }, PATIENCE).await
    }

    /// The `limit` images that were submitted last before a revision, newest first.
    ///
    /// # Errors
    /// A shard's store does not answer: a list with holes is none.
    pub async fn newest(
        &self,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<ListedImage>, Refusal> {
        let generation = self.generation().await;
        let shards = (0..self.collection.shards).map(|n| {
            let subject = subjects::list(&generation, Shard(n));
            async move {
                let question = ListQuery { before, limit };
                self.bus.ask::<_, Listing>(&subject, &question, PATIENCE).await
            }
            .boxed()
        });
        let mut images = Vec::new();
        let mut answers = stream::iter(shards.collect::<Vec<_>>()).buffer_unordered(SHARDS);
        while let Some(listing) = answers.next().await {
            images.extend(listing?.images);
        }
        images.sort_by_key(|listed| (Reverse(listed.revision), listed.image));
        images.truncate(limit);
        Ok(images)
    }
}
