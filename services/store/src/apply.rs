//! From the log to disk and then to memory: what a search can see would survive a loss of power.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use metrics::{Gauge, gauge};
use tokio::task::JoinHandle;
use weimocir_domain::{Collection, ImageId, Shard};
use weimocir_index::IndexError;
use weimocir_runtime::{Bus, BusError, CancellationToken, LogEntry, ShardLog};
use weimocir_wire::{metrics as names, query::ImageState};

use crate::{
    disk::{DiskError, Position},
    gallery::Gallery,
    part::{Part, PartError, Step},
    saved::Moment,
    shard::Shelf,
};

/// Entries made durable together.
// because: a sync costs milliseconds whatever it covers, and 26,000 records a second need groups
const GROUP: usize = 500;

/// Entries after which the index is saved: so many, or that share of its images if that is more.
// because: as many are put in again within seconds after a crash, and saving them costs no more than
// a few times their own size
const UNSAVED: u64 = 1 << 15;
const SHARE: u64 = 16;
/// Time between two savings at least.
// because: one that fails would fail again at once, and is given six times as long
const PAUSE: Duration = Duration::from_secs(10);

/// Brings a shard's disk and memory up to the log.
pub(crate) struct Follower {
    pub bus: Bus,
    pub log: ShardLog,
    pub shelf: Arc<Shelf>,
    pub shutdown: CancellationToken,
    learning: Option<JoinHandle<Result<(), IndexError>>>,
    learning_is_due: bool,
    /// How many entries are being saved, and whether they were.
    saving: Option<(u64, JoinHandle<bool>)>,
    next_saving: Instant,
    /// Entries applied since the index was saved.
    unsaved: u64,
    /// How far the log is applied.
    applied: u64,
    /// Entries read from the log since the start.
    pub read: u64,
    gauges: Gauges,
}

/// What the shard tells of itself.
pub(crate) struct Gauges {
    images: Gauge,
    captioned: Gauge,
    lag: Gauge,
}

impl Gauges {
    pub(crate) fn of(collection: &Collection, shard: Shard) -> Self {
        let labels = [("collection", collection.to_string()), ("shard", shard.to_string())];
        Self {
            images: gauge!(names::IMAGES, &labels),
            captioned: gauge!(names::CAPTIONED, &labels),
            lag: gauge!(names::LOG_LAG, &labels),
        }
    }
}

impl Follower {
    /// `shelf` holds what the log says up to `applied`, of which its saved index lacks `unsaved`.
    pub(crate) fn new(
        bus: Bus,
        mut log: ShardLog,
        (shelf, applied, unsaved): (Arc<Shelf>, u64, u64),
        gauges: Gauges,
        shutdown: CancellationToken,
    ) -> Self {
        log.follow_after(applied);
        Self {
            gauges,
            bus,
            log,
            shelf,
            shutdown,
            learning: None,
            learning_is_due: true,
            saving: None,
            next_saving: Instant::now(),
            unsaved,
            applied,
            read: 0,
        }
    }

