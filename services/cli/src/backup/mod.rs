//! `weimocir backup`: a collection into one file, from its logs and the object store, while the
//! pipeline goes on. `file` is what that file looks like, `check` what may be in it, `restore` the
//! way back.
//!
//! A log keeps the last word on each part alone, so what it said at a moment of the past cannot be
//! read any more. Each log is therefore read to its end: the file has what it said at that position,
//! all that was there when the backup began among it, and nothing of later.

mod check;
mod file;
mod restore;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use weimocir_domain::{Collection, ImageId, Shard};
use weimocir_runtime::{
    Bus, CollectionError, Collections, LogEntry, PictureError, Pictures, ShardLog, Trying,
    on_signal,
};
use weimocir_wire::{WireError, query::ImageState, subjects, vectors::CollectionRecord};

use crate::{Done, Shared, ingest::bar, say, say_json};
use check::Check;
use file::{Contents, Counts, Entry, Head, Kind, Writer, Written};

pub(crate) use restore::{RestoreArgs, run as restore};

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Gallery to back up [default: that of --collection]
    #[arg(value_name = "COLLECTION")]
    name: Option<Collection>,
    /// File to write, or a folder, where it is named by collection and time. A file that is there is
    /// left alone
    #[arg(long, value_name = "DIR|FILE")]
    to: PathBuf,
}

/// Entries on their way between server and disk.
// because: a disk that pauses for a moment is not waited for; of pictures, the bytes in hand are bounded
const ON_THE_WAY: usize = 64;
/// Entries of a log taken at once.
const AT_ONCE: usize = 500;
/// Pictures that are read or stored at the same time.
const PICTURES: usize = 16;
const STOPPED: &str = "stopped by a signal before it was done";

pub(crate) async fn run(args: BackupArgs, shared: Shared) -> anyhow::Result<Done> {
    let bus = shared.connect().await?;
    let name = args.name.unwrap_or(shared.collection);
    let record = read_record(&bus, &name).await?;
    let path = place(args.to, &name)?;
    // because: the file under its temporary name must go
    let stop = on_signal()?;
    let mut writer = Writer::create(&path, &Head::of(&record))?;
    let (send, mut entries) = mpsc::channel::<Entry>(ON_THE_WAY);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(entry) = entries.blocking_recv() {
            writer.add(&entry)?;
        }
        anyhow::Ok(writer)
    });
    let mut reading = Reading::new(&bus, record, send, !shared.json);
    let read = stop.run_until_cancelled(Box::pin(reading.read())).await;
    let contents = reading.finish();
    // because: a disk that is full makes the reading end, and is the reason
    let writer = writing.await.context("the writer died")??;
    read.context(STOPPED)??;
    let contents = stop.run_until_cancelled(contents).await.context(STOPPED)??;
    let (written, contents) =
        tokio::task::spawn_blocking(move || anyhow::Ok((writer.finish(&contents)?, contents)))
            .await
            .context("the writer died")??;
    tell(&path, &written, &contents, shared.json)
}

/// Where the file goes.
///
/// # Errors
/// A folder that is not there.
fn place(to: PathBuf, collection: &Collection) -> anyhow::Result<PathBuf> {
    if !to.is_dir() {
        let names_folder = to.as_os_str().as_encoded_bytes().ends_with(b"/");
        ensure!(!names_folder, "there is no folder {}: make it first", to.display());
        return Ok(to);
    }
    let now = OffsetDateTime::now_utc();
    let (month, (hour, minute, second)) = (u8::from(now.month()), now.time().as_hms());
    let date = format!("{}{month:02}{:02}", now.year(), now.day());
    Ok(to.join(format!("{collection}-{date}T{hour:02}{minute:02}{second:02}Z.tar")))
}

async fn read_record(bus: &Bus, name: &Collection) -> Result<CollectionRecord, CollectionError> {
    let mut trying = Trying::begin();
    loop {
        let read = match Collections::open(bus).await {
            Ok(collections) => collections.get(name).await,
            Err(error) => Err(error.into()),
        };
        match read {
            Err(error @ CollectionError::Bus(_)) => trying.after(error).await?,
            read => return read,
        }
    }
}

async fn read_picture(pictures: &Pictures, image: ImageId) -> Result<Bytes, PictureError> {
    let mut trying = Trying::begin();
    loop {
        match pictures.get(image).await {
            Err(error @ PictureError::Failed { .. }) => trying.after(error).await?,
            read => return read,
        }
    }
}

/// Reads logs and pictures, and has them written.
struct Reading<'a> {
    bus: &'a Bus,
    record: CollectionRecord,
    send: mpsc::Sender<Entry>,
    show: bool,
    check: Check,
    states: HashMap<ImageId, ImageState>,
    positions: Vec<u64>,
    counts: Counts,
    without_picture: Vec<ImageId>,
    left_out: u64,
}

