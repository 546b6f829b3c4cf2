//! Has a generation hold what another one says: its logs are followed, and every part that is missing is
//! submitted again, at its own revision, for the other model to encode. Both generations so end at the same
//! words, in whatever order those come.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::ensure;
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::{BoxFuture, join_all},
    stream,
};
use tokio::time::{Instant, sleep};
use weimocir_client::Gallery;
use weimocir_domain::{Collection, ImageId, ModelId, Revision, Shard};
use weimocir_runtime::{
    Bus, BusError, Collections, DeadLetter, DeadLetters, LogEntry, Pull, ShardLog, SubmitError,
};
use weimocir_wire::{
    Encoding, Message, WireError, decode, peek,
    query::ImageState,
    subjects::{self, Part},
    vectors::{CaptionsPart, CollectionRecord, ImagePart, Tombstone},
    work::{EncodeCaptions, EncodeInLane},
};

use super::waiting::{Progress, STALL};
use crate::provision::ACK_WAIT;

/// Parts on their way through the encoder's queue.
// because: they keep any number of workers busy, and leave the queue to what is submitted meanwhile
const WINDOW: usize = 2_000;
/// Entries of a log taken at once, and submissions that the server is to acknowledge at the same time.
pub(super) const AT_ONCE: usize = 500;
const SUBMISSIONS: usize = 64;
/// How often the dead letters are looked through.
const LETTERS: Duration = Duration::from_secs(1);
/// How often a full lane is tried again, with patience.
// because: 64 submissions ask the server at the same time
const RETRY: Duration = Duration::from_secs(1);

/// Parts that are awaited, each at a revision.
type Parts = HashMap<(ImageId, Part), Revision>;

/// One generation's way to another.
pub(super) struct Mirror<'a> {
    collection: Collection,
    collections: Collections,
    target: Target<'a>,
    sources: Vec<ShardLog>,
    targets: Vec<ShardLog>,
    letters: DeadLetters,
    read_letters: u64,
    next_letters: Instant,
    /// When something that was awaited came or was submitted.
    news: Instant,
    /// What the target's logs hold.
    held: HashMap<ImageId, ImageState>,
    /// What each of them said last.
    last: HashMap<Shard, (ImageId, ImageState)>,
    /// What was submitted and has not come.
    open: Parts,
    /// What has not come in time, or found the lane full and at a standstill.
    pub(super) late: Parts,
    pub(super) images: u64,
    pub(super) captioned: u64,
    /// Images of which a part became a dead letter.
    pub(super) given_up: HashSet<ImageId>,
    /// Messages that are no parts.
    pub(super) left_out: u64,
}

/// The generation that is to hold what the other says.
struct Target<'a> {
    bus: &'a Bus,
    name: Collection,
    model: ModelId,
    /// After so long without progress to go on without what does not come; none not to.
    patience: Option<Duration>,
    /// Whether the lane was found full and did not go on.
    stands_still: AtomicBool,
}

/// What a work message of a lane is about.
#[derive(Debug, serde::Deserialize)]
struct About {
    image: ImageId,
    revision: Revision,
    #[serde(default)]
    generation: Option<Collection>,
}

/// A part that the target has to get.
enum Work {
    Image(EncodeInLane),
    Captions(EncodeCaptions),
    Deletion { shard: Shard, image: ImageId, payload: Vec<u8> },
}

impl<'a> Mirror<'a> {
    /// Reads what the target has already.
    pub(super) async fn open(
        bus: &'a Bus,
        collection: &CollectionRecord,
        from: &Collection,
        (target, model): (&Collection, &ModelId),
    ) -> anyhow::Result<Self> {
        let letters = DeadLetters::open(bus).await?;
        let mut mirror = Self {
            collection: collection.name.clone(),
            collections: Collections::open(bus).await?,
            target: Target {
                bus,
                name: target.clone(),
                model: model.clone(),
                patience: None,
                stands_still: AtomicBool::new(false),
            },
            sources: logs(bus, from, collection.shards).await?,
            targets: logs(bus, target, collection.shards).await?,
            read_letters: letters.last_number().await?,
            letters,
            next_letters: Instant::now() + LETTERS,
            news: Instant::now(),
            held: HashMap::new(),
            last: HashMap::new(),
            open: HashMap::new(),
            late: HashMap::new(),
            images: 0,
            captioned: 0,
            given_up: HashSet::new(),
            left_out: 0,
        };
        mirror.look().await?;
        Ok(mirror)
    }

    /// Goes on without what does not come while there was no progress for so long.
    pub(super) fn gives_up(&mut self, patience: Option<Duration>) {
        self.target.patience = patience;
    }

