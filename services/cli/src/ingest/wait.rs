//! Following submitted pictures until each is searchable and captioned, or has a dead letter.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};
use weimocir_client::Expected;
use weimocir_domain::{Collection, ImageId, Revision};
use weimocir_runtime::{DeadLetter, DeadLetters};
use weimocir_wire::{names, query::ImageState, subjects};

use super::{
    feed::Feed,
    report::{self, Refused, Summary},
};

/// How often the stores are asked.
const PAUSE: Duration = Duration::from_millis(100);
/// After this long without progress the user is told what may be missing.
const STALL: Duration = Duration::from_secs(10);
/// Images in one question.
const QUESTION: usize = 1_000;

/// A picture that is on its way: the revisions still to come.
#[derive(Debug)]
struct Pending {
    source: String,
    revision: Revision,
    image: Option<Revision>,
    captions: Option<Revision>,
}

/// What a work message is about; a submitted picture does not know its revision.
#[derive(Debug, serde::Deserialize)]
struct About {
    collection: Collection,
    image: ImageId,
    #[serde(default)]
    revision: Option<Revision>,
    #[serde(default)]
    generation: Option<Collection>,
}

#[derive(Debug)]
struct Wait {
    open: HashMap<ImageId, Pending>,
    searchable: ProgressBar,
    captioned: ProgressBar,
    failures: BTreeMap<String, String>,
}

/// Returns when nothing is open any more. A store answers for an image only when a search that
/// starts then would see it.
pub(crate) async fn until_settled(
    feed: &Feed,
    letters: &DeadLetters,
    before: u64,
    summary: &mut Summary,
    show: bool,
) -> anyhow::Result<()> {
    let mut wait = Wait::new(summary, show);
    let (mut read_up_to, mut last_change) = (before, Instant::now());
    // because: the generation that they are about may come to serve
    let mut aside: Vec<DeadLetter> = Vec::new();
    while !wait.open.is_empty() {
        let left = wait.left();
        aside.extend(letters.after(read_up_to).await?);
        read_up_to = read_up_to.max(aside.last().map_or(0, |letter| letter.number));
        let serving = feed.gallery().generation().await;
        aside.retain(|letter| !wait.bury(letter, (&feed.gallery().collection.name, &serving)));
        let asked: Vec<ImageId> = wait.open.keys().copied().collect();
        for images in asked.chunks(QUESTION) {
            for (image, state) in feed.gallery().states(images).await? {
                wait.note(image, state);
            }
        }
        if wait.left() != left {
            last_change = Instant::now();
        } else if last_change.elapsed() > STALL {
            explain(feed, &wait).await?;
            last_change = Instant::now();
        }
        if !wait.open.is_empty() {
            sleep(PAUSE).await;
        }
    }
    wait.finish(summary);
    Ok(())
}

impl Wait {
    fn new(summary: &Summary, show: bool) -> Self {
        let pending = |expected: &Expected| Pending {
            source: expected.source.clone(),
            revision: expected.image,
            image: Some(expected.image),
            captions: expected.captions,
        };
        let open: HashMap<_, _> =
            summary.expected.iter().map(|(image, expected)| (*image, pending(expected))).collect();
        let captions = open.values().filter(|pending| pending.captions.is_some()).count();
        let bars = indicatif::MultiProgress::new();
        Self {
            searchable: bars.add(report::bar("searchable", open.len() as u64, show)),
            captioned: bars.add(report::bar("captioned", captions as u64, show)),
            open,
            failures: BTreeMap::new(),
        }
    }

    /// Parts that are still to come.
    fn left(&self) -> usize {
        let parts = |pending: &Pending| {
            usize::from(pending.image.is_some()) + usize::from(pending.captions.is_some())
        };
        self.open.values().map(parts).sum()
    }

    fn note(&mut self, image: ImageId, state: ImageState) {
        let Some(pending) = self.open.get_mut(&image) else { return };
        if pending.revision <= state.tombstone.unwrap_or_default() {
            self.failures.insert(pending.source.clone(), "deleted by somebody meanwhile".into());
            self.open.remove(&image);
            return;
        }
        if pending.image.is_some() && state.image >= pending.image {
            pending.image = None;
            self.searchable.inc(1);
        }
        if pending.captions.is_some() && state.captions >= pending.captions {
            pending.captions = None;
            self.captioned.inc(1);
        }
        self.drop_if_settled(image);
    }

