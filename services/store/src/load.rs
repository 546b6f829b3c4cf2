//! From disk to memory: what a shard knows at its start.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Instant,
};

use weimocir_domain::ImageId;
use weimocir_index::IndexError;
use weimocir_runtime::LogIdentity;

use crate::{
    disk::{Disk, DiskError},
    gallery::Gallery,
    saved::{Restored, Saved},
    shard::Shelf,
};

/// Images that are put in at once.
const GROUP: usize = 1_000;

/// What a shard begins with.
#[derive(Debug)]
pub(crate) struct Opened {
    pub shelf: Shelf,
    /// How far the log was applied.
    pub applied: u64,
    /// Images that were put in since the index was saved.
    pub unsaved: u64,
}

/// Opens the folder and loads what it holds. A folder with a record that cannot be read is set aside
/// and begun anew.
///
/// # Errors
/// The folder is in use, or cannot be made or changed; there is no memory.
pub(crate) fn open(folder: &Path, log: &LogIdentity) -> Result<Opened, DiskError> {
    let (disk, applied) = Disk::open(folder, log)?;
    // because: sled panics on some damaged files, and only when it reads them
    let loaded = catch_unwind(AssertUnwindSafe(|| load(&disk, log, applied)));
    match loaded.unwrap_or_else(|_| Err(disk.panicked())) {
        Ok((gallery, saved, unsaved)) => {
            Ok(Opened { shelf: Shelf::new(disk, gallery, saved), applied, unsaved })
        }
        Err(error @ (DiskError::Index(IndexError::Memory { .. }) | DiskError::Stuck { .. })) => {
            Err(error)
        }
        Err(error) => {
            tracing::error!(%error, "the store cannot be read; rebuilding from the log");
            let disk = disk.begin_anew()?;
            let saved = beside(&disk, log);
            let gallery = Gallery::new(saved.memory());
            Ok(Opened { shelf: Shelf::new(disk, gallery, saved), applied: 0, unsaved: 0 })
        }
    }
}

fn beside(disk: &Disk, log: &LogIdentity) -> Saved {
    Saved::new(disk.path().join("index"), &log.created)
}

fn load(disk: &Disk, log: &LogIdentity, applied: u64) -> Result<(Gallery, Saved, u64), DiskError> {
    let mut saved = beside(disk, log);
    let (recollections, restored) = rayon::join(|| disk.recollections(), || saved.load(applied));
    let mut gallery = Gallery::recall(recollections?, saved.memory());
    if let Some(restored) = restored? {
        if let Some(unsaved) = restore(&mut gallery, disk, restored)? {
            return Ok((gallery, saved, unsaved));
        }
        tracing::error!("the saved index does not fit the store; making it anew from the vectors");
        gallery.unseat();
    }
    // because: an index that is made anew writes over the files of the one before
    saved.discard()?;
    let images = gallery.known_images();
    put_back(&mut gallery, disk, &images)?;
    Ok((gallery, saved, images.len() as u64))
}

/// Brings the index to where sled is; returns how many images that took, or `None` if it still does
/// not hold what sled does.
fn restore(
    gallery: &mut Gallery,
    disk: &Disk,
    restored: Restored,
) -> Result<Option<u64>, DiskError> {
    let Restored { model, mut index, applied, lost } = restored;
    let Some(touched) = disk.touched_after(applied)? else { return Ok(None) };
    // because: they go to other places than the saved table says
    disk.touch(&lost)?;
    let touched: HashSet<ImageId> = touched.into_iter().chain(lost).collect();
    for &image in &touched {
        index.remove(image);
    }
    gallery.seat(model, index);
    let images: Vec<ImageId> = touched.into_iter().collect();
    put_back(gallery, disk, &images)?;
    // because: images that wait for their pixels have vectors, and no row
    let waiting = gallery.waiting_images();
    put_back(gallery, disk, &waiting)?;
    Ok(gallery.is_whole().then_some(images.len() as u64))
}

fn put_back(gallery: &mut Gallery, disk: &Disk, images: &[ImageId]) -> Result<(), DiskError> {
    let mut told = Instant::now();
    for (n, group) in images.chunks(GROUP).enumerate() {
        gallery.put_back(disk.vectors_of(group)?)?;
        if told.elapsed().as_secs() >= 5 {
            tracing::info!(done = (n + 1) * GROUP, of = images.len(), "putting images in");
            told = Instant::now();
        }
    }
    Ok(())
}