    /// Reads the target's logs to their end.
    async fn look(&mut self) -> anyhow::Result<()> {
        for shard in 0..self.targets.len() {
            compare(&mut self.targets[shard]);
            while let Some(entries) = self.targets[shard].next_to_end(AT_ONCE).await? {
                self.note(entries).await?;
            }
        }
        Ok(())
    }

    /// Until the target has, or has given up, what the source said, but for what came while the last `few`
    /// parts were brought over. `told` hears of every step.
    pub(super) async fn catch_up(
        &mut self,
        few: usize,
        told: impl Fn(&Self),
    ) -> anyhow::Result<()> {
        let mut before = usize::MAX;
        loop {
            let mut missing = 0;
            for shard in 0..self.sources.len() {
                compare(&mut self.sources[shard]);
                while let Some(entries) = self.sources[shard].next_to_end(AT_ONCE).await? {
                    missing += self.submit(entries).await?;
                    told(self);
                    while self.open.len() + AT_ONCE > WINDOW {
                        self.hear(&told).await?;
                    }
                }
            }
            while !self.open.is_empty() {
                self.hear(&told).await?;
            }
            self.look().await?;
            told(self);
            // because: what comes as fast as it is brought over never gets less
            if missing <= few || (few > 0 && missing >= before) {
                return Ok(());
            }
            before = missing;
        }
    }

    /// Submits what the target lacks, and says how many parts that was.
    async fn submit(&mut self, entries: Vec<LogEntry>) -> anyhow::Result<usize> {
        let mut missing = Vec::new();
        for entry in entries {
            match self.missing(&entry) {
                Ok(part) => missing.extend(part),
                Err(error @ WireError::Version { .. }) => {
                    return Err(anyhow::Error::new(error)
                        .context("use a `weimocir` of the workers' version"));
                }
                Err(error) => {
                    tracing::warn!(entry.sequence, entry.subject, %error, "left out");
                    self.left_out += 1;
                }
            }
        }
        // because: a deletion is in every generation at once, and is no more than repeated here
        let parts = missing.iter().filter(|work| !matches!(work, Work::Deletion { .. })).count();
        let submitting = missing.into_iter().map(|work| self.target.submit(work).boxed());
        let submitting = stream::iter(submitting.collect::<Vec<_>>());
        let submitted: Vec<_> = submitting.buffer_unordered(SUBMISSIONS).try_collect().await?;
        for (part, revision, is_taken) in submitted.into_iter().flatten() {
            let parts = if is_taken { &mut self.open } else { &mut self.late };
            parts.insert(part, revision);
        }
        self.news = Instant::now();
        Ok(parts)
    }

    fn missing(&self, entry: &LogEntry) -> Result<Option<Work>, WireError> {
        let Some((_, shard, image, part)) = subjects::read_vectors(&entry.subject) else {
            return Ok(None);
        };
        let (collection, generation) = (self.collection.clone(), Some(self.target.name.clone()));
        Ok(match part {
            Part::Image => {
                let ImagePart { revision, source, metadata, .. } = read(entry)?;
                let work =
                    EncodeInLane { collection, generation, image, revision, source, metadata };
                (!self.has(image, part, revision)).then_some(Work::Image(work))
            }
            Part::Captions => {
                let CaptionsPart { revision, captions, .. } = read(entry)?;
                let captions = captions.into_iter().map(|caption| caption.text).collect();
                let work = EncodeCaptions { collection, generation, image, revision, captions };
                (!self.has(image, part, revision)).then_some(Work::Captions(work))
            }
            Part::Tombstone => {
                let Tombstone { revision, .. } = read(entry)?;
                let payload = entry.payload.clone();
                (!self.has(image, part, revision)).then_some(Work::Deletion {
                    shard,
                    image,
                    payload,
                })
            }
        })
    }

    /// Whether the target has as new a word.
    fn has(&self, image: ImageId, part: Part, revision: Revision) -> bool {
        let held = self.held.get(&image).copied().unwrap_or_default();
        let same = match part {
            Part::Image => held.image,
            Part::Captions => held.captions,
            Part::Tombstone => None,
        };
        same.max(held.tombstone) >= Some(revision)
    }