    /// Follows the log to the end that it has now, or until `shutdown`.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub(crate) async fn catch_up(&mut self) -> anyhow::Result<()> {
        while !self.shutdown.is_cancelled() {
            self.tell();
            match self.log.is_behind().await {
                Ok(true) => self.step().await?,
                Ok(false) => return Ok(()),
                Err(error) => try_again(&error).await,
            }
        }
        Ok(())
    }

    /// Learns codes before anyone searches, if there are images enough.
    ///
    /// # Errors
    /// No memory.
    pub(crate) async fn learn_first(&mut self) -> anyhow::Result<()> {
        self.learn_beside().await?;
        match self.learning.take() {
            Some(learning) => Ok(learning.await.context("the learner died")??),
            None => Ok(()),
        }
    }

    /// Follows the log until `shutdown`.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        while !self.shutdown.is_cancelled() {
            self.step().await?;
        }
        if let Some(learning) = self.learning.take() {
            learning.await.context("the learner died")??;
        }
        self.finish_saving().await?;
        if self.unsaved > 0 {
            self.begin_saving().await?;
            self.finish_saving().await?;
        }
        Ok(())
    }

    /// Has the index saved beside all else, when much has changed since it was last.
    async fn save_beside(&mut self) -> anyhow::Result<()> {
        if self.saving.as_ref().is_some_and(|(_, saving)| !saving.is_finished()) {
            return Ok(());
        }
        self.finish_saving().await?;
        if Instant::now() < self.next_saving {
            return Ok(());
        }
        let shelf = self.shelf.clone();
        let due = tokio::task::spawn_blocking(move || {
            let (images, basis) = {
                let gallery = shelf.gallery();
                (gallery.images(), gallery.indexed().and_then(|(_, index)| index.basis().cloned()))
            };
            (images / SHARE, shelf.saved().is_of_another_basis(basis.as_ref()))
        });
        let (share, relearned) = due.await.context("the saver died")?;
        if relearned || self.unsaved >= share.max(UNSAVED) {
            self.begin_saving().await?;
        }
        Ok(())
    }

    // because: between two groups of entries the index is that of one position
    async fn begin_saving(&mut self) -> anyhow::Result<()> {
        let (shelf, applied) = (self.shelf.clone(), self.applied);
        let moment = tokio::task::spawn_blocking(move || Moment::of(&shelf.gallery(), applied));
        let Some(moment) = moment.await.context("the saver died")? else { return Ok(()) };
        let (shelf, entries) = (self.shelf.clone(), std::mem::take(&mut self.unsaved));
        let saving = tokio::task::spawn_blocking(move || save(&shelf, moment));
        self.saving = Some((entries, saving));
        Ok(())
    }

    async fn finish_saving(&mut self) -> anyhow::Result<()> {
        if let Some((entries, saving)) = self.saving.take() {
            let is_saved = saving.await.context("the saver died")?;
            self.unsaved += if is_saved { 0 } else { entries };
            self.next_saving = Instant::now() + if is_saved { PAUSE } else { 6 * PAUSE };
        }
        Ok(())
    }

    fn tell(&self) {
        let gallery = self.shelf.gallery();
        self.gauges.images.set(gallery.images() as f64);
        self.gauges.captioned.set(gallery.captioned() as f64);
        self.gauges.lag.set(self.log.pending() as f64);
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        self.learn_beside().await?;
        self.save_beside().await?;
        let entries = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(()),
            entries = self.log.next_entries(GROUP) => entries,
        };
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                try_again(&error).await;
                return Ok(());
            }
        };
        let Some(last) = entries.last() else { return Ok(()) };
        // because: they end when a search would see what the entries say
        let _spans: Vec<_> = entries.iter().map(|entry| entry.span.clone()).collect();
        self.read += entries.len() as u64;
        let log_created = self.log.identity().created;
        let last = last.sequence;
        let position = Position { log_created, applied: last };
        let shelf = self.shelf.clone();
        let put = tokio::task::spawn_blocking(move || {
            let (held, wrong) = put(&shelf, entries, &position)?;
            anyhow::Ok((held, wrong, shelf.gallery().learning_is_due()))
        });
        let (held, wrong);
        (held, wrong, self.learning_is_due) = put.await.context("the writer died")??;
        self.unsaved += held as u64;
        self.applied = last;
        self.tell();
        for (entry, error) in wrong {
            tracing::warn!(sequence = entry.sequence, %error, "dead letter");
            // because: the entry stays in the log, so that a letter that is lost loses nothing else
            if let Err(error) = self.bus.bury_log_entry("store", &entry, &error.to_string()).await {
                tracing::error!(%error, "the dead letter could not be stored");
            }
        }
        Ok(())
    }

    /// Has new codes learned beside all else when they are due.
    async fn learn_beside(&mut self) -> anyhow::Result<()> {
        if let Some(learning) = self.learning.take_if(|learning| learning.is_finished()) {
            learning.await.context("the learner died")??;
        }
        if self.learning.is_none() && std::mem::take(&mut self.learning_is_due) {
            let (shelf, shutdown) = (self.shelf.clone(), self.shutdown.clone());
            self.learning = Some(tokio::task::spawn_blocking(move || learn(&shelf, &shutdown)));
        }
        Ok(())
    }
}

