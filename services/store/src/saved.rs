//! The index beside sled: its exact vectors in mapped files, and what else it takes to have it back
//! at a start without making it anew; also what is known of each image, which sled would be asked for
//! one by one. All of it can be thrown away: sled has everything.
//!
//! A manifest names the files that belong together, each with its checksum, and how far the log was
//! applied to them. It is replaced as a whole, so that a crash leaves the old state or the new one;
//! images that were touched after it are put in anew from sled.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use weimocir_domain::{ImageId, ModelId};
use weimocir_index::{Basis, Index, IndexError, Memory, Restoring, Table};
use weimocir_wire::{Encoding, Message, decode, encode};

use crate::{
    disk::DiskError,
    gallery::{Gallery, Known},
    pieces::{PIECE, Pieces},
    shard::Shelf,
};

/// Images of a file of what is known.
// because: some 25 MB, little enough to be read and written at once
const KNOWN: usize = 1 << 16;
/// Images that are looked at without a change between them.
const PAGE: usize = 1 << 10;

/// The folder of one shard's index.
#[derive(Debug)]
pub(crate) struct Saved {
    folder: PathBuf,
    /// Which log the index is made of.
    log_created: String,
    newest: Option<Newest>,
}

/// What the newest manifest says, and the index that it was made of.
#[derive(Debug)]
struct Newest {
    manifest: Manifest,
    basis: Option<Arc<Basis>>,
    changes: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Manifest {
    log_created: String,
    applied: u64,
    /// How many manifests there have been.
    serial: u64,
    model: ModelId,
    table: Part,
    basis: Option<Part>,
    segments: Vec<Part>,
    /// What is known of images; later files have newer word of some.
    known: Vec<Part>,
    /// How many images these files speak of, each as often as it is spoken of.
    noted: usize,
}

impl Message for Manifest {
    const NAME: &'static str = "saved-index";
    const VERSION: u16 = 3;
}

/// A file that is never changed once it is whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    name: String,
    bytes: u64,
    checksum: u32,
}

const MANIFEST: &str = "manifest";

/// An index as it is at one position of the log.
#[derive(Debug)]
pub(crate) struct Moment {
    applied: u64,
    model: ModelId,
    table: Table,
    basis: Option<Arc<Basis>>,
    changes: Vec<u64>,
}

impl Moment {
    /// What the gallery holds now, if it holds anything; `applied` is how far it has followed the log.
    pub(crate) fn of(gallery: &Gallery, applied: u64) -> Option<Self> {
        let (model, index) = gallery.indexed()?;
        Some(Self {
            applied,
            model: model.clone(),
            table: index.table(),
            basis: index.basis().cloned(),
            changes: index.changes(),
        })
    }
}

/// An index as it was saved.
#[derive(Debug)]
pub(crate) struct Restored {
    pub model: ModelId,
    pub index: Index,
    /// What was known of images, the newest word last, unless that is damaged.
    pub known: Option<Vec<Vec<(ImageId, Known)>>>,
    pub applied: u64,
    /// Images that the index has lost.
    pub lost: Vec<ImageId>,
}

impl Saved {
    pub(crate) fn new(folder: PathBuf, log_created: &str) -> Self {
        Self { folder, log_created: log_created.to_owned(), newest: None }
    }

    /// Where the exact vectors lie.
    pub(crate) fn memory(&self) -> Arc<dyn Memory> {
        Arc::new(Pieces { folder: self.folder.clone() })
    }