    /// Waits a moment for news of the target.
    async fn hear(&mut self, told: &impl Fn(&Self)) -> anyhow::Result<()> {
        let since = Instant::now();
        let before = self.open.len();
        while self.open.len() == before {
            // because: a log that nothing is awaited of would take half a second to say so
            let shards = self.targets.len() as u16;
            let awaited: HashSet<Shard> =
                self.open.keys().map(|(image, _)| image.shard(shards)).collect();
            let mut asking = Vec::with_capacity(awaited.len());
            for (log, shard) in self.targets.iter_mut().zip(0..) {
                if awaited.contains(&Shard(shard)) {
                    asking.push(log.next_entries(AT_ONCE));
                }
            }
            let news = join_all(asking).await;
            for entries in news {
                match entries {
                    Ok(entries) => self.note(entries).await?,
                    Err(error) => {
                        let record = self.collections.record(&self.target.name).await;
                        // because: whatever else is wrong may be over in a moment
                        ensure!(
                            !record.is_ok_and(|record| record.dropped),
                            "`{}` was dropped meanwhile: run the same command again",
                            self.target.name
                        );
                        tracing::warn!(%error, "the log cannot be read; trying again");
                        sleep(Duration::from_millis(500)).await;
                    }
                }
            }
            if Instant::now() > self.next_letters {
                self.next_letters = Instant::now() + LETTERS;
                for letter in self.letters.after(self.read_letters).await? {
                    self.read_letters = letter.number;
                    self.bury(&letter);
                }
            }
            told(self);
            if since.elapsed() > STALL {
                tracing::warn!(waiting = before, model = %self.target.model,
                    "still waiting for the encode workers; `weimocir status` shows whether they run");
                break;
            }
        }
        if self.open.len() < before {
            self.news = Instant::now();
        } else if self.target.patience.is_some_and(|patience| self.news.elapsed() > patience) {
            tracing::warn!(before, model = %self.target.model, "not waiting for what does not come");
            self.late.extend(self.open.drain());
        }
        Ok(())
    }

    /// Notes what came into the target's logs.
    async fn note(&mut self, entries: Vec<LogEntry>) -> Result<(), BusError> {
        for entry in entries {
            let Some((_, shard, image, part)) = subjects::read_vectors(&entry.subject) else {
                continue;
            };
            let Some(About { revision, .. }) = peek(&entry.payload) else { continue };
            // because: of what was deleted, nothing older comes any more
            let ends: &[Part] = match part {
                Part::Tombstone => &[Part::Image, Part::Captions],
                Part::Image => &[Part::Image],
                Part::Captions => &[Part::Captions],
            };
            for &end in ends {
                strike([&mut self.open, &mut self.late], (image, end), revision);
            }
            let state = self.held.entry(image).or_default();
            let before = *state;
            match before.advance(part, revision) {
                Some(after) => {
                    *state = after;
                    self.last.insert(shard, (image, after));
                }
                // because: it was deleted while it was on its way
                None => {
                    let deleted = before.tombstone.unwrap_or_default();
                    self.target.bus.purge_image(&self.target.name, shard, image, deleted).await?;
                }
            }
            let after = *state;
            count(&mut self.images, before.image, after.image);
            count(&mut self.captioned, before.captions, after.captions);
        }
        Ok(())
    }

    /// What is a dead letter does not come.
    fn bury(&mut self, letter: &DeadLetter) {
        let Some(About { image, revision, generation }) = peek(&letter.payload) else { return };
        if generation.as_ref() != Some(&self.target.name) {
            return;
        }
        let is_image = subjects::is_encode_image(&letter.subject);
        let part = if is_image { Part::Image } else { Part::Captions };
        if strike([&mut self.open, &mut self.late], (image, part), revision) {
            self.given_up.insert(image);
        }
    }

    /// Waits until the target's stores have what its logs said last, and so all that they said before.
    ///
    /// # Errors
    /// They do not come as far.
    pub(super) fn until_stored(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        let Target { bus, name, .. } = &self.target;
        let gallery = Gallery::of_generation(bus, name.clone(), self.targets.len() as u16);
        let wanted: HashMap<ImageId, ImageState> = self.last.values().copied().collect();
        let images = self.images;
        let waiting = async move {
            let asked: Vec<ImageId> = wanted.keys().copied().collect();
            let (mut before, mut since) = (None, Instant::now());
            loop {
                let totals = gallery.totals().await;
                let states = gallery.states(&asked).await?;
                let is_there = |(image, held): &&(ImageId, ImageState)| {
                    wanted.get(image).is_some_and(|wanted| reaches(*held, *wanted))
                };
                let there = states.iter().filter(is_there).count();
                if totals.missing_shards.is_empty() && there == wanted.len() {
                    return anyhow::Ok(());
                }
                let now = Some((totals.clone(), there));
                if now != before {
                    (before, since) = (now, Instant::now());
                }
                ensure!(
                    since.elapsed() < 3 * STALL,
                    "the stores have {} of {images} images of `{}`, and none of shards {:?}; nothing was changed",
                    totals.images,
                    gallery.collection.name,
                    totals.missing_shards
                );
                sleep(Duration::from_millis(200)).await;
            }
        };
        waiting.boxed()
    }
}

