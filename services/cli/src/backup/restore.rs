//! `weimocir restore`: a backup's collection into a server, after all of the file was read and
//! compared. What the server has of newer word stays, so that the same file again changes nothing,
//! and a restore that was interrupted is simply run again.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;
use weimocir_domain::{Collection, FieldKinds, ImageId, Revision};
use weimocir_runtime::{Bus, CollectionError, Collections, Pictures, on_signal};
use weimocir_wire::{query::ImageState, subjects::Part, vectors::CollectionRecord};

use super::{
    PICTURES, STOPPED,
    check::Check,
    file::{Contents, Counts, Entry, Kind, Reader},
};
use crate::{Done, Shared, ingest::bar, say, say_json};

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// What `weimocir backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Restore under this name instead of the collection's own
    #[arg(long = "as", value_name = "NAME")]
    name: Option<Collection>,
}

/// Parts that the server is to acknowledge at the same time, and as many read ahead.
const PARTS: usize = 64;

#[derive(Debug, Serialize)]
struct Restored {
    collection: Collection,
    /// Parts that the server took; it had newer word, or the same, of the others.
    parts: u64,
    #[serde(flatten)]
    counts: Counts,
}

pub(crate) async fn run(args: RestoreArgs, shared: Shared) -> anyhow::Result<Done> {
    let show = !shared.json;
    let verifying = tokio::task::spawn_blocking(move || Backup::verify(&args.file, show));
    let mut backup = verifying.await.context("the reader died")??;
    let bus = shared.connect().await?;
    let name = args.name.unwrap_or(backup.contents.collection.name.clone());
    // because: the collection is made to its end, or the server would take no submissions
    let stop = on_signal()?;
    let log = make_collection(&bus, &name, &backup).await?;
    let counts = backup.contents.counts;
    let pictures = Pictures::open(&bus).await?;
    let progress = bar("pictures", counts.pictures, show);
    let put = |entry: Entry| {
        let pictures = &pictures;
        async move { Ok(pictures.put(&entry.bytes).await.map(|_| true)?) }.boxed()
    };
    let putting = put_all(backup, Wanted::Pictures, &progress, put);
    (backup, _) = stop.run_until_cancelled(putting).await.context(STOPPED)??;
    let progress = bar("parts", counts.parts(), show);
    let put = |entry| put_part(&bus, &log, entry).boxed();
    let putting = put_all(backup, Wanted::Parts, &progress, put);
    let (_, parts) = stop.run_until_cancelled(putting).await.context(STOPPED)??;
    tell(&Restored { collection: name, parts, counts }, shared.json)
}

fn tell(restored: &Restored, json: bool) -> anyhow::Result<Done> {
    let Restored { collection, parts, counts } = restored;
    if json {
        say_json(restored)?;
    } else {
        say(format_args!(
            "{collection}: {parts} parts restored, {} were there; {} pictures",
            counts.parts() - parts,
            counts.pictures
        ));
    }
    Ok(Done::Fully)
}

/// A file that is whole and makes sense.
#[derive(Debug)]
struct Backup {
    reader: Reader,
    contents: Contents,
    /// What holds of each image when all of the file is read.
    states: HashMap<ImageId, ImageState>,
}