/// Learns new codes, with short looks at the gallery.
pub(crate) fn learn(shelf: &Shelf, shutdown: &CancellationToken) -> Result<(), IndexError> {
    let start = Instant::now();
    if !shelf.gallery().learning_is_due() {
        return Ok(());
    }
    shelf.gallery_mut().begin_learning();
    let Some(sample) = shelf.healing(Gallery::sample)? else { return Ok(()) };
    let mut learned = sample.learn();
    while !shelf.healing(|gallery| gallery.advance(&mut learned))? {
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
    shelf.gallery_mut().adopt(learned)?;
    let images = shelf.gallery().images();
    tracing::info!(images, seconds = start.elapsed().as_secs_f64(), "codes learned");
    Ok(())
}

/// Says whether the index is saved. sled has everything; a start takes longer without.
fn save(shelf: &Shelf, moment: Moment) -> bool {
    let start = Instant::now();
    let saved = shelf.saved().save(shelf, moment);
    match &saved {
        Ok(true) => tracing::info!(seconds = start.elapsed().as_secs_f64(), "index saved"),
        Ok(false) => tracing::debug!("the index was learned anew while it was being saved"),
        Err(error) => tracing::error!(%error, "the index cannot be saved"),
    }
    saved.unwrap_or(false)
}

async fn try_again(error: &BusError) {
    tracing::warn!(%error, "the log cannot be read; trying again");
    tokio::time::sleep(Duration::from_millis(500)).await;
}

type Wrong = Vec<(LogEntry, PartError)>;

/// To disk, then to memory. Returns how many entries still held, and those that are wrong.
fn put(
    shelf: &Shelf,
    entries: Vec<LogEntry>,
    position: &Position,
) -> Result<(usize, Wrong), DiskError> {
    let (steps, wrong) = sort_out(entries, &shelf.gallery());
    let parts = || steps.iter().map(|step| step.part.clone());
    // because: while disk and memory agree, the one can heal the other
    let plan = shelf.healing(|gallery| gallery.plan(parts()))?;
    let _change = shelf.changing();
    shelf.disk.write(&steps, position)?;
    shelf.gallery_mut().commit(plan)?;
    Ok((steps.len(), wrong))
}

/// The entries that still hold, in order, and the wrong ones.
fn sort_out(entries: Vec<LogEntry>, gallery: &Gallery) -> (Vec<Step>, Wrong) {
    let mut shape = gallery.shape().map(|(model, dim)| (model.clone(), dim));
    let mut ahead: HashMap<ImageId, ImageState> = HashMap::new();
    let (mut steps, mut wrong) = (Vec::new(), Vec::new());
    for entry in entries {
        let checked = Part::read(&entry.subject, &entry.payload).and_then(|part| {
            part.check_model(shape.as_ref().map(|(model, dim)| (model, *dim)))?;
            Ok(part)
        });
        let part = match checked {
            Ok(part) => part,
            Err(error) => {
                wrong.push((entry, error));
                continue;
            }
        };
        let image = part.image();
        let before = ahead.get(&image).copied().unwrap_or_else(|| gallery.state(image));
        if let Some(after) = part.advance(before) {
            ahead.insert(image, after);
            shape = shape.or_else(|| part.shape().map(|(model, dim)| (model.clone(), dim)));
            steps.push(Step { part, before, after });
        }
    }
    (steps, wrong)
}

#[cfg(test)]
pub(crate) mod tests {
    use weimocir_domain::{Beta, Composed};
    use weimocir_index::LEARN;
    use weimocir_wire::vectors::{CaptionsPart, ImagePart};

    use weimocir_runtime::LogIdentity;

    use super::*;
    use crate::{
        load,
        part::tests::{DIM, captions, model, picture},
    };

    pub(crate) fn vector(n: u32) -> Vec<f32> {
        (0..DIM as u32).map(|i| ((n * 7 + i * 13 + 1) as f32).sin() + 1.5).collect()
    }

    /// Images `from..to`, every third with a caption.
    pub(crate) fn parts(from: u32, to: u32) -> Vec<Part> {
        let mut parts = Vec::new();
        for n in from..to {
            let (image, revision) = (ImageId::of(&n.to_be_bytes()), u64::from(n) + 1);
            let Part::Image(part) = picture(0, revision, &vector(n)) else { continue };
            parts.push(Part::Image(ImagePart { image, ..part }));
            let caption = vector(n + 50_000);
            if n % 3 == 0
                && let Part::Captions(part) = captions(0, revision, [&caption[..]])
            {
                parts.push(Part::Captions(CaptionsPart { image, ..part }));
            }
        }
        parts
    }

    #[test]
    fn codes_learned_beside_the_work_find_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogIdentity { created: "monday".into(), last_sequence: 0 };
        let shelf = load::open(&folder.path().join("shard-0"), &log).unwrap().shelf;
        let images = LEARN as u32 + 500;
        shelf.gallery_mut().apply(parts(0, images)).unwrap();
        assert!(shelf.gallery().learning_is_due());

        // what comes, changes and goes meanwhile is in the codes as well
        std::thread::scope(|scope| {
            let learning = scope.spawn(|| learn(&shelf, &CancellationToken::new()));
            for n in 0..40 {
                let plan = shelf.gallery().plan(parts(images + n * 10, images + n * 10 + 10));
                shelf.gallery_mut().commit(plan.unwrap()).unwrap();
            }
            learning.join().unwrap().unwrap();
        });
        assert!(!shelf.gallery().learning_is_due());
        let images = images + 400;
        let mut plain = Gallery::default();
        plain.apply(parts(0, images)).unwrap();
        assert_eq!((plain.images(), plain.shape()), (u64::from(images), Some((&model(), DIM))));
        for n in 0..20 {
            let image = vector(n * 100 + 77);
            let length = image.iter().map(|x| x * x).sum::<f32>().sqrt();
            let image = image.iter().map(|x| x / length).collect();
            let query = Composed { image, captions: vec![], beta: Beta::new(0.3).unwrap() };
            let found = shelf.gallery().search(&query, 10, &[], None).unwrap();
            assert_eq!(found, plain.search(&query, 10, &[], None).unwrap());
            assert_eq!(found.len(), 10);
        }
    }
}
