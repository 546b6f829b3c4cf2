//! A backup's file: a plain tar, which any tar program lists and unpacks, of
//!
//!     backup.json             what this is: format, version, collection, shards
//!     parts/SHARD/IMAGE.PART  the logs' messages as they were, in each log's order; of two of one
//!                             name the later one holds
//!     pictures/IMAGE          picture files
//!     contents.json           the collection's record, where each log stood, how much there is
//!     sha256                  of all bytes before this entry, in hexadecimal
//!
//! The file ends in a way that the digest alone decides, so that no bit of it can change unseen.
//! Vectors and pictures do not compress, so nothing is compressed.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use weimocir_domain::{Collection, ImageId, Shard};
use weimocir_wire::{subjects::Part, vectors::CollectionRecord};

const FORMAT: &str = "weimocir-backup";
/// Of the whole file's shape. A reader refuses another.
const VERSION: u16 = 1;

const HEAD: &str = "backup.json";
const CONTENTS: &str = "contents.json";
const DIGEST: &str = "sha256";
/// The digest's entry and a tar's two empty blocks.
const TRAILER: usize = 4 * BLOCK;
const BLOCK: usize = 512;
/// No entry is larger: a message or a picture file.
const LARGEST: u64 = 64 << 20;
const PIECE: usize = 1 << 20;

/// What a file says of itself first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    format: String,
    version: u16,
    /// The program that wrote it.
    program: String,
    pub collection: Collection,
    pub shards: u16,
}

impl Head {
    pub(super) fn of(record: &CollectionRecord) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            collection: record.name.clone(),
            shards: record.shards,
        }
    }
}

/// What a file says of itself last, when all of it is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Contents {
    pub collection: CollectionRecord,
    /// By shard: the log's sequence up to which the file says what the log said.
    pub positions: Vec<u64>,
    pub counts: Counts,
    /// Images whose picture the object store did not have.
    pub without_picture: Vec<ImageId>,
    /// Messages of the logs that are no parts, which no backup holds.
    #[serde(default)]
    pub left_out: u64,
}

/// Entries of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub images: u64,
    pub captions: u64,
    pub tombstones: u64,
    pub pictures: u64,
}

impl Counts {
    pub(super) fn parts(&self) -> u64 {
        self.images + self.captions + self.tombstones
    }

    pub(super) fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Part(_, _, Part::Image) => self.images += 1,
            Kind::Part(_, _, Part::Captions) => self.captions += 1,
            Kind::Part(_, _, Part::Tombstone) => self.tombstones += 1,
            Kind::Picture(_) => self.pictures += 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Part(Shard, ImageId, Part),
    Picture(ImageId),
}

impl Kind {
    fn name(self) -> String {
        match self {
            Self::Part(shard, image, part) => format!("parts/{shard}/{image}.{}", part.token()),
            Self::Picture(image) => format!("pictures/{image}"),
        }
    }

    fn of(name: &str) -> Option<Self> {
        if let Some(image) = name.strip_prefix("pictures/") {
            return Some(Self::Picture(image.parse().ok()?));
        }
        let (shard, rest) = name.strip_prefix("parts/")?.split_once('/')?;
        let (image, _) = rest.split_once('.')?;
        let part = Part::of_subject(rest)?;
        let kind = Self::Part(Shard(shard.parse().ok()?), image.parse().ok()?, part);
        (kind.name() == name).then_some(kind)
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub kind: Kind,
    pub bytes: Bytes,
}

/// Writes a backup under a temporary name beside its own, which it gets when it is whole.
pub(super) struct Writer {
    path: PathBuf,
    tar: tar::Builder<Summed>,
}

/// What a finished file is.
#[derive(Debug)]
pub(super) struct Written {
    pub bytes: u64,
    pub sha256: String,
}

impl Writer {
    /// # Errors
    /// There is a file of that name, or its folder cannot be written.
    pub(super) fn create(path: &Path, head: &Head) -> anyhow::Result<Self> {
        ensure!(!path.exists(), "there is a file {} already", path.display());
        let folder = folder_of(path);
        let file = tempfile::Builder::new().prefix(".weimocir-backup-").tempfile_in(folder);
        let file = file.with_context(|| format!("cannot write into {}", folder.display()))?;
        let summed = Summed { file: BufWriter::with_capacity(PIECE, file), sum: Sha256::new() };
        let mut writer = Self { path: path.to_owned(), tar: tar::Builder::new(summed) };
        writer.append(HEAD, &serde_json::to_vec_pretty(head)?)?;
        Ok(writer)
    }

