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
    let began = Instant::now();
    let (disk, applied) = Disk::open(folder, log)?;
    tracing::debug!(seconds = began.elapsed().as_secs_f64(), "store opened");
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
    let began = Instant::now();
    if let Some(restored) = saved.load(applied)? {
        tracing::debug!(seconds = began.elapsed().as_secs_f64(), "saved index read");
        match restore(disk, restored, &saved)? {
            Some((gallery, unsaved)) => return Ok((gallery, saved, unsaved)),
            None => tracing::error!(
                "the saved index does not fit the store; making it anew from the vectors"
            ),
        }
    }
    // because: an index that is made anew writes over the files of the one before
    saved.discard()?;
    let mut gallery = Gallery::new(saved.memory());
    gallery.recall(disk.recollections()?);
    let images = gallery.known_images();
    put_back(&mut gallery, disk, &images)?;
    Ok((gallery, saved, images.len() as u64))
}

/// Brings what was saved to where sled is; returns how many images that took, or `None` if it still is
/// not what sled holds.
fn restore(
    disk: &Disk,
    restored: Restored,
    saved: &Saved,
) -> Result<Option<(Gallery, u64)>, DiskError> {
    let Restored { model, mut index, known, applied, lost } = restored;
    let Some(touched) = disk.touched_after(applied)? else { return Ok(None) };
    // because: they go to other places than the saved table says
    disk.touch(&lost)?;
    let touched: HashSet<ImageId> = touched.into_iter().chain(lost).collect();
    let touched: Vec<ImageId> = touched.into_iter().collect();
    for &image in &touched {
        index.remove(image);
    }
    let mut gallery = match known {
        Some(known) => {
            let mut gallery = Gallery::of_known(known, saved.memory());
            gallery.recall(disk.recollections_of_some(&touched)?);
            gallery
        }
        None => {
            let mut gallery = Gallery::new(saved.memory());
            gallery.recall(disk.recollections()?);
            gallery
        }
    };
    if let Err(error) = disk.check_records(gallery.states()) {
        tracing::error!(%error, "what is saved beside the store is not what it holds");
        return Ok(None);
    }
    gallery.seat(model, index);
    put_back(&mut gallery, disk, &touched)?;
    // because: images that wait for their pixels have vectors, and no row
    let waiting = gallery.waiting_images();
    put_back(&mut gallery, disk, &waiting)?;
    Ok(gallery.is_whole().then_some((gallery, touched.len() as u64)))
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