    /// A picture that cannot be encoded is lost to the gallery; one that cannot be captioned is not. Says
    /// whether the letter will not matter any more.
    fn bury(
        &mut self,
        letter: &DeadLetter,
        (collection, serving): (&Collection, &Collection),
    ) -> bool {
        let Some(about) = weimocir_wire::peek::<About>(&letter.payload) else { return true };
        let Some(pending) = self.open.get_mut(&about.image) else { return true };
        // because: a submitted picture's revision is its place in the work stream
        let revision = about.revision.or(letter.sequence.map(Revision));
        if about.collection != *collection || revision != Some(pending.revision) {
            return true;
        }
        // because: another model cannot encode it, which says nothing about the one that serves
        if about.generation.is_some_and(|generation| generation != *serving) {
            return false;
        }
        if subjects::is_encode_image(&letter.subject) {
            (pending.image, pending.captions) = (None, None);
            self.failures.insert(pending.source.clone(), letter.reason.clone());
        } else {
            pending.captions = None;
            let reason = format!("searchable, but without captions: {}", letter.reason);
            self.failures.entry(pending.source.clone()).or_insert(reason);
        }
        self.drop_if_settled(about.image);
        true
    }

    fn drop_if_settled(&mut self, image: ImageId) {
        if self.open.get(&image).is_some_and(|p| p.image.is_none() && p.captions.is_none()) {
            self.open.remove(&image);
        }
    }

    fn finish(self, summary: &mut Summary) {
        // because: `finish` would claim the full length, whatever failed
        self.searchable.abandon();
        self.captioned.abandon();
        summary.searchable = Some(self.searchable.position());
        summary.captioned = Some(self.captioned.position());
        let refused = self.failures.into_iter().map(|(source, reason)| Refused { source, reason });
        summary.refused.extend(refused);
        summary.clock();
    }
}

/// Names the kinds of worker that nobody runs, which is why nothing happens.
async fn explain(feed: &Feed, wait: &Wait) -> anyhow::Result<()> {
    let alive = feed.gallery().bus.workers().await?;
    let missing: Vec<&str> = names::SERVICES
        .into_iter()
        .filter(|name| !alive.iter().any(|worker| worker.name == *name))
        .collect();
    let open = wait.open.len();
    if missing.is_empty() {
        tracing::warn!(open, "still waiting; `weimocir status` shows what the workers do");
    } else {
        tracing::warn!(
            open,
            missing = missing.join(", "),
            "still waiting, and some workers do not run"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use weimocir_domain::ModelId;
    use weimocir_wire::{
        Encoding, encode,
        work::{EncodeInLane, Metadata},
    };

    use super::*;

    fn letter(generation: Option<&Collection>) -> DeadLetter {
        let (image, revision) = (ImageId::of(b"lost"), Revision(7));
        let (source, generation) = ("lost.png".to_owned(), generation.cloned());
        let metadata = Metadata::new();
        let collection = Collection::default();
        let work = EncodeInLane { collection, generation, image, revision, source, metadata };
        let lane = subjects::in_lane(subjects::ENCODE_IMAGE, &ModelId::new("own"));
        DeadLetter {
            number: 1,
            step: "encode".into(),
            reason: "cut off".into(),
            attempts: 1,
            at: String::new(),
            image: None,
            sequence: Some(3),
            subject: lane,
            payload: encode(&work, Encoding::MessagePack).unwrap(),
        }
    }

    #[test]
    fn a_letter_counts_once_the_generation_that_it_is_about_serves() {
        let mut summary = Summary::default();
        let (image, captions) = (Revision(7), Some(Revision(7)));
        let expected = Expected { source: "lost.png".into(), image, captions };
        summary.expected.insert(ImageId::of(b"lost"), expected);
        let own = Collection::default();
        let other = own.generation(&ModelId::new("other"));
        for (about, serving, counts) in [
            (None, &own, true),
            (None, &other, true),
            (Some(&own), &own, true),
            (Some(&other), &other, true),
            (Some(&other), &own, false),
            (Some(&own), &other, false),
        ] {
            let mut wait = Wait::new(&summary, false);
            let is_done_with = wait.bury(&letter(about), (&own, serving));
            assert_eq!(is_done_with, counts, "{about:?} {serving}");
            assert_eq!(wait.open.is_empty(), counts, "{about:?} {serving}");
        }
    }
}