    pub(super) fn add(&mut self, entry: &Entry) -> anyhow::Result<()> {
        self.append(&entry.kind.name(), &entry.bytes)
    }

    /// # Errors
    /// The disk is full or fails, or somebody made a file of that name meanwhile.
    pub(super) fn finish(mut self, contents: &Contents) -> anyhow::Result<Written> {
        self.append(CONTENTS, &serde_json::to_vec_pretty(contents)?)?;
        let sha256 = format!("{:x}", self.tar.get_ref().sum.clone().finalize());
        self.append(DIGEST, sha256.as_bytes())?;
        let Self { path, tar } = self;
        let failed = || format!("cannot write {}", path.display());
        let buffered = tar.into_inner().with_context(failed)?.file;
        let file = buffered.into_inner().map_err(io::IntoInnerError::into_error);
        let file = file.with_context(failed)?;
        file.as_file().sync_all().with_context(failed)?;
        let bytes = file.as_file().metadata().with_context(failed)?.len();
        file.persist_noclobber(&path).with_context(failed)?;
        File::open(folder_of(&path)).and_then(|folder| folder.sync_all()).with_context(failed)?;
        Ok(Written { bytes, sha256 })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        append(&mut self.tar, name, bytes)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes)
}

/// How a file with this digest ends.
fn trailer(sha256: &str) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, DIGEST, sha256.as_bytes())?;
    tar.into_inner()
}

/// Sums up what is written through it.
struct Summed {
    file: BufWriter<NamedTempFile>,
    sum: Sha256,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A backup whose digest is right.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    file: File,
    pub head: Head,
}

impl Reader {
    /// Reads the whole file and compares it with its digest; `told` hears of each piece.
    ///
    /// # Errors
    /// It cannot be read, is no backup, is of another version, is cut off, or was changed.
    pub(super) fn open(path: &Path, told: impl Fn(u64)) -> anyhow::Result<Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        let mut reader = Self { path: path.to_owned(), head: read_head(&file, path)?, file };
        let length = reader.file.metadata().with_context(|| format!("cannot read {name}"))?.len();
        let cut_off = || format!("{name} is cut off: its {length} bytes have no end");
        let summed = length.checked_sub(TRAILER as u64).with_context(cut_off)?;
        let sha256 = reader.sum(summed, told).with_context(|| format!("cannot read {name}"))?;
        let mut end = vec![0; TRAILER];
        reader.file.read_exact(&mut end).with_context(|| format!("cannot read {name}"))?;
        ensure!(end.starts_with(b"sha256\0") && end.ends_with(&[0; 2 * BLOCK]), cut_off());
        ensure!(
            end == trailer(&sha256)?,
            "{name} was changed or damaged since it was written: it is not what its SHA-256 says"
        );
        Ok(reader)
    }

    /// Of the first `length` bytes.
    fn sum(&mut self, length: u64, told: impl Fn(u64)) -> io::Result<String> {
        self.file.seek(SeekFrom::Start(0))?;
        let (mut sum, mut piece, mut left) = (Sha256::new(), vec![0; PIECE], length);
        while left > 0 {
            let some = &mut piece[..PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            self.file.read_exact(some)?;
            sum.update(&*some);
            left -= some.len() as u64;
            told(some.len() as u64);
        }
        Ok(format!("{:x}", sum.finalize()))
    }

    /// Hands over every entry that is `wanted`, in order, until `take` says no; then what the file
    /// says last, if it was reached.
    ///
    /// # Errors
    /// The file cannot be read, or has something that is none of a backup's.
    pub(super) fn read(
        &mut self,
        wanted: impl Fn(Kind) -> bool,
        mut take: impl FnMut(Entry) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Option<Contents>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut archive = tar::Archive::new(&self.file);
        let failed = || format!("cannot read {}", self.path.display());
        for entry in archive.entries_with_seek().with_context(failed)? {
            let mut entry = entry.with_context(failed)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            match Kind::of(&name) {
                Some(kind) if wanted(kind) => {
                    let bytes = content(&mut entry).with_context(failed)?.into();
                    if !take(Entry { kind, bytes })? {
                        return Ok(None);
                    }
                }
                Some(_) => {}
                None if name == CONTENTS => {
                    let bytes = content(&mut entry).with_context(failed)?;
                    return Ok(Some(json(&bytes, CONTENTS).with_context(failed)?));
                }
                None if name == HEAD => {}
                None => bail!("{} has an entry `{name}`, which no backup has", self.path.display()),
            }
        }
        bail!("{} has no {CONTENTS}", self.path.display())
    }
}