impl<'a> Reading<'a> {
    fn new(bus: &'a Bus, record: CollectionRecord, send: mpsc::Sender<Entry>, show: bool) -> Self {
        Self {
            bus,
            check: Check::new(record.shards, record.serving_model().cloned()),
            record,
            send,
            show,
            states: HashMap::new(),
            positions: Vec::new(),
            counts: Counts::default(),
            without_picture: Vec::new(),
            left_out: 0,
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let mut logs = Vec::with_capacity(usize::from(self.record.shards));
        for shard in 0..self.record.shards {
            logs.push(ShardLog::open(self.bus, self.record.generation(), Shard(shard)).await?);
        }
        let parts = logs.iter().map(ShardLog::messages).sum();
        let progress = bar("parts", parts, self.show);
        for log in logs {
            let position = self.read_log(log, &progress).await?;
            self.positions.push(position);
        }
        progress.abandon();
        // because: a picture is stored before it is submitted, so that of every part it is there
        self.read_pictures().await
    }

    /// To its end, which it gives.
    async fn read_log(&mut self, mut log: ShardLog, progress: &ProgressBar) -> anyhow::Result<u64> {
        let begun = log.identity().last_sequence;
        while let Some(entries) = log.next_to_end(AT_ONCE).await? {
            for entry in entries {
                progress.inc(1);
                self.take(entry).await?;
            }
        }
        // because: what was deleted at a log's end is never handed over
        Ok(log.position().max(begun))
    }

    async fn take(&mut self, entry: LogEntry) -> anyhow::Result<()> {
        let LogEntry { sequence, subject, payload, .. } = entry;
        let read = subjects::read_vectors(&subject).context("its subject is none of a part's");
        let checked = read.and_then(|(_, shard, image, part)| {
            let revision = self.check.part((shard, image, part), &payload)?;
            Ok((shard, image, part, revision))
        });
        let (shard, image, part, revision) = match checked {
            Ok(checked) => checked,
            Err(error) if is_of_another_version(&error) => {
                return Err(error.context(format!(
                    "{subject} cannot be backed up: use a `weimocir` of the workers' version"
                )));
            }
            Err(error) => {
                tracing::warn!(sequence, subject, "left out: {error:#}");
                self.left_out += 1;
                return Ok(());
            }
        };
        let state = self.states.entry(image).or_default();
        *state = state.advance(part, revision).unwrap_or(*state);
        self.put(Kind::Part(shard, image, part), payload.into()).await
    }

    async fn read_pictures(&mut self) -> anyhow::Result<()> {
        let pictures = Pictures::open(self.bus).await?;
        let held = self.states.iter().filter(|(_, state)| state.image.is_some());
        let mut images: Vec<ImageId> = held.map(|(image, _)| *image).collect();
        images.sort();
        let progress = bar("pictures", images.len() as u64, self.show);
        let reading = images.into_iter().map(|image| {
            let pictures = &pictures;
            async move { (image, read_picture(pictures, image).await) }
        });
        let mut reading = stream::iter(reading).buffered(PICTURES);
        while let Some((image, read)) = reading.next().await {
            match read {
                Ok(bytes) => self.put(Kind::Picture(image), bytes).await?,
                Err(error @ PictureError::Failed { .. }) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!("left out: {error}");
                    self.without_picture.push(image);
                }
            }
            progress.inc(1);
        }
        progress.abandon();
        Ok(())
    }

    async fn put(&mut self, kind: Kind, bytes: Bytes) -> anyhow::Result<()> {
        self.counts.count(kind);
        let sent = self.send.send(Entry { kind, bytes }).await;
        sent.ok().context("the file cannot be written")
    }

    /// Says that this was all; what it was is known when the collection's record is read once more.
    fn finish(self) -> impl Future<Output = anyhow::Result<Contents>> + use<'a> {
        let Self { bus, record, positions, counts, without_picture, left_out, .. } = self;
        async move {
            // because: a model is bound, and a field declared, before the first part that has it
            let collection = read_record(bus, &record.name).await?;
            let is_same = (collection.shards, collection.generation())
                == (record.shards, record.generation());
            ensure!(is_same, "the collection was made anew or reindexed meanwhile: run it again");
            // because: where it is restored, it is a collection of its own
            let collection = CollectionRecord {
                model: collection.serving_model().cloned(),
                fields: collection.fields,
                ..CollectionRecord::new(collection.name, collection.shards)
            };
            Ok(Contents { collection, positions, counts, without_picture, left_out })
        }
    }
}

fn is_of_another_version(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(WireError::Version { .. }))
}

fn tell(path: &Path, written: &Written, contents: &Contents, json: bool) -> anyhow::Result<Done> {
    let Contents { collection, positions, counts, without_picture, left_out } = contents;
    let Written { bytes, sha256 } = written;
    if json {
        say_json(&serde_json::json!({
            "file": path, "bytes": bytes, "sha256": sha256, "collection": collection.name,
            "positions": positions, "counts": counts, "without_picture": without_picture,
            "left_out": left_out,
        }))?;
    } else {
        say(format_args!("{}: {} bytes, SHA-256 {sha256}", path.display(), bytes));
        say(format_args!(
            "{} images, captions of {}, {} tombstones, {} pictures",
            counts.images, counts.captions, counts.tombstones, counts.pictures
        ));
        if !without_picture.is_empty() {
            say(format_args!("{} images have no picture any more", without_picture.len()));
        }
        if *left_out > 0 {
            say(format_args!("{left_out} messages of the logs are no parts, and were left out"));
        }
    }
    let whole = without_picture.is_empty() && *left_out == 0;
    Ok(if whole { Done::Fully } else { Done::Partly })
}
