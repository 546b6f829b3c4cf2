//! One shard: its disk and memory, the task that follows the log, and the questions it answers.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use anyhow::Context;
use tokio::sync::watch;
use weimocir_domain::{Collection, FieldKinds, Shard};
use weimocir_runtime::{Bus, CancellationToken, Service, ShardLog};

use crate::{StoreArgs, apply, disk::Disk, gallery::Gallery, serve};

#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub collection: Collection,
    pub shard: Shard,
    pub args: StoreArgs,
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
}

impl Shelf {
    pub(crate) fn new(disk: Disk, gallery: Gallery) -> Self {
        Self { disk, gallery: RwLock::new(gallery) }
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
    service: Arc<Service>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Place { collection, shard, .. } = &place;
    let mut log = ShardLog::open(&bus, collection, *shard).await?;
    let (folder, identity) = (place.folder(), log.identity());
    let declared = fields.borrow_and_update().clone();
    let (shelf, applied) = tokio::task::spawn_blocking(move || {
        let (shelf, applied) = apply::open(&folder, &identity)?;
        shelf.gallery_mut().declare(&declared);
        anyhow::Ok((Arc::new(shelf), applied))
    })
    .await
    .context("the loader died")??;
    log.follow_after(applied);
    let images = shelf.gallery().images();
    let end = log.identity().last_sequence;
    tracing::info!(%collection, %shard, images, applied, end, "shard loaded");

    // because: a search would take what is here for all there is; until then another store of this
    // shard answers, or the answer says that the shard is missing
    let mut follower = apply::Follower::new(bus, log, shelf.clone(), shutdown.clone());
    follower.catch_up().await?;
    follower.learn_first().await?;
    serve::start(&place, &shelf, &service, &shutdown).await?;
    tracing::info!(%collection, %shard, images = shelf.gallery().images(), "shard serves");
    tokio::try_join!(follower.run(), follow_fields(fields, shelf, shutdown))?;
    Ok(())
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