    /// The index as it was saved last, if it is of this log and no later than `applied`.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn load(&mut self, applied: u64) -> Result<Option<Restored>, DiskError> {
        match self.try_load(applied) {
            Err(error) if !matches!(error, DiskError::Index(IndexError::Memory { .. })) => {
                tracing::error!(folder = %self.folder.display(), %error, "the saved index cannot be used; making it anew from the vectors");
                Ok(None)
            }
            loaded => loaded,
        }
    }

    fn try_load(&mut self, applied: u64) -> Result<Option<Restored>, DiskError> {
        let path = self.folder.join(MANIFEST);
        if !path.exists() {
            return Ok(None);
        }
        let mut manifest = self.read_manifest(&path)?;
        if manifest.log_created != self.log_created || manifest.applied > applied {
            return Err(self.failed("read", "it is of another log, or of a later state"));
        }
        let (index, known) =
            rayon::join(|| self.read_index(&manifest), || self.read_known(&manifest));
        let (index, lost) = index?;
        let known = known.inspect_err(|error| {
            tracing::error!(%error, "what is known of images is damaged; reading it from the store");
        });
        if known.is_err() {
            (manifest.known, manifest.noted) = (Vec::new(), 0);
        }
        let (model, applied) = (manifest.model.clone(), manifest.applied);
        let basis = index.basis().cloned();
        // because: those that were coded anew are not what is on disk
        let changes = index.changes().iter().map(|_| 0).collect();
        self.newest = Some(Newest { manifest, basis, changes });
        Ok(Some(Restored { model, index, known: known.ok(), applied, lost }))
    }

    /// The index, and images that it has lost.
    fn read_index(&self, manifest: &Manifest) -> Result<(Index, Vec<ImageId>), DiskError> {
        let basis = manifest.basis.as_ref().map(|part| self.read(part)).transpose()?;
        let mut restoring =
            Restoring::new(self.read(&manifest.table)?, basis, Box::new(self.memory()))?;
        if restoring.segments() != manifest.segments.len() {
            return Err(self.failed("read", "it has more or fewer parts than images"));
        }
        let mut lost = Vec::new();
        for (n, part) in manifest.segments.iter().enumerate() {
            if let Err(error) = self.read_segment(&mut restoring, n, part) {
                tracing::error!(%error, "codes are damaged; coding their images anew");
                lost.extend(restoring.code(n)?);
            }
        }
        Ok((restoring.finish(), lost))
    }

    fn read_known(&self, manifest: &Manifest) -> Result<Vec<Vec<(ImageId, Known)>>, DiskError> {
        manifest.known.par_iter().map(|part| self.read(part)).collect()
    }

    fn read_manifest(&self, path: &Path) -> Result<Manifest, DiskError> {
        let bytes = std::fs::read(path).map_err(|e| self.failed("read", e))?;
        let (checksum, body) = bytes.split_first_chunk().unwrap_or((&[0; 4], &[]));
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(self.failed("read", "the manifest is damaged"));
        }
        decode(body, Encoding::MessagePack).map_err(|e| self.failed("read", e))
    }

    fn read<T: DeserializeOwned>(&self, part: &Part) -> Result<T, DiskError> {
        let bytes =
            std::fs::read(self.folder.join(&part.name)).map_err(|e| self.failed("read", e))?;
        if (bytes.len() as u64, crc32fast::hash(&bytes)) != (part.bytes, part.checksum) {
            return Err(self.failed("read", format!("{} is damaged", part.name)));
        }
        rmp_serde::from_slice(&bytes).map_err(|e| self.failed("read", e))
    }

    fn read_segment(
        &self,
        restoring: &mut Restoring,
        segment: usize,
        part: &Part,
    ) -> Result<(), DiskError> {
        let file = File::open(self.folder.join(&part.name)).map_err(|e| self.failed("read", e))?;
        let mut summed = Summed { inner: file, bytes: 0, sum: crc32fast::Hasher::new() };
        restoring.read(segment, &mut summed).map_err(|e| self.failed("read", e))?;
        if (summed.bytes, summed.sum.finalize()) != (part.bytes, part.checksum) {
            return Err(self.failed("read", format!("{} is damaged", part.name)));
        }
        Ok(())
    }

    /// Throws away what is saved.
    ///
    /// # Errors
    /// The folder cannot be emptied.
    pub(crate) fn discard(&mut self) -> Result<(), DiskError> {
        if self.folder.exists() {
            // because: without a manifest, nothing that is left by a crash is taken for an index
            self.disown()?;
            std::fs::remove_dir_all(&self.folder).map_err(|e| self.stuck(e))?;
        }
        Ok(())
    }

    /// Has the next start make the index anew.
    ///
    /// # Errors
    /// The folder cannot be changed.
    pub(crate) fn disown(&mut self) -> Result<(), DiskError> {
        self.newest = None;
        let removed = std::fs::remove_file(self.folder.join(MANIFEST));
        let removed = removed.or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        });
        removed.and_then(|()| sync_folder(&self.folder)).map_err(|e| self.stuck(e))
    }

    fn stuck(&self, cause: io::Error) -> DiskError {
        DiskError::Stuck { path: self.folder.clone(), cause: cause.to_string() }
    }

    /// Whether the codes are made with another basis than those saved.
    pub(crate) fn is_of_another_basis(&self, now: Option<&Arc<Basis>>) -> bool {
        let saved = self.newest.as_ref().and_then(|newest| newest.basis.as_ref());
        match (now, saved) {
            (Some(now), Some(saved)) => !Arc::ptr_eq(now, saved),
            (now, _) => now.is_some(),
        }
    }

    /// Saves the index as it was at a moment, while images come and go; says whether it did: codes
    /// that were learned anew meanwhile are left to the next time.
    ///
    /// # Errors
    /// Files cannot be written.
    pub(crate) fn save(&mut self, shelf: &Shelf, moment: Moment) -> Result<bool, DiskError> {
        let written = self.write(shelf, &moment);
        if written.is_err() {
            self.clean();
        }
        let manifest = match written {
            Err(DiskError::Index(IndexError::Void)) => return Ok(false),
            written => written?,
        };
        let Moment { applied, basis, changes, .. } = moment;
        // because: from here on the files of this manifest are the ones to keep
        self.newest = Some(Newest { manifest, basis, changes });
        sync_folder(&self.folder).map_err(|e| self.failed("sync", e))?;
        shelf.disk.forget_touched(applied)?;
        self.clean();
        Ok(true)
    }

    fn write(&self, shelf: &Shelf, moment: &Moment) -> Result<Manifest, DiskError> {
        std::fs::create_dir_all(&self.folder).map_err(|e| self.failed("make", e))?;
        let newest = self.newest.as_ref();
        let serial = newest.map_or(0, |newest| newest.manifest.serial) + 1;
        let same_basis = newest.filter(|newest| match (&newest.basis, &moment.basis) {
            (Some(saved), Some(now)) => Arc::ptr_eq(saved, now),
            _ => false,
        });
        let basis = match (same_basis, &moment.basis) {
            (Some(newest), _) => newest.manifest.basis.clone(),
            (None, Some(basis)) => Some(self.write_value(format!("basis-{serial}"), &**basis)?),
            (None, None) => None,
        };
        let mut segments = Vec::new();
        if let Some(basis) = &moment.basis {
            for n in 0..moment.table.segments() {
                let unchanged = same_basis
                    .filter(|newest| newest.changes.get(n) == moment.changes.get(n))
                    .and_then(|newest| newest.manifest.segments.get(n));
                segments.push(match unchanged {
                    Some(part) => part.clone(),
                    None => self.write_segment(shelf, &moment.table, basis, n, serial)?,
                });
            }
        }
        let (known, noted) = self.write_known(shelf, serial)?;
        let manifest = Manifest {
            log_created: self.log_created.clone(),
            applied: moment.applied,
            serial,
            model: moment.model.clone(),
            table: self.write_value(format!("table-{serial}"), &moment.table)?,
            basis,
            segments,
            known,
            noted,
        };
        self.sync_pieces().map_err(|e| self.failed("sync", e))?;
        self.write_manifest(&manifest)?;
        Ok(manifest)
    }

    fn write_segment(
        &self,
        shelf: &Shelf,
        table: &Table,
        basis: &Arc<Basis>,
        segment: usize,
        serial: u64,
    ) -> Result<Part, DiskError> {
        let mut page_bytes = Vec::new();
        self.write_part(format!("codes-{serial}-{segment}"), |out| {
            for page in table.pages(segment) {
                page_bytes.clear();
                if let Some((_, index)) = shelf.gallery().indexed() {
                    index.write_page(basis, segment, &page, &mut page_bytes)?;
                }
                out(&page_bytes).map_err(|e| self.failed("write", e))?;
            }
            Ok(())
        })
    }

    /// Notes what is known of the images that were touched since the last time, or of all if most of
    /// what was noted is outdated. Newer word than the moment's does not harm, as who is touched later
    /// is recalled from sled.
    fn write_known(&self, shelf: &Shelf, serial: u64) -> Result<(Vec<Part>, usize), DiskError> {
        let newest = self.newest.as_ref().map(|newest| &newest.manifest);
        let since = newest.filter(|manifest| manifest.noted > 0);
        let touched =
            since.map(|manifest| shelf.disk.touched_after(manifest.applied)).transpose()?;
        let images = shelf.gallery().known_images();
        let touched: Option<HashSet<ImageId>> =
            touched.flatten().map(|touched| touched.into_iter().collect());
        let added = since.zip(touched).filter(|(manifest, touched)| {
            manifest.noted + touched.len() <= 2 * images.len() + KNOWN
        });
        let (mut known, mut noted, images) = match added {
            Some((manifest, touched)) => {
                (manifest.known.clone(), manifest.noted, touched.into_iter().collect())
            }
            None => (Vec::new(), 0, images),
        };
        for (n, images) in images.chunks(KNOWN).enumerate() {
            let pages = images.chunks(PAGE).map(|page| shelf.gallery().known_of(page));
            let of_these: Vec<(ImageId, Known)> = pages.flatten().collect();
            known.push(self.write_value(format!("known-{serial}-{n}"), &of_these)?);
            noted += of_these.len();
        }
        Ok((known, noted))
    }

    fn write_value<T: Serialize>(&self, name: String, value: &T) -> Result<Part, DiskError> {
        let bytes = rmp_serde::to_vec(value).map_err(|e| self.failed("write", e))?;
        self.write_part(name, |out| out(&bytes).map_err(|e| self.failed("write", e)))
    }

    fn write_part(
        &self,
        name: String,
        write: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), DiskError>,
    ) -> Result<Part, DiskError> {
        let failed = |e: io::Error| self.failed("write", e);
        let mut file = File::create(self.folder.join(&name)).map_err(failed)?;
        let (mut bytes, mut sum) = (0, crc32fast::Hasher::new());
        write(&mut |some| {
            bytes += some.len() as u64;
            sum.update(some);
            file.write_all(some)
        })?;
        file.sync_all().map_err(failed)?;
        Ok(Part { name, bytes, checksum: sum.finalize() })
    }

    /// Has all vectors that were written so far survive a loss of power.
    fn sync_pieces(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PIECE) {
                File::open(entry.path())?.sync_data()?;
            }
        }
        Ok(())
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), DiskError> {
        let body = encode(manifest, Encoding::MessagePack).map_err(|e| self.failed("write", e))?;
        let bytes = [&crc32fast::hash(&body).to_le_bytes(), &body[..]].concat();
        let new = self.folder.join("manifest-new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            sync_folder(&self.folder)?;
            std::fs::rename(&new, self.folder.join(MANIFEST))
        });
        written.map_err(|e| self.failed("write", e))
    }

    /// Removes the files of manifests before the newest one.
    fn clean(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let manifest = self.newest.as_ref().map(|newest| &newest.manifest);
        let parts = manifest.into_iter().flat_map(|manifest| {
            let known = manifest.segments.iter().chain(&manifest.known);
            known.chain(&manifest.basis).chain([&manifest.table])
        });
        let names: Vec<&str> = parts.map(|part| part.name.as_str()).collect();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_kept = name == MANIFEST || name.starts_with(PIECE) || names.contains(&&*name);
            if !is_kept && let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(file = %entry.path().display(), %error, "an old file stays");
            }
        }
    }

    fn failed(&self, action: &'static str, cause: impl std::fmt::Display) -> DiskError {
        DiskError::Failed { action, path: self.folder.clone(), cause: cause.to_string() }
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Sums up what is read through it.
struct Summed {
    inner: File,
    bytes: u64,
    sum: crc32fast::Hasher,
}

impl Read for Summed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.bytes += read as u64;
        self.sum.update(&out[..read]);
        Ok(read)
    }
}

