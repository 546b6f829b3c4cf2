//! Whether all that was acknowledged can be found, as it was submitted and once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::ensure;
use tokio::time::{Instant, sleep};
use weimocir_domain::{Collection, ImageId};
use weimocir_runtime::Bus;
use weimocir_wire::{
    query::{Lookup, LookupQuery, Record, RecordQuery},
    search::{SearchAnswer, SearchRequest},
    subjects,
};

use super::feed::{Acknowledged, Sample};

/// Everything must have arrived by then.
const PATIENCE: Duration = Duration::from_secs(180);
const ANSWER: Duration = Duration::from_secs(10);
/// Candidates of one search at most.
const ALL: usize = 1_000;
/// How far a cosine may be from 1: batches of other sizes round otherwise.
const ROUNDING: f64 = 1e-5;

/// What became of acknowledged pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) acknowledged: usize,
    pub(super) searchable: usize,
    /// Acknowledged, and not found as it was submitted.
    pub(super) lost: usize,
    /// Found more than once.
    pub(super) duplicated: usize,
}

#[derive(Debug)]
pub(super) struct Audit<'a> {
    pub(super) bus: &'a Bus,
    pub(super) collection: &'a Collection,
    pub(super) shards: u16,
    pub(super) samples: &'a [Sample],
    pub(super) acknowledged: &'a Acknowledged,
}

impl Audit<'_> {
    /// Waits until the stores say that everything is there, or patience ends.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.left().await.is_some_and(|left| left == 0) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        let left = self.left().await;
        eprintln!("{}: not settled after {PATIENCE:?}, {left:?} open", self.collection);
        Ok(())
    }

    /// Parts of images that are still to come; `None` while a store does not answer.
    async fn left(&self) -> Option<usize> {
        let mut left = 0;
        for (images, lookup) in self.lookups().await? {
            for (image, state) in images.iter().zip(lookup.states) {
                let wanted = self.acknowledged.get(image).copied();
                left += usize::from(state.image < wanted) + usize::from(state.captions < wanted);
            }
        }
        Some(left)
    }

    /// What each shard says of the acknowledged images that are its own.
    async fn lookups(&self) -> Option<Vec<(Vec<ImageId>, Lookup)>> {
        let mut lookups = Vec::new();
        for shard in 0..self.shards {
            let own = |image: &&ImageId| image.shard(self.shards).0 == shard;
            let images: Vec<ImageId> = self.acknowledged.keys().filter(own).copied().collect();
            let subject = subjects::lookup(self.collection, weimocir_domain::Shard(shard));
            let question = LookupQuery { images };
            let answer = self.bus.ask(&subject, &question, ANSWER).await.ok()?;
            lookups.push((question.images, answer));
        }
        Some(lookups)
    }

    pub(super) async fn found(&self) -> anyhow::Result<Found> {
        ensure!(self.samples.len() <= ALL, "one search lists {ALL} images at most");
        let listed = self.listed().await?;
        let mut found = Found { acknowledged: self.acknowledged.len(), ..Found::default() };
        for sample in self.samples.iter().filter(|s| self.acknowledged.contains_key(&s.image)) {
            let times = listed.get(&sample.image).copied().unwrap_or(0);
            let same = times > 0 && self.is_as_submitted(sample).await?;
            found.searchable += usize::from(same);
            found.lost += usize::from(!same);
        }
        found.duplicated = listed.values().filter(|times| **times > 1).count();
        let known: BTreeSet<ImageId> = self.samples.iter().map(|sample| sample.image).collect();
        ensure!(listed.keys().all(|image| known.contains(image)), "an image that nobody submitted");
        let held = self.lookups().await.map(|all| all.iter().map(|(_, l)| l.images).sum::<u64>());
        let more = held.unwrap_or(0).saturating_sub(listed.len() as u64);
        found.duplicated += usize::try_from(more)?;
        Ok(found)
    }

    /// Every image of the collection, and how often a search lists it.
    async fn listed(&self) -> anyhow::Result<BTreeMap<ImageId, usize>> {
        let request = SearchRequest {
            collection: self.collection.clone(),
            modifier: Some("anything".to_owned()),
            k: Some(ALL),
            timeout_ms: Some(10_000),
            ..SearchRequest::default()
        };
        let mut listed = BTreeMap::new();
        let answer: SearchAnswer = self.bus.ask(subjects::SEARCH, &request, ANSWER * 2).await?;
        ensure!(!answer.partial, "shards {:?} are missing after it", answer.missing_shards);
        for candidate in answer.candidates {
            *listed.entry(candidate.image).or_default() += 1;
        }
        Ok(listed)
    }

    /// Whether the stored vector is that of the picture, and the captions are those it came with.
    async fn is_as_submitted(&self, sample: &Sample) -> anyhow::Result<bool> {
        let shard = sample.image.shard(self.shards);
        let subject = subjects::record(self.collection, shard);
        let question = RecordQuery { image: sample.image };
        let Ok(record) = self.bus.ask::<_, Record>(&subject, &question, ANSWER).await else {
            return Ok(false);
        };
        let close = (cosine(&record.embedding.0, sample.embedding.values()) - 1.0).abs() < ROUNDING;
        let texts: Vec<&str> =
            record.captions.iter().map(|caption| caption.text.as_str()).collect();
        let told = match &sample.captions {
            Some(captions) => texts == captions.iter().map(String::as_str).collect::<Vec<_>>(),
            None => !texts.is_empty(),
        };
        Ok(close && told)
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    if a.len() != b.len() {
        return f64::NAN;
    }
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