impl Target<'_> {
    /// Says what is to come of it, and whether the lane has taken it.
    async fn submit(
        &self,
        work: Work,
    ) -> anyhow::Result<Option<((ImageId, Part), Revision, bool)>> {
        match work {
            Work::Image(work) => {
                let is_taken = self.put_in_lane(subjects::ENCODE_IMAGE, &work).await?;
                Ok(Some(((work.image, Part::Image), work.revision, is_taken)))
            }
            Work::Captions(work) => {
                let is_taken = self.put_in_lane(subjects::ENCODE_CAPTIONS, &work).await?;
                Ok(Some(((work.image, Part::Captions), work.revision, is_taken)))
            }
            Work::Deletion { shard, image, payload } => {
                let place = (shard, Part::Tombstone);
                self.bus.restore_part(&self.name, image, place, payload.into()).await?;
                Ok(None)
            }
        }
    }

    /// Says whether the lane has taken it: with patience a full one is waited for only while it goes on.
    async fn put_in_lane<T: Message>(&self, subject: &str, work: &T) -> anyhow::Result<bool> {
        let subject = subjects::in_lane(subject, &self.model);
        let (mut progress, mut next_word) = (Progress::default(), Instant::now() + STALL);
        loop {
            // because: `submit` waits longer for a full queue than patience may be
            let submitted = match self.patience {
                Some(_) => self.bus.offer(&subject, work).await,
                None => self.bus.submit(&subject, work).await,
            };
            match submitted {
                Ok(_) => {
                    self.stands_still.store(false, Ordering::Relaxed);
                    return Ok(true);
                }
                Err(SubmitError::Full { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= next_word {
                next_word = Instant::now() + STALL;
                tracing::warn!("the queue is full; waiting for the workers");
            }
            let Some(patience) = self.patience else { continue };
            // because: with patience for each, a million parts would take years
            if self.stands_still.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if progress.has_stalled(self.lane_moved().await?, Instant::now(), patience) {
                self.stands_still.store(true, Ordering::Relaxed);
                return Ok(false);
            }
            sleep(RETRY).await;
        }
    }

    /// How far the lane's queues have moved.
    async fn lane_moved(&self) -> Result<u64, BusError> {
        let mut sum = 0;
        for Pull { stream, durable, .. } in weimocir_encode::lane(&self.model, 1, ACK_WAIT) {
            sum += self.bus.reached(stream, &durable).await?.moved();
        }
        Ok(sum)
    }
}

/// Awaits a part no longer at a revision or at an older one. Says whether it was awaited.
fn strike(awaited: [&mut Parts; 2], part: (ImageId, Part), revision: Revision) -> bool {
    let mut was_awaited = false;
    for parts in awaited {
        if parts.get(&part).is_some_and(|at| *at <= revision) {
            parts.remove(&part);
            was_awaited = true;
        }
    }
    was_awaited
}

/// Has the reader's place compared with the end that the log has now.
fn compare(log: &mut ShardLog) {
    let place = log.position();
    log.follow_after(place);
}

/// Whether what is held is as new as what is wanted.
fn reaches(held: ImageState, wanted: ImageState) -> bool {
    held.tombstone >= wanted.tombstone
        && held.image.max(held.tombstone) >= wanted.image
        && held.captions.max(held.tombstone) >= wanted.captions
}

fn count(number: &mut u64, before: Option<Revision>, after: Option<Revision>) {
    match (before, after) {
        (None, Some(_)) => *number += 1,
        (Some(_), None) => *number -= 1,
        _ => {}
    }
}

async fn logs(bus: &Bus, name: &Collection, shards: u16) -> Result<Vec<ShardLog>, BusError> {
    let mut logs = Vec::with_capacity(usize::from(shards));
    for shard in 0..shards {
        logs.push(ShardLog::open(bus, name, Shard(shard)).await?);
    }
    Ok(logs)
}

fn read<T: Message>(entry: &LogEntry) -> Result<T, WireError> {
    decode(&entry.payload, Encoding::MessagePack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_or_never_will_ends_the_wait_for_it_and_for_what_is_older() {
        let part = (ImageId::of(b"hat"), Part::Image);
        let at = |revision: Option<u64>| -> Parts {
            revision.map(|revision| (part, Revision(revision))).into_iter().collect()
        };
        for (open, late, struck) in [
            (None, None, false),
            (Some(7), None, true),
            (None, Some(7), true),
            (Some(7), Some(6), true),
            (Some(8), Some(6), true),
            (Some(8), None, false),
        ] {
            let (mut still_open, mut still_late) = (at(open), at(late));
            let found = strike([&mut still_open, &mut still_late], part, Revision(7));
            let newer = |revision: Option<u64>| at(revision.filter(|revision| *revision > 7));
            assert_eq!(found, struck, "{open:?} {late:?}");
            assert_eq!((still_open, still_late), (newer(open), newer(late)), "{open:?} {late:?}");
        }
        let mut other: Parts = [((part.0, Part::Captions), Revision(1))].into();
        assert!(!strike([&mut other, &mut at(None)], part, Revision(7)));
        assert_eq!(other.len(), 1);
    }
}
