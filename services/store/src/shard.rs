//! One shard: its disk and memory, the task that follows the log, and the questions it answers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{sync::watch, time::sleep};
use weimocir_domain::{Collection, FieldKinds, ImageId, Shard};
use weimocir_index::IndexError;
use weimocir_runtime::{Awaited, Bus, CancellationToken, Service, ShardLog};

use crate::{
    StoreArgs,
    apply::{Follower, Gauges},
    disk::{Disk, DiskError},
    gallery::Gallery,
    load::{self, Opened},
    saved::Saved,
    serve,
    simulated::SimulatedScan,
};

#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The name of the logs.
    pub collection: Collection,
    /// The collection's own, where that is a generation's.
    pub known_as: Collection,
    pub shard: Shard,
    pub args: StoreArgs,
    pub scan: Option<SimulatedScan>,
}

impl Place {
    fn folder(&self) -> PathBuf {
        self.args.data.join(self.collection.as_str()).join(format!("shard-{}", self.shard))
    }
}

/// What a shard holds. One task writes; any number of searches read.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub disk: Disk,
    gallery: RwLock<Gallery>,
    saved: Mutex<Saved>,
    changing: Mutex<()>,
}

/// After which a log that cannot be opened is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Rows that are looked through for damage at once.
// because: they are coded again in some ten milliseconds, during which no search runs
const HEALED: u32 = 1 << 9;

impl Shelf {
    pub(crate) fn new(disk: Disk, gallery: Gallery, saved: Saved) -> Self {
        Self {
            disk,
            gallery: RwLock::new(gallery),
            saved: Mutex::new(saved),
            changing: Mutex::new(()),
        }
    }