/// Reads the bytes as what a manifest names, and as the manifest.
#[cfg(fuzzing)]
pub(crate) fn read_any(bytes: &[u8]) {
    let _ = decode::<Manifest>(bytes, Encoding::MessagePack);
    let _ = rmp_serde::from_slice::<Table>(bytes);
    let _ = rmp_serde::from_slice::<Basis>(bytes);
    let _ = rmp_serde::from_slice::<Vec<(ImageId, Known)>>(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weimocir_domain::{Beta, Candidate, Composed};
    use weimocir_index::LEARN;
    use weimocir_runtime::CancellationToken;

    use super::*;
    use crate::{
        apply::{
            learn,
            tests::{parts, vector},
        },
        disk::tests::{apply_group, log},
        gallery::tests::{see, statements},
        load,
        part::{self, tests::tombstone},
    };

    fn open(path: &Path) -> Shelf {
        load::open(path, &log("monday", 1_000_000)).unwrap().shelf
    }

    fn apply(shelf: &Shelf, parts: &[part::Part], applied: u64) {
        apply_group(&shelf.disk, &mut shelf.gallery_mut(), parts, applied);
    }

    fn save(shelf: &Shelf, applied: u64) -> bool {
        let moment = Moment::of(&shelf.gallery(), applied);
        moment.is_some_and(|moment| shelf.saved().save(shelf, moment).unwrap())
    }

    fn is_from_files(shelf: &Shelf) -> bool {
        shelf.saved().newest.is_some()
    }

    proptest! {
        // because: each case syncs files to disk some fifty times
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_shard_opens_as_it_was_whenever_its_index_was_saved(
            groups in prop::collection::vec((statements(), any::<bool>(), any::<bool>()), 1..6),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("shard-0");
            let mut plain = Gallery::default();
            let (mut shelf, mut is_saved) = (open(&path), false);
            for (n, (parts, saving, reopening)) in (1..).zip(&groups) {
                apply(&shelf, parts, n);
                plain.apply(parts.clone()).unwrap();
                if *saving {
                    is_saved |= save(&shelf, n);
                }
                if *reopening {
                    drop(shelf);
                    shelf = open(&path);
                    prop_assert_eq!(is_from_files(&shelf), is_saved);
                }
                prop_assert_eq!(see(&shelf.gallery()), see(&plain));
            }
        }
    }

    /// A shard with codes, and with changes of all kinds since it was saved.
    fn large(path: &Path) -> Shelf {
        let shelf = open(path);
        apply(&shelf, &parts(0, LEARN as u32 + 300), 1);
        learn(&shelf, &CancellationToken::new()).unwrap();
        assert!(save(&shelf, 1));
        apply(&shelf, &parts(LEARN as u32 + 200, LEARN as u32 + 600), 2);
        let deleted: Vec<_> = parts(100, 140).iter().map(part::Part::image).collect();
        let deletions = deleted.into_iter().map(|image| match tombstone(0, 9_000_000) {
            part::Part::Tombstone(part) => {
                part::Part::Tombstone(weimocir_wire::vectors::Tombstone { image, ..part })
            }
            other => other,
        });
        apply(&shelf, &deletions.collect::<Vec<_>>(), 3);
        shelf
    }

    fn answers(shelf: &Shelf) -> Vec<Vec<Candidate>> {
        let queries = (0..8).map(|n| {
            let image = vector(n * 500 + 77);
            let length = image.iter().map(|x| x * x).sum::<f32>().sqrt();
            let image = image.iter().map(|x| x / length).collect();
            Composed { image, captions: vec![], beta: Beta::new(0.3).unwrap() }
        });
        let search = |query| shelf.healing(|gallery| gallery.search(&query, 20, &[], None));
        queries.map(|query| search(query).unwrap()).collect()
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &to.join(entry.file_name())),
                false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
            }
        }
    }

    #[test]
    fn whatever_is_damaged_the_answers_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        let shelf = large(&path);
        let expected = answers(&shelf);
        drop(shelf);
        let files = std::fs::read_dir(path.join("index")).unwrap();
        let files: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
        for prefix in ["manifest", "table-", "basis-", "codes-", "known-", "vectors-"] {
            let is_there = files.iter().any(|file| file.to_string_lossy().starts_with(prefix));
            assert!(is_there, "{prefix}: {files:?}");
        }
        type Damage = fn(&mut Vec<u8>);
        let damages: [Damage; 3] =
            [|_| {}, |bytes| bytes[5_000..].fill(7), |bytes| bytes.truncate(10_000)];
        for file in &files {
            for (n, damage) in damages.iter().enumerate() {
                let copied = folder.path().join(format!("copy-{n}"));
                copy(&path, &copied);
                let damaged = copied.join("index").join(file);
                let mut bytes = std::fs::read(&damaged).unwrap();
                bytes.resize(bytes.len().max(20_000), 0);
                damage(&mut bytes);
                std::fs::write(&damaged, bytes).unwrap();
                let shelf = open(&copied);
                assert_eq!(answers(&shelf), expected, "{file:?} damaged in the way {n}");
                assert!(save(&shelf, 3));
                drop(shelf);
                let shelf = open(&copied);
                assert!(is_from_files(&shelf));
                assert_eq!(answers(&shelf), expected, "{file:?} damaged in the way {n}, later");
                drop(shelf);
                std::fs::remove_dir_all(&copied).unwrap();
            }
            // the file is missing
            let copied = folder.path().join("copy");
            copy(&path, &copied);
            std::fs::remove_file(copied.join("index").join(file)).unwrap();
            assert_eq!(answers(&open(&copied)), expected, "{file:?} missing");
            std::fs::remove_dir_all(&copied).unwrap();
        }
    }

    #[test]
    fn vectors_that_moved_when_they_were_mended_are_found_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard-0");
        let shelf = large(&path);
        let expected = answers(&shelf);
        drop(shelf);
        for entry in std::fs::read_dir(path.join("index")).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("codes-") || name.starts_with(PIECE) {
                let mut bytes = std::fs::read(entry.path()).unwrap();
                bytes[2_000..30_000].fill(7);
                std::fs::write(entry.path(), bytes).unwrap();
            }
        }
        for _ in 0..3 {
            // what is mended is not saved
            let shelf = open(&path);
            assert!(is_from_files(&shelf));
            assert_eq!(answers(&shelf), expected);
            shelf.read_through(&CancellationToken::new()).unwrap();
            assert_eq!(answers(&shelf), expected);
        }
    }

    #[test]
    fn an_index_of_another_state_of_the_store_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (path, older) = (folder.path().join("shard-0"), folder.path().join("older"));
        let shelf = large(&path);
        copy(&path.join("index"), &older);
        assert!(save(&shelf, 3));
        let expected = answers(&shelf);
        drop(shelf);
        // what was touched since the older one is forgotten
        std::fs::remove_dir_all(path.join("index")).unwrap();
        copy(&older, &path.join("index"));
        let shelf = open(&path);
        assert!(!is_from_files(&shelf));
        assert_eq!(answers(&shelf), expected);
    }
}
