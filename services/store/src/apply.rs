//! From the log to disk and then to memory: what a search can see would survive a loss of power.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use weimocir_domain::ImageId;
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

/// Follows the log to the end that it has now, or until `shutdown`.
///
/// # Errors
/// The disk cannot be written.
pub(crate) async fn catch_up(
    bus: &Bus,
    log: &mut ShardLog,
    shelf: &Arc<Shelf>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        match log.is_behind().await {
            Ok(true) => step(bus, log, shelf, shutdown).await?,
            Ok(false) => return Ok(()),
            Err(error) => try_again(&error).await,
        }
    }
    Ok(())
}

/// Follows the log until `shutdown`.
///
/// # Errors
/// The disk cannot be written.
pub(crate) async fn run(
    bus: Bus,
    mut log: ShardLog,
    shelf: Arc<Shelf>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        step(&bus, &mut log, &shelf, &shutdown).await?;
    }
    Ok(())
}

async fn step(
    bus: &Bus,
    log: &mut ShardLog,
    shelf: &Arc<Shelf>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let entries = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        entries = log.next_entries(GROUP) => entries,
    };
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            try_again(&error).await;
            return Ok(());
        }
    };
    let Some(last) = entries.last() else { return Ok(()) };
    let position = Position { log_created: log.identity().created, applied: last.sequence };
    let shelf = shelf.clone();
    let wrong = tokio::task::spawn_blocking(move || put(&shelf, entries, &position))
        .await
        .context("the writer died")??;
    for (entry, error) in wrong {
        tracing::warn!(sequence = entry.sequence, %error, "dead letter");
        // because: the entry stays in the log, so that a letter that is lost loses nothing else
        if let Err(error) = bus.bury_log_entry("store", &entry, &error.to_string()).await {
            tracing::error!(%error, "the dead letter could not be stored");
        }
    }
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
        Err(error) => {
            tracing::error!(%error, "the store cannot be read; rebuilding from the log");
            Ok((Shelf::new(disk.begin_anew()?, Gallery::default()), 0))
        }
    }
}

fn load(disk: &Disk) -> Result<Gallery, DiskError> {
    let mut gallery = Gallery::default();
    for part in disk.parts() {
        gallery.apply(part?);
    }
    Ok(gallery)
}

type Wrong = Vec<(LogEntry, PartError)>;

/// To disk, then to memory. Returns the entries that are wrong.
fn put(shelf: &Shelf, entries: Vec<LogEntry>, position: &Position) -> Result<Wrong, DiskError> {
    let (parts, wrong) = sort_out(entries, &shelf.gallery());
    shelf.disk.write(&parts, position)?;
    let mut gallery = shelf.gallery_mut();
    parts.into_iter().for_each(|(part, _)| gallery.apply(part));
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