    /// Held from a change of the disk to that of memory, in which time the two differ.
    pub(crate) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while the index is being saved.
    pub(crate) fn saved(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the gallery, and again after every image whose vectors turn out to be damaged was put in
    /// anew from the disk.
    pub(crate) fn healing<T>(
        &self,
        mut ask: impl FnMut(&Gallery) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let mut healed = None;
        loop {
            let answer = ask(&self.gallery());
            match answer {
                // because: one that is damaged again at once is beyond help
                Err(IndexError::Corrupt { image }) if healed != Some(image) => {
                    self.heal(image)?;
                    healed = Some(image);
                }
                answer => return answer,
            }
        }
    }

    /// Puts in anew what is damaged around an image.
    // because: where one record is damaged, others of its file are likely to be
    fn heal(&self, image: ImageId) -> Result<(), IndexError> {
        let row = self.gallery().indexed().and_then(|(_, index)| index.row(image));
        // because: one that was removed meanwhile is damaged no more
        row.map_or(Ok(()), |row| self.heal_rows(row - row % HEALED))
    }

    fn heal_rows(&self, start: u32) -> Result<(), IndexError> {
        let look = || match self.gallery().indexed() {
            Some((_, index)) => index.damaged(start..start + HEALED),
            None => Vec::new(),
        };
        if look().is_empty() {
            return Ok(());
        }
        let _no_change = self.changing();
        // because: others may have healed them meanwhile
        let damaged = look();
        let Some(&first) = damaged.first() else { return Ok(()) };
        tracing::error!(images = damaged.len(), %first, "vectors in memory are not what was stored; reading them from the disk again");
        let read = || self.disk.touch(&damaged).and_then(|()| self.disk.vectors_of(&damaged));
        // because: sled panics on some damaged files
        let vectors = catch_unwind(AssertUnwindSafe(read));
        let vectors = vectors.unwrap_or_else(|_| Err(self.disk.panicked()));
        let vectors = vectors.map_err(|error: DiskError| {
            tracing::error!(%error, "the disk cannot help");
            IndexError::Corrupt { image: first }
        })?;
        self.gallery_mut().put_back(vectors)
    }

    /// Reads all vectors, and heals what is damaged.
    pub(crate) fn read_through(&self, shutdown: &CancellationToken) -> Result<(), IndexError> {
        let rows = self.gallery().indexed().map_or(0, |(_, index)| index.rows());
        for start in (0..rows).step_by(HEALED as usize) {
            if shutdown.is_cancelled() {
                break;
            }
            let began = Instant::now();
            self.heal_rows(start)?;
            // because: searches need the processor and the disk as well
            std::thread::sleep(began.elapsed());
        }
        Ok(())
    }

    // because: a change that fails half-way ends the worker, which reads its disk anew
    pub(crate) fn gallery(&self) -> RwLockReadGuard<'_, Gallery> {
        self.gallery.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gallery_mut(&self) -> RwLockWriteGuard<'_, Gallery> {
        self.gallery.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn run(
    bus: Bus,
    place: Place,
    mut fields: watch::Receiver<FieldKinds>,
    (service, starting): (Arc<Service>, Awaited),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Place { collection, shard, .. } = &place;
    let log = loop {
        match ShardLog::open(&bus, collection, *shard).await {
            Ok(log) => break log,
            // because: the logs of a generation may be deleted while its shards start
            Err(error) => tracing::warn!(%collection, %shard, %error, "trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = sleep(AGAIN) => {}
        }
    };
    let (folder, identity) = (place.folder(), log.identity());
    let declared = fields.borrow_and_update().clone();
    let began = Instant::now();
    let Opened { shelf, applied, unsaved } = tokio::task::spawn_blocking(move || {
        let opened = load::open(&folder, &identity)?;
        opened.shelf.gallery_mut().declare(&declared);
        anyhow::Ok(opened)
    })
    .await
    .context("the loader died")??;
    let images = shelf.gallery().images();
    let end = log.identity().last_sequence;
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(%collection, %shard, images, applied, end, seconds, "shard loaded");

    let shelf = Arc::new(shelf);
    let gauges = Gauges::of(collection, *shard);
    let follower =
        Follower::new(bus, log, (shelf.clone(), applied, unsaved), gauges, shutdown.clone());
    let ran =
        serve_and_follow(&place, &shelf, follower, (fields, &service, starting), shutdown).await;
    if let Err(error) = &ran
        && error
            .chain()
            .any(|cause| matches!(cause.downcast_ref(), Some(IndexError::Corrupt { .. })))
    {
        // because: the next start then reads all vectors, and the log if they are not to be had
        tokio::task::spawn_blocking(move || shelf.saved().disown()).await??;
    }
    ran
}

async fn serve_and_follow(
    place: &Place,
    shelf: &Arc<Shelf>,
    mut follower: Follower,
    (fields, service, starting): (watch::Receiver<FieldKinds>, &Service, Awaited),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Place { collection, shard, .. } = place;
    // because: a search would take what is here for all there is; until then another store of this
    // shard answers, or the answer says that the shard is missing
    follower.catch_up().await?;
    follower.learn_first().await?;
    serve::start(place, shelf, service, &shutdown).await?;
    drop(starting);
    let (images, read) = (shelf.gallery().images(), follower.read);
    tracing::info!(%collection, %shard, images, read, "shard serves");
    let reading = read_through(shelf.clone(), shutdown.clone());
    tokio::try_join!(follower.run(), follow_fields(fields, shelf.clone(), shutdown), reading)?;
    Ok(())
}

/// Has all vectors read once, so that damage is found before a search does.
async fn read_through(shelf: Arc<Shelf>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let read = tokio::task::spawn_blocking(move || shelf.read_through(&shutdown));
    Ok(read.await.context("the reader of vectors died")??)
}

/// Reads the metadata by the fields that the collection declares, whenever it declares more.
async fn follow_fields(
    mut fields: watch::Receiver<FieldKinds>,
    shelf: Arc<Shelf>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            changed = fields.changed() => if changed.is_err() { return Ok(()) },
        }
        let (shelf, declared) = (shelf.clone(), fields.borrow_and_update().clone());
        tokio::task::spawn_blocking(move || shelf.gallery_mut().declare(&declared))
            .await
            .context("the reader of metadata died")?;
    }
}