fn read_head(mut file: &File, path: &Path) -> anyhow::Result<Head> {
    /// What every version says.
    #[derive(Deserialize)]
    struct Stamp {
        format: String,
        version: u16,
    }

    let no_backup = || format!("{} is no backup of weimocir", path.display());
    let mut archive = tar::Archive::new(&mut file);
    let first = archive.entries().with_context(no_backup)?.next().with_context(no_backup)?;
    let mut first = first.with_context(no_backup)?;
    ensure!(&*first.path_bytes() == HEAD.as_bytes(), no_backup());
    let bytes = content(&mut first).with_context(no_backup)?;
    let stamp: Stamp = json(&bytes, HEAD).with_context(no_backup)?;
    ensure!(stamp.format == FORMAT, no_backup());
    ensure!(
        stamp.version == VERSION,
        "{} is a backup of version {}; this program knows version {VERSION}",
        path.display(),
        stamp.version
    );
    json(&bytes, HEAD).with_context(no_backup)
}

fn content(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let size = entry.size();
    if size > LARGEST {
        return Err(io::Error::other(format!("an entry claims {size} bytes")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    // because: a file that ends within an entry is no error to the tar reader
    if bytes.len() as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn json<T: DeserializeOwned>(bytes: &[u8], name: &str) -> anyhow::Result<T> {
    serde_json::from_slice(bytes).with_context(|| format!("{name} cannot be understood"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record() -> CollectionRecord {
        CollectionRecord::new(Collection::default(), 2)
    }

    /// Version 1, as its readers know it.
    #[test]
    fn a_file_is_a_tar_that_names_its_parts_and_sums_up_what_is_before_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.tar");
        let picture = ImageId::of(b"abc");
        let part = Kind::Part(picture.shard(2), picture, Part::Image);
        let mut counts = Counts::default();
        let mut writer = Writer::create(&path, &Head::of(&record())).unwrap();
        for (kind, bytes) in [(part, &b"vector"[..]), (Kind::Picture(picture), b"abc")] {
            counts.count(kind);
            writer.add(&Entry { kind, bytes: Bytes::from_static(bytes) }).unwrap();
        }
        let (collection, positions) = (record(), vec![0, 7]);
        let without_picture = vec![picture];
        let contents = Contents { collection, positions, counts, without_picture, left_out: 3 };
        let written = writer.finish(&contents).unwrap();

        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(written.bytes, bytes.len() as u64);
        assert_eq!(written.sha256, format!("{:x}", Sha256::digest(&bytes[..bytes.len() - 2048])));
        let mut archive = tar::Archive::new(&bytes[..]);
        let found = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), content(&mut entry).unwrap())
        });
        let found: Vec<(String, Vec<u8>)> = found.collect();
        let text = |n: usize| serde_json::from_slice::<Value>(&found[n].1).unwrap();
        let id = "ba7816bf8f01cfea414140de5dae2223";
        let names = [
            "backup.json",
            &format!("parts/0/{id}.image"),
            &format!("pictures/{id}"),
            "contents.json",
            "sha256",
        ];
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        let head = json!({ "format": "weimocir-backup", "version": 1, "collection": "default",
            "shards": 2, "program": env!("CARGO_PKG_VERSION") });
        assert_eq!(text(0), head);
        assert_eq!((&found[1].1[..], &found[2].1[..]), (&b"vector"[..], &b"abc"[..]));
        let last = json!({ "collection": { "name": "default", "shards": 2, "model": null },
            "positions": [0, 7], "without_picture": [id], "left_out": 3,
            "counts": { "images": 1, "captions": 0, "tombstones": 0, "pictures": 1 } });
        assert_eq!(text(3), last);
        assert_eq!(found[4].1, written.sha256.as_bytes());

        let mut reader = Reader::open(&path, |_| {}).unwrap();
        let mut read = Vec::new();
        let take = |entry: Entry| {
            read.push(entry.kind);
            Ok(true)
        };
        assert_eq!(reader.read(|_| true, take).unwrap(), Some(contents));
        assert_eq!(read, [part, Kind::Picture(picture)]);
    }

    #[test]
    fn only_names_that_a_backup_has_are_read() {
        let id = "ba7816bf8f01cfea414140de5dae2223";
        for wrong in [
            "pictures/abc".to_owned(),
            format!("pictures/{id}.png"),
            format!("../pictures/{id}"),
            format!("parts/1/{id}"),
            format!("parts/01/{id}.image"),
            format!("parts/1/{id}.x.image"),
            format!("parts/70000/{id}.image"),
            format!("parts/1/{}.image", id.to_uppercase()),
        ] {
            assert_eq!(Kind::of(&wrong), None, "{wrong}");
        }
    }
}
