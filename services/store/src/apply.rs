//! From the log to disk and then to memory: what a search can see would survive a loss of power.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::task::JoinHandle;
use weimocir_domain::ImageId;
use weimocir_index::IndexError;
use weimocir_runtime::{Bus, BusError, CancellationToken, LogEntry, LogIdentity, ShardLog};
use weimocir_wire::query::ImageState;

use crate::{
    disk::{Disk, DiskError, Position},
    gallery::Gallery,
    part::{Part, PartError},
    shard::Shelf,
};

/// Entries made durable together.
// because: a sync costs milliseconds whatever it covers, and 26,000 records a second need groups
const GROUP: usize = 500;

/// Brings a shard's disk and memory up to the log.
pub(crate) struct Follower {
    pub bus: Bus,
    pub log: ShardLog,
    pub shelf: Arc<Shelf>,
    pub shutdown: CancellationToken,
    learning: Option<JoinHandle<Result<(), IndexError>>>,
    learning_is_due: bool,
}

impl Follower {
    pub(crate) fn new(
        bus: Bus,
        log: ShardLog,
        shelf: Arc<Shelf>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { bus, log, shelf, shutdown, learning: None, learning_is_due: true }
    }

    /// Follows the log to the end that it has now, or until `shutdown`.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub(crate) async fn catch_up(&mut self) -> anyhow::Result<()> {
        while !self.shutdown.is_cancelled() {
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
        Ok(())
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        self.learn_beside().await?;
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
        let log_created = self.log.identity().created;
        let position = Position { log_created, applied: last.sequence };
        let shelf = self.shelf.clone();
        let put = tokio::task::spawn_blocking(move || {
            let wrong = put(&shelf, entries, &position)?;
            anyhow::Ok((wrong, shelf.gallery().learning_is_due()))
        });
        let wrong;
        (wrong, self.learning_is_due) = put.await.context("the writer died")??;
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
fn learn(shelf: &Shelf, shutdown: &CancellationToken) -> Result<(), IndexError> {
    let start = Instant::now();
    if !shelf.gallery().learning_is_due() {
        return Ok(());
    }
    shelf.gallery_mut().begin_learning();
    let Some(sample) = shelf.gallery().sample()? else { return Ok(()) };
    let mut learned = sample.learn();
    while !shelf.gallery().advance(&mut learned)? {
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
    shelf.gallery_mut().adopt(learned)?;
    let images = shelf.gallery().images();
    tracing::info!(images, seconds = start.elapsed().as_secs_f64(), "codes learned");
    Ok(())
}

async fn try_again(error: &BusError) {
    tracing::warn!(%error, "the log cannot be read; trying again");
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Opens the folder and loads what it holds; returns how far the log was applied. A folder with a
/// record that cannot be read is set aside and begun anew.
///
/// # Errors
/// The folder is in use, or cannot be made.
pub(crate) fn open(folder: &Path, log: &LogIdentity) -> Result<(Shelf, u64), DiskError> {
    let (disk, applied) = Disk::open(folder, log)?;
    // because: sled panics on some damaged files, and only when it reads them
    let loaded = catch_unwind(AssertUnwindSafe(|| load(&disk)));
    match loaded.unwrap_or_else(|_| Err(disk.panicked())) {
        Ok(gallery) => Ok((Shelf::new(disk, gallery), applied)),
        Err(error @ DiskError::Index(_)) => Err(error),
        Err(error) => {
            tracing::error!(%error, "the store cannot be read; rebuilding from the log");
            Ok((Shelf::new(disk.begin_anew()?, Gallery::default()), 0))
        }
    }
}

fn load(disk: &Disk) -> Result<Gallery, DiskError> {
    let mut gallery = Gallery::default();
    let mut parts = disk.parts();
    loop {
        let group = parts.by_ref().take(GROUP).collect::<Result<Vec<_>, _>>()?;
        if group.is_empty() {
            return Ok(gallery);
        }
        gallery.apply(group)?;
    }
}

type Wrong = Vec<(LogEntry, PartError)>;

/// To disk, then to memory. Returns the entries that are wrong.
fn put(shelf: &Shelf, entries: Vec<LogEntry>, position: &Position) -> Result<Wrong, DiskError> {
    let (parts, wrong) = sort_out(entries, &shelf.gallery());
    shelf.disk.write(&parts, position)?;
    let plan = shelf.gallery().plan(parts.into_iter().map(|(part, _)| part))?;
    shelf.gallery_mut().commit(plan)?;
    Ok(wrong)
}

/// The entries that still hold, in order, each with its image's state after it; and the wrong ones.
fn sort_out(entries: Vec<LogEntry>, gallery: &Gallery) -> (Vec<(Part, ImageState)>, Wrong) {
    let mut shape = gallery.shape().map(|(model, dim)| (model.clone(), dim));
    let mut ahead: HashMap<ImageId, ImageState> = HashMap::new();
    let (mut parts, mut wrong) = (Vec::new(), Vec::new());
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
        let state = ahead.get(&image).copied().unwrap_or_else(|| gallery.state(image));
        if let Some(state) = part.advance(state) {
            ahead.insert(image, state);
            shape = shape.or_else(|| part.shape().map(|(model, dim)| (model.clone(), dim)));
            parts.push((part, state));
        }
    }
    (parts, wrong)
}

#[cfg(test)]
mod tests {
    use weimocir_domain::{Beta, Composed};
    use weimocir_index::LEARN;
    use weimocir_wire::vectors::{CaptionsPart, ImagePart};

    use super::*;
    use crate::part::tests::{DIM, captions, model, picture};

    fn vector(n: u32) -> Vec<f32> {
        (0..DIM as u32).map(|i| ((n * 7 + i * 13 + 1) as f32).sin() + 1.5).collect()
    }

    /// Images `from..to`, every third with a caption.
    fn parts(from: u32, to: u32) -> Vec<Part> {
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
        let (shelf, _) = open(&folder.path().join("shard-0"), &log).unwrap();
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
