//! One shard on disk: the one file that names sled. Losing it costs a re-reading of the log.

use std::{
    collections::HashMap,
    fs::File,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use weimocir_domain::{ImageId, ModelId, Revision};
use weimocir_index::IndexError;
use weimocir_runtime::LogIdentity;
use weimocir_wire::{
    Encoding, Message, Vector, decode, encode, query::ImageState, vectors::CaptionVector,
    work::Metadata,
};

use crate::part::{Part, Step};

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("failed to {action} the store in {}: {cause}", path.display())]
    Failed { action: &'static str, path: PathBuf, cause: String },
    #[error("failed to load the store: {0}")]
    Index(#[from] IndexError),
    #[error("what is left of an index in {} cannot be removed: {cause}", path.display())]
    Stuck { path: PathBuf, cause: String },
    #[error("the store in {} is in use by another process", path.display())]
    InUse { path: PathBuf },
}

impl DiskError {
    /// The disk is full or a limit is reached: what is stored is sound, and setting it aside would
    /// help nobody. sled tells it by the system's message alone.
    fn is_of_the_disk(&self) -> bool {
        let told = self.to_string();
        ["No space left", "File too large", "quota exceeded"].iter().any(|sign| told.contains(sign))
    }
}

/// How far the log has been applied, and which log it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub log_created: String,
    pub applied: u64,
}

/// A position, and how many records of images, captions and tombstones there are at it. Also the
/// version of the folder's format: a reader that does not know it starts again from the log.
#[derive(Debug, Serialize, Deserialize)]
struct Ledger {
    position: Position,
    records: u64,
}

impl Message for Ledger {
    const NAME: &'static str = "store-position";
    const VERSION: u16 = 2;
}

/// Threads that read records at a start.
// because: sled waits for the disk at each of its pages, which lie anywhere; eight readers took 10 s for
// two million records that one read in 50 s, and 2.5 s for 6.5 s where the system had them in its cache
const READERS: usize = 8;

const LEDGER: &[u8] = b"position";

/// From which position on it is known what was touched.
const TOUCHED_SINCE: &[u8] = b"since";

/// The first byte of a key says what the record is; the image's id follows. Vectors are apart from
/// the rest, which is read whole at every start.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Image = b'i' as isize,
    Captions = b'c' as isize,
    Tombstone = b't' as isize,
    Embedding = b'v' as isize,
    CaptionEmbeddings = b'w' as isize,
    /// Has a position before the id: the image was put in, changed or removed with it.
    Touched = b'j' as isize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub revision: Revision,
    pub model: ModelId,
    pub source: String,
    pub metadata: Metadata,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CaptionsRecord {
    pub revision: Revision,
    pub model: ModelId,
    pub texts: Vec<String>,
}

/// All that is kept of an image but its vectors.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Recollection {
    pub image: Option<ImageRecord>,
    pub captions: Option<CaptionsRecord>,
    pub tombstone: Option<Revision>,
}

impl Recollection {
    pub(crate) fn state(&self) -> ImageState {
        ImageState {
            image: self.image.as_ref().map(|record| record.revision),
            captions: self.captions.as_ref().map(|record| record.revision),
            tombstone: self.tombstone,
        }
    }
}

/// Raw vectors of an image, `v` and `t_r`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RawVectors {
    pub embedding: Option<Vec<f32>>,
    pub captions: Vec<Vec<f32>>,
}

fn key(kind: Kind, image: ImageId) -> [u8; 17] {
    let mut key = [kind as u8; 17];
    key[1..].copy_from_slice(image.as_bytes());
    key
}

fn touched(position: u64, image: ImageId) -> [u8; 25] {
    let mut key = [Kind::Touched as u8; 25];
    key[1..9].copy_from_slice(&position.to_be_bytes());
    key[9..].copy_from_slice(image.as_bytes());
    key
}

fn count(state: ImageState) -> u64 {
    [state.image, state.captions, state.tombstone].iter().flatten().count() as u64
}

#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    db: sled::Db,
    records: AtomicU64,
    /// sled's flush leaves the data in the kernel's cache; this handle syncs it to the platter.
    file: File,
}