impl Backup {
    fn verify(path: &Path, show: bool) -> anyhow::Result<Self> {
        let length = std::fs::metadata(path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        let progress = bar("verified", length, show);
        let mut reader = Reader::open(path, |some| progress.inc(some))?;
        progress.abandon();
        let mut check = Check::new(reader.head.shards, None);
        let (mut states, mut counts) = (HashMap::<_, ImageState>::new(), Counts::default());
        let contents = reader.read(
            |_| true,
            |Entry { kind, bytes }| {
                counts.count(kind);
                match kind {
                    Kind::Part(shard, image, part) => {
                        let revision = check.part((shard, image, part), &bytes);
                        let revision = revision.with_context(|| format!("{kind:?}"))?;
                        let state = states.entry(image).or_default();
                        *state = state.advance(part, revision).unwrap_or(*state);
                    }
                    Kind::Picture(image) => {
                        ensure!(ImageId::of(&bytes) == image, "the picture {image} is another");
                    }
                }
                Ok(true)
            },
        );
        let contents = contents
            .and_then(|contents| {
                let contents = contents.context("it has no end")?;
                ensure!(contents.counts == counts, "it has not the entries that it counts");
                ensure!(contents.collection.shards == reader.head.shards, "its shards differ");
                Ok(contents)
            })
            .with_context(|| format!("{} makes no sense", path.display()))?;
        Ok(Self { reader, contents, states })
    }

    /// The greatest revision of anything in it.
    fn last_revision(&self) -> Revision {
        let of = |state: &ImageState| state.image.max(state.captions).max(state.tombstone);
        self.states.values().filter_map(of).max().unwrap_or_default()
    }

    /// Sends the wanted entries until nobody listens.
    fn send(&mut self, wanted: Wanted, send: &mpsc::Sender<Entry>) -> anyhow::Result<()> {
        let states = &self.states;
        let is_wanted = |kind| match (wanted, kind) {
            (Wanted::Pictures, Kind::Picture(_)) => true,
            (Wanted::Parts, Kind::Part(_, image, part)) => holds(states, image, part),
            _ => false,
        };
        self.reader.read(is_wanted, |entry| Ok(send.blocking_send(entry).is_ok()))?;
        Ok(())
    }
}

/// Whether the file does not itself say that the part is deleted.
fn holds(states: &HashMap<ImageId, ImageState>, image: ImageId, part: Part) -> bool {
    states.get(&image).is_some_and(|state| match part {
        Part::Image => state.image.is_some(),
        Part::Captions => state.captions.is_some(),
        Part::Tombstone => state.tombstone.is_some(),
    })
}

/// The collection as the backup has it, and revisions that go on behind the backup's. Gives the name of
/// the logs that serve.
async fn make_collection(
    bus: &Bus,
    name: &Collection,
    backup: &Backup,
) -> anyhow::Result<Collection> {
    let CollectionRecord { shards, model, fields, .. } = &backup.contents.collection;
    let collections = Collections::open(bus).await?;
    match collections.get(name).await {
        Ok(held) => check_same(&held, &backup.contents.collection)?,
        Err(CollectionError::Unknown { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    bus.provision().await?;
    bus.pass_revision(backup.last_revision()).await?;
    collections.ensure(name, *shards).await?;
    if let Some(model) = model {
        collections.bind(name, model).await?;
    }
    let record = collections.declare(name, fields).await?;
    ensure!(record.shards == *shards, "somebody made `{name}` with {} shards", record.shards);
    ensure!(
        model.is_none() || record.serving_model() == model.as_ref(),
        "the model of `{name}` was changed meanwhile: try again"
    );
    Ok(record.generation().clone())
}

/// # Errors
/// The collection that is there cannot hold what the backup has.
fn check_same(held: &CollectionRecord, backup: &CollectionRecord) -> anyhow::Result<()> {
    let name = &held.name;
    ensure!(
        held.shards == backup.shards,
        "there is a collection `{name}` of {} shards, and the backup has {}: restore it --as another",
        held.shards,
        backup.shards
    );
    if let (Some(held), Some(backup)) = (held.serving_model(), &backup.model) {
        ensure!(
            held == backup,
            "there is a collection `{name}` of the model {held}, and the backup's is {backup}: restore it --as another"
        );
    }
    let mut fields: FieldKinds = held.fields.clone();
    let declared = backup.fields.iter().try_for_each(|(field, kind)| fields.declare(field, kind));
    declared.with_context(|| format!("there is a collection `{name}` with other fields"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Parts,
    Pictures,
}

/// Has every wanted entry put, many at once, and counts those that were taken.
async fn put_all<'a>(
    mut backup: Backup,
    wanted: Wanted,
    progress: &ProgressBar,
    put: impl Fn(Entry) -> BoxFuture<'a, anyhow::Result<bool>>,
) -> anyhow::Result<(Backup, u64)> {
    // because: a picture may have 32 megabytes
    let at_once = if wanted == Wanted::Pictures { PICTURES } else { PARTS };
    let (send, mut entries) = mpsc::channel::<Entry>(at_once);
    let reading = tokio::task::spawn_blocking(move || {
        backup.send(wanted, &send)?;
        anyhow::Ok(backup)
    });
    let entries = stream::poll_fn(move |context| entries.poll_recv(context));
    let mut putting = entries.map(put).buffer_unordered(at_once);
    let mut taken = 0;
    while let Some(put) = putting.next().await {
        taken += u64::from(put?);
        progress.inc(1);
    }
    progress.abandon();
    Ok((reading.await.context("the reader died")??, taken))
}

async fn put_part(bus: &Bus, log: &Collection, entry: Entry) -> anyhow::Result<bool> {
    match entry.kind {
        Kind::Part(shard, image, part) => {
            Ok(bus.restore_part(log, image, (shard, part), entry.bytes).await?)
        }
        Kind::Picture(_) => Ok(false),
    }
}
