//! Following submitted pictures until each is searchable and captioned, or has a dead letter.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};
use weimocir_client::{Expected, Loss, Losses};
use weimocir_domain::{ImageId, Revision};
use weimocir_wire::{names, query::ImageState};

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
    losses: &mut Losses,
    summary: &mut Summary,
    show: bool,
) -> anyhow::Result<()> {
    let mut wait = Wait::new(summary, show);
    let mut last_change = Instant::now();
    while !wait.open.is_empty() {
        let left = wait.left();
        for loss in losses.next(feed.gallery(), |loss| wait.is_open(loss)).await? {
            wait.note_loss(&loss);
        }
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

    fn is_open(&self, loss: &Loss) -> bool {
        self.open.get(&loss.image).is_some_and(|pending| loss.revision == Some(pending.revision))
    }

    fn note_loss(&mut self, loss: &Loss) {
        let Some(pending) = self.open.get_mut(&loss.image) else { return };
        if loss.is_whole {
            (pending.image, pending.captions) = (None, None);
            self.failures.insert(pending.source.clone(), loss.reason.clone());
        } else {
            pending.captions = None;
            let reason = format!("searchable, but without captions: {}", loss.reason);
            self.failures.entry(pending.source.clone()).or_insert(reason);
        }
        self.drop_if_settled(loss.image);
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