impl Disk {
    /// Opens the folder, or makes it. One that is corrupt, of another format, or of another log is
    /// set aside loudly and begun anew: the log has everything.
    pub(crate) fn open(path: &Path, log: &LogIdentity) -> Result<(Self, u64), DiskError> {
        let existed = path.join("db").exists();
        let disk = match Self::open_db(path) {
            Err(error @ DiskError::InUse { .. }) => return Err(error),
            Err(error) if error.is_of_the_disk() => return Err(error),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the store cannot be opened; rebuilding from the log");
                set_aside(path)?;
                Self::open_db(path)?
            }
            Ok(disk) => disk,
        };
        match disk.ledger() {
            Ok(None) if disk.db.is_empty() => {
                // because: sled takes a file that it cannot read at all for a new one
                if existed {
                    tracing::error!(path = %path.display(), "the store has lost everything; rebuilding from the log");
                }
                Ok((disk, 0))
            }
            Ok(Some(Ledger { position, records }))
                if position.log_created == log.created && position.applied <= log.last_sequence =>
            {
                disk.records.store(records, Ordering::Relaxed);
                Ok((disk, position.applied))
            }
            found => {
                tracing::error!(path = %path.display(), ?found, ?log, "the store does not belong to this log; rebuilding from it");
                Ok((disk.begin_anew()?, 0))
            }
        }
    }

    /// Sets the folder aside and makes an empty one in its place.
    pub(crate) fn begin_anew(self) -> Result<Self, DiskError> {
        let path = self.path.clone();
        drop(self);
        set_aside(&path)?;
        Self::open_db(&path)
    }

    fn open_db(path: &Path) -> Result<Self, DiskError> {
        let failed = |cause: String| DiskError::Failed { action: "open", path: path.into(), cause };
        let give_up = Instant::now() + RELEASE;
        let db = loop {
            match open_sled(path) {
                Ok(db) => break db,
                Err(cause) if !cause.contains(LOCKED) => return Err(failed(cause)),
                Err(_) if Instant::now() > give_up => {
                    return Err(DiskError::InUse { path: path.into() });
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        };
        let file = File::open(path.join("db")).map_err(|e| failed(e.to_string()))?;
        Ok(Self { path: path.into(), db, file, records: AtomicU64::new(0) })
    }

    /// Where things that belong to this shard can be kept.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn ledger(&self) -> Result<Option<Ledger>, DiskError> {
        let found = self.db.get(LEDGER).map_err(|e| self.failed("read", e))?;
        found
            .map(|value| decode(&value, Encoding::MessagePack).map_err(|e| self.failed("read", e)))
            .transpose()
    }

    /// Writes parts that have been found to hold, and how far the log is applied with them; returns
    /// when all of it would survive a loss of power.
    pub(crate) fn write(&self, steps: &[Step], position: &Position) -> Result<(), DiskError> {
        let mut batch = sled::Batch::default();
        let mut records = self.records.load(Ordering::Relaxed);
        for step in steps {
            self.write_part(&mut batch, &step.part, step.after)?;
            batch.insert(&touched(position.applied, step.part.image())[..], &[]);
            records = records + count(step.after) - count(step.before);
        }
        let ledger = Ledger { position: position.clone(), records };
        let ledger = encode(&ledger, Encoding::MessagePack).map_err(|e| self.failed("write", e))?;
        batch.insert(LEDGER, ledger);
        self.write_batch(batch)?;
        self.records.store(records, Ordering::Relaxed);
        Ok(())
    }

    fn write_batch(&self, batch: sled::Batch) -> Result<(), DiskError> {
        self.db.apply_batch(batch).map_err(|e| self.failed("write", e))?;
        self.db.flush().map_err(|e| self.failed("flush", e))?;
        self.file.sync_data().map_err(|e| self.failed("sync", e))
    }

    fn write_part(
        &self,
        batch: &mut sled::Batch,
        part: &Part,
        after: ImageState,
    ) -> Result<(), DiskError> {
        let image = part.image();
        let key = |kind| key(kind, image);
        match part {
            Part::Image(p) => {
                let record = ImageRecord {
                    revision: p.revision,
                    model: p.model.clone(),
                    source: p.source.clone(),
                    metadata: p.metadata.clone(),
                };
                batch.insert(&key(Kind::Image), self.bytes(&record)?);
                batch.insert(&key(Kind::Embedding), self.bytes(&p.embedding)?);
            }
            Part::Captions(p) => {
                let (texts, vectors): (Vec<_>, Vec<_>) =
                    p.captions.iter().map(|c| (c.text.clone(), &c.embedding)).unzip();
                let (revision, model) = (p.revision, p.model.clone());
                let record = CaptionsRecord { revision, model, texts };
                batch.insert(&key(Kind::Captions), self.bytes(&record)?);
                batch.insert(&key(Kind::CaptionEmbeddings), self.bytes(&vectors)?);
            }
            Part::Tombstone(p) => {
                if after.image.is_none() {
                    batch.remove(&key(Kind::Image));
                    batch.remove(&key(Kind::Embedding));
                }
                if after.captions.is_none() {
                    batch.remove(&key(Kind::Captions));
                    batch.remove(&key(Kind::CaptionEmbeddings));
                }
                batch.insert(&key(Kind::Tombstone), self.bytes(&p.revision)?);
            }
        }
        Ok(())
    }

    fn bytes<T: Serialize>(&self, record: &T) -> Result<Vec<u8>, DiskError> {
        rmp_serde::to_vec(record).map_err(|e| self.failed("write", e))
    }

    fn read<T: DeserializeOwned>(&self, value: &[u8]) -> Result<T, DiskError> {
        rmp_serde::from_slice(value).map_err(|e| self.failed("read", e))
    }

    fn get<T: DeserializeOwned>(&self, kind: Kind, image: ImageId) -> Result<Option<T>, DiskError> {
        let found = self.db.get(key(kind, image)).map_err(|e| self.failed("read", e))?;
        found.map(|value| self.read(&value)).transpose()
    }

    pub(crate) fn recollection(&self, image: ImageId) -> Result<Recollection, DiskError> {
        Ok(Recollection {
            image: self.get(Kind::Image, image)?,
            captions: self.get(Kind::Captions, image)?,
            tombstone: self.get(Kind::Tombstone, image)?,
        })
    }

    pub(crate) fn vectors(&self, image: ImageId) -> Result<RawVectors, DiskError> {
        let embedding = self.get(Kind::Embedding, image)?.map(|Vector(values)| values);
        let captions: Option<Vec<Vector>> = self.get(Kind::CaptionEmbeddings, image)?;
        let captions = captions.unwrap_or_default().into_iter().map(|Vector(values)| values);
        Ok(RawVectors { embedding, captions: captions.collect() })
    }

    /// The captions of an image with their vectors.
    pub(crate) fn captions(&self, image: ImageId) -> Result<Vec<CaptionVector>, DiskError> {
        let record: Option<CaptionsRecord> = self.get(Kind::Captions, image)?;
        let vectors: Option<Vec<Vector>> = self.get(Kind::CaptionEmbeddings, image)?;
        let texts = record.map_or_else(Vec::new, |record| record.texts).into_iter();
        let captions = texts.zip(vectors.unwrap_or_default());
        Ok(captions.map(|(text, embedding)| CaptionVector { text, embedding }).collect())
    }

    /// Everything but vectors, of every image ever heard of.
    ///
    /// # Errors
    /// Records that cannot be read, or fewer or more than were written.
    pub(crate) fn recollections(&self) -> Result<HashMap<ImageId, Recollection>, DiskError> {
        let firsts: Vec<u8> = (0..=u8::MAX).collect();
        let found = self.by_readers(&firsts, |&first| self.recollections_of(first))?;
        let images: HashMap<_, _> = found.into_iter().flatten().collect();
        self.check_records(images.values().map(Recollection::state))?;
        Ok(images)
    }

    /// Everything but vectors of some images, in no particular order.
    pub(crate) fn recollections_of_some(
        &self,
        images: &[ImageId],
    ) -> Result<Vec<(ImageId, Recollection)>, DiskError> {
        self.by_readers(images, |&image| Ok((image, self.recollection(image)?)))
    }

    /// # Errors
    /// What is held of all images is more or less than was written.
    pub(crate) fn check_records(
        &self,
        states: impl Iterator<Item = ImageState>,
    ) -> Result<(), DiskError> {
        let (records, written): (u64, _) =
            (states.map(count).sum(), self.records.load(Ordering::Relaxed));
        if records == written {
            return Ok(());
        }
        Err(self.failed("read", format!("of {written} records it has {records}")))
    }

    /// The vectors of images, in no particular order.
    pub(crate) fn vectors_of(
        &self,
        images: &[ImageId],
    ) -> Result<Vec<(ImageId, RawVectors)>, DiskError> {
        self.by_readers(images, |&image| Ok((image, self.vectors(image)?)))
    }

    /// Reads with many threads, in no particular order.
    fn by_readers<W: Sync, T: Send>(
        &self,
        wanted: &[W],
        read: impl Fn(&W) -> Result<T, DiskError> + Sync,
    ) -> Result<Vec<T>, DiskError> {
        let next = AtomicUsize::new(0);
        let read = || {
            let mut found = Vec::new();
            while let Some(wanted) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                found.push(read(wanted)?);
            }
            Ok(found)
        };
        thread::scope(|scope| {
            let readers = [(); READERS].map(|()| scope.spawn(read));
            let found =
                readers.map(|reader| reader.join().unwrap_or_else(|_| Err(self.panicked())));
            let found: Result<Vec<_>, _> = found.into_iter().collect();
            Ok(found?.into_iter().flatten().collect())
        })
    }

    /// The images whose ids begin with this byte.
    fn recollections_of(&self, first: u8) -> Result<HashMap<ImageId, Recollection>, DiskError> {
        let mut images: HashMap<ImageId, Recollection> = HashMap::new();
        self.scan(Kind::Image, first, |image, value| {
            images.entry(image).or_default().image = Some(self.read(value)?);
            Ok(())
        })?;
        self.scan(Kind::Captions, first, |image, value| {
            images.entry(image).or_default().captions = Some(self.read(value)?);
            Ok(())
        })?;
        self.scan(Kind::Tombstone, first, |image, value| {
            images.entry(image).or_default().tombstone = Some(self.read(value)?);
            Ok(())
        })?;
        Ok(images)
    }

    fn scan(
        &self,
        kind: Kind,
        first: u8,
        mut found: impl FnMut(ImageId, &[u8]) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        for entry in self.db.scan_prefix([kind as u8, first]) {
            let (key, value) = entry.map_err(|e| self.failed("read", e))?;
            let image = <[u8; 16]>::try_from(&key[1..]).map_err(|e| self.failed("read", e))?;
            found(ImageId::from_bytes(image), &value)?;
        }
        Ok(())
    }

    /// Images that were put in, changed or removed after a position; `None` if that is forgotten.
    pub(crate) fn touched_after(&self, position: u64) -> Result<Option<Vec<ImageId>>, DiskError> {
        let since: u64 = match self.db.get(TOUCHED_SINCE).map_err(|e| self.failed("read", e))? {
            Some(since) => self.read(&since)?,
            None => 0,
        };
        if position < since {
            return Ok(None);
        }
        let after = touched(position + 1, ImageId::from_bytes([0; 16]));
        let keys = self.db.range(&after[..]..&[Kind::Touched as u8 + 1][..]).keys();
        let mut images = Vec::new();
        for key in keys {
            let key = key.map_err(|e| self.failed("read", e))?;
            let image = key.get(9..).unwrap_or_default();
            let image = <[u8; 16]>::try_from(image).map_err(|e| self.failed("read", e))?;
            images.push(ImageId::from_bytes(image));
        }
        Ok(Some(images))
    }

    /// Notes that images were put in again.
    pub(crate) fn touch(&self, images: &[ImageId]) -> Result<(), DiskError> {
        let position = self.ledger()?.map_or(0, |ledger| ledger.position.applied);
        if images.is_empty() {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        for &image in images {
            // because: what is being saved may be of this very position, and from before this
            batch.insert(&touched(position + 1, image)[..], &[]);
        }
        self.write_batch(batch)
    }

    /// Forgets what was touched up to a position.
    pub(crate) fn forget_touched(&self, position: u64) -> Result<(), DiskError> {
        let end = touched(position + 1, ImageId::from_bytes([0; 16]));
        let mut batch = sled::Batch::default();
        for key in self.db.range(&[Kind::Touched as u8][..]..&end[..]).keys() {
            batch.remove(key.map_err(|e| self.failed("read", e))?);
        }
        batch.insert(TOUCHED_SINCE, self.bytes(&position)?);
        self.write_batch(batch)
    }

    pub(crate) fn panicked(&self) -> DiskError {
        self.failed("read", "sled cannot make sense of its file")
    }

    fn failed(&self, action: &'static str, cause: impl std::fmt::Display) -> DiskError {
        DiskError::Failed { action, path: self.path.clone(), cause: cause.to_string() }
    }
}

/// sled's words for a folder that is open already; it has no kind of error for it.
const LOCKED: &str = "could not acquire lock";
/// How long a predecessor may take to let go of the folder.
// because: sled closes its files on a thread of its own, after the store that wrote them has ended
const RELEASE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });

fn open_sled(path: &Path) -> Result<sled::Db, String> {
    let open = || {
        sled::Config::new()
            .path(path)
            .flush_every_ms(None)
            // because: the vectors that searches need are in memory; the cache serves writes
            .cache_capacity(64 << 20)
            .open()
    };
    // because: some of what a damaged file can hold makes sled panic instead of fail
    match catch_unwind(open) {
        Ok(opened) => opened.map_err(|e| e.to_string()),
        Err(_) => Err("the database's files are damaged".to_owned()),
    }
}

/// Renames the folder, so that nothing is destroyed that someone may want to look at.
fn set_aside(path: &Path) -> Result<(), DiskError> {
    let aside = (1..)
        .map(|n| path.with_extension(format!("broken-{n}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| path.with_extension("broken"));
    std::fs::rename(path, &aside).map_err(|e| DiskError::Failed {
        action: "set aside",
        path: path.into(),
        cause: e.to_string(),
    })
}

/// Reads the bytes as each kind of record.
#[cfg(fuzzing)]
pub(crate) fn read_any(bytes: &[u8]) {
    let _ = decode::<Ledger>(bytes, Encoding::MessagePack);
    let _ = rmp_serde::from_slice::<ImageRecord>(bytes);
    let _ = rmp_serde::from_slice::<CaptionsRecord>(bytes);
    let _ = rmp_serde::from_slice::<Revision>(bytes);
    let _ = rmp_serde::from_slice::<Vector>(bytes);
    let _ = rmp_serde::from_slice::<Vec<Vector>>(bytes);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        gallery::{
            Gallery,
            tests::{see, statements},
        },
        load,
        part::tests::{captions, id, picture, tombstone},
        shard::Shelf,
    };

    pub(crate) fn log(created: &str, last_sequence: u64) -> LogIdentity {
        LogIdentity { created: created.into(), last_sequence }
    }

    fn position(applied: u64) -> Position {
        Position { log_created: "monday".into(), applied }
    }

    /// Writes the parts that hold in groups, as the log is applied.
    fn apply_in_groups(disk: &Disk, gallery: &mut Gallery, parts: &[Part], group: usize) {
        for (n, group) in parts.chunks(group).enumerate() {
            apply_group(disk, gallery, group, n as u64 + 1);
        }
    }

    /// Writes the parts that hold, at one position of the log.
    pub(crate) fn apply_group(disk: &Disk, gallery: &mut Gallery, parts: &[Part], applied: u64) {
        let mut ahead = HashMap::new();
        let mut holding = Vec::new();
        for part in parts {
            let image = part.image();
            let before = ahead.get(&image).copied().unwrap_or_else(|| gallery.state(image));
            if let Some(after) = part.advance(before) {
                ahead.insert(image, after);
                holding.push(Step { part: part.clone(), before, after });
            }
        }
        disk.write(&holding, &position(applied)).unwrap();
        gallery.apply(holding.into_iter().map(|step| step.part)).unwrap();
    }

    fn reload(path: &Path) -> (Shelf, u64) {
        let opened = load::open(path, &log("monday", 1_000)).unwrap();
        (opened.shelf, opened.applied)
    }

    fn entries(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    proptest! {
        // because: each case syncs a database to disk some twenty times
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_disk_holds_what_the_memory_holds(parts in statements(), group in 1_usize..9) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("shard-0");
            let mut gallery = Gallery::default();
            let (disk, applied) = Disk::open(&path, &log("monday", 0)).unwrap();
            prop_assert_eq!(applied, 0);
            apply_in_groups(&disk, &mut gallery, &parts, group);
            drop(disk);

            let (shelf, applied) = reload(&path);
            prop_assert_eq!(applied, parts.len().div_ceil(group) as u64);
            prop_assert_eq!(see(&shelf.gallery()), see(&gallery));
            for n in 0..4 {
                let state = gallery.state(id(n));
                prop_assert_eq!(shelf.disk.recollection(id(n)).unwrap().state(), state);
            }
        }
    }

    const VECTOR: [f32; 4] = [1.0, 2.0, 3.0, 4.0];

    /// A folder with a store of two images, one of them with captions.
    fn filled() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        let (disk, _) = Disk::open(&path, &log("monday", 0)).unwrap();
        let parts = [picture(1, 1, &VECTOR), captions(1, 1, [&VECTOR[..]]), picture(2, 2, &VECTOR)];
        apply_in_groups(&disk, &mut Gallery::default(), &parts, 2);
        drop(disk);
        (folder, path)
    }

    #[test]
    fn a_store_opens_where_it_stood() {
        let (folder, path) = filled();
        let (shelf, applied) = reload(&path);
        assert_eq!((applied, shelf.gallery().images(), shelf.gallery().captioned()), (2, 2, 1));
        let kept = shelf.disk.recollection(id(1)).unwrap().image.unwrap();
        assert_eq!(kept.source, "1-1.png");
        assert_eq!(shelf.disk.vectors(id(1)).unwrap().embedding, Some(VECTOR.to_vec()));
        assert_eq!(shelf.disk.captions(id(1)).unwrap()[0].embedding.0, VECTOR);
        assert_eq!(shelf.disk.captions(id(2)).unwrap(), []);
        assert_eq!(entries(folder.path()), ["shard-0"]);
    }

    #[test]
    fn a_deleted_image_cannot_be_read_back() {
        let (_folder, path) = filled();
        let (shelf, _) = reload(&path);
        apply_in_groups(&shelf.disk, &mut shelf.gallery_mut(), &[tombstone(1, 5)], 1);
        for _ in 0..2 {
            assert_deleted(&shelf);
        }
        drop(shelf);
        let (shelf, _) = reload(&path);
        assert_deleted(&shelf);
        // an old part that comes again stays out
        apply_in_groups(&shelf.disk, &mut shelf.gallery_mut(), &[picture(1, 4, &VECTOR)], 1);
        assert_deleted(&shelf);
    }

    fn assert_deleted(shelf: &Shelf) {
        assert_eq!(shelf.disk.recollection(id(1)).unwrap().image, None);
        assert_eq!(shelf.disk.vectors(id(1)).unwrap(), RawVectors::default());
        assert_eq!(shelf.disk.captions(id(1)).unwrap(), []);
        assert_eq!(shelf.gallery().images(), 1);
    }

    #[test]
    fn a_store_of_another_log_is_set_aside() {
        // made on another day; shorter than what was applied, as after its loss
        for other in [log("tuesday", 1_000), log("monday", 1)] {
            let (folder, path) = filled();
            let (disk, applied) = Disk::open(&path, &other).unwrap();
            assert_eq!((applied, disk.recollections().unwrap().len()), (0, 0), "{other:?}");
            assert_eq!(entries(folder.path()), ["shard-0", "shard-0.broken-1"]);
            drop(disk);
            let (kept, applied) =
                Disk::open(&path.with_extension("broken-1"), &log("monday", 2)).unwrap();
            assert_eq!((applied, kept.recollections().unwrap().len()), (2, 2));
        }
    }

    #[test]
    fn every_store_set_aside_is_kept() {
        let (folder, path) = filled();
        for day in ["tuesday", "wednesday"] {
            let (disk, _) = Disk::open(&path, &log(day, 9)).unwrap();
            let here = Position { log_created: day.into(), applied: 1 };
            disk.write(&[], &here).unwrap();
        }
        assert_eq!(entries(folder.path()), ["shard-0", "shard-0.broken-1", "shard-0.broken-2"]);
    }

    /// A store of some 2 MB that was opened, written and closed repeatedly, of one image a position.
    fn large(path: &Path) -> u64 {
        let mut gallery = Gallery::default();
        let mut applied = 0;
        for _ in 0..3 {
            let (disk, _) = Disk::open(path, &log("monday", applied)).unwrap();
            for _ in 0..10 {
                let parts: Vec<_> = (0..20)
                    .map(|n| {
                        let revision = applied + n + 1;
                        let mut part = picture(0, revision, &[revision as f32; 512]);
                        if let Part::Image(part) = &mut part {
                            part.image = ImageId::of(&revision.to_be_bytes());
                        }
                        let before = ImageState::default();
                        let after = part.advance(before).unwrap();
                        gallery.apply([part.clone()]).unwrap();
                        Step { part, before, after }
                    })
                    .collect();
                applied += 20;
                disk.write(&parts, &position(applied)).unwrap();
            }
        }
        assert_eq!(gallery.images(), applied);
        applied
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to.join(entry.file_name()));
            } else {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }

    /// Damages a copy of the store, opens it, and tells whether it was set aside, and
    /// whether it now holds all that its position says.
    fn open_damaged(whole: &Path, file: &str, damage: impl FnOnce(&mut Vec<u8>)) -> (bool, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        copy(whole, &path);
        let mut bytes = std::fs::read(path.join(file)).unwrap();
        damage(&mut bytes);
        std::fs::write(path.join(file), &bytes).unwrap();

        let (shelf, applied) = reload(&path);
        // what is left is the whole truth up to a position, from which the log goes on
        let whole = shelf.gallery().images() == applied;
        let aside = path.with_extension("broken-1");
        if aside.exists() {
            assert_eq!(applied, 0);
            assert!(aside.join("db").exists());
        }
        shelf.disk.write(&[], &position(applied + 1)).unwrap();
        (aside.exists(), whole)
    }

    #[test]
    fn a_damaged_store_is_set_aside_or_stands_at_an_earlier_position() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        large(&path);
        let files: Vec<String> =
            entries(&path).into_iter().filter(|name| path.join(name).is_file()).collect();
        assert!(files.len() >= 3, "{files:?}");
        for file in &files {
            let length = path.join(file).metadata().unwrap().len() as usize;
            let flipped: Vec<_> = (0..12)
                .map(|n| open_damaged(&path, file, |bytes| bytes[n * length / 12] ^= 0x55))
                .collect();
            let truncated = [0, length / 2, length - 1]
                .map(|length| open_damaged(&path, file, |bytes| bytes.truncate(length)));
            let noticed = flipped.iter().chain(&truncated).any(|(aside, _)| *aside);
            assert!(noticed, "no damage to {file} was noticed");
            assert!(truncated.iter().all(|(_, whole)| *whole), "{file}: {truncated:?}");
            // because: sled passes over some damaged pages at the end of its log without a word, so
            // that a flipped byte in the log itself may go unnoticed
            let lost = flipped.iter().any(|(_, whole)| !whole);
            assert!(file == "db" || !lost, "{file}: {flipped:?}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_sets_the_store_aside() {
        let whole = key(Kind::Image, id(9));
        let damaged = [(&b"i123"[..], &b""[..]), (&whole, b"\xc1"), (LEDGER, b"\xc1")];
        for (key, value) in damaged {
            let (folder, path) = filled();
            let (disk, _) = Disk::open(&path, &log("monday", 2)).unwrap();
            disk.db.insert(key, value).unwrap();
            disk.db.flush().unwrap();
            drop(disk);
            let (shelf, applied) = reload(&path);
            assert_eq!((applied, shelf.gallery().images()), (0, 0));
            assert!(shelf.disk.recollections().unwrap().is_empty());
            assert_eq!(entries(folder.path()), ["shard-0", "shard-0.broken-1"]);
        }
    }

    #[test]
    fn a_store_in_use_is_left_alone() {
        let (folder, path) = filled();
        let (held, _) = Disk::open(&path, &log("monday", 2)).unwrap();
        let error = Disk::open(&path, &log("monday", 2)).unwrap_err();
        assert!(matches!(error, DiskError::InUse { .. }), "{error}");
        assert_eq!(entries(folder.path()), ["shard-0"]);
        assert_eq!(held.recollections().unwrap().len(), 2);
    }
}
