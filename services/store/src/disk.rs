//! One shard on disk: the one file that names sled. Losing it costs a re-reading of the log.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use weimocir_domain::ImageId;
use weimocir_runtime::LogIdentity;
use weimocir_wire::{
    Encoding, Message, decode, encode,
    query::ImageState,
    vectors::{CaptionsPart, ImagePart},
};

use crate::part::Part;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("failed to {action} the store in {}: {cause}", path.display())]
    Failed { action: &'static str, path: PathBuf, cause: String },
}

/// How far the log has been applied, and which log it was. Also the version of the folder's format:
/// a reader that does not know it starts again from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub log_created: String,
    pub applied: u64,
}

impl Message for Position {
    const NAME: &'static str = "store-position";
}

const POSITION: &[u8] = b"position";

/// The first byte of a key says what the record is; the image's id follows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Image = b'i' as isize,
    Captions = b'c' as isize,
    Tombstone = b't' as isize,
}

fn key(kind: Kind, image: ImageId) -> [u8; 17] {
    let mut key = [kind as u8; 17];
    key[1..].copy_from_slice(image.as_bytes());
    key
}

#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    db: sled::Db,
    /// sled's flush leaves the data in the kernel's cache; this handle syncs it to the platter.
    file: File,
}

impl Disk {
    /// Opens the folder, or makes it. One that is corrupt, of another format, or of another log is
    /// set aside loudly and begun anew: the log has everything.
    pub(crate) fn open(path: &Path, log: &LogIdentity) -> Result<(Self, u64), DiskError> {
        let disk = match Self::open_db(path) {
            Ok(disk) => disk,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the store cannot be opened; rebuilding from the log");
                set_aside(path)?;
                Self::open_db(path)?
            }
        };
        match disk.position() {
            Ok(None) if disk.db.is_empty() => Ok((disk, 0)),
            Ok(Some(position))
                if position.log_created == log.created && position.applied <= log.last_sequence =>
            {
                Ok((disk, position.applied))
            }
            found => {
                tracing::error!(path = %path.display(), ?found, ?log, "the store does not belong to this log; rebuilding from it");
                drop(disk);
                set_aside(path)?;
                Ok((Self::open_db(path)?, 0))
            }
        }
    }

    fn open_db(path: &Path) -> Result<Self, DiskError> {
        let failed = |cause: String| DiskError::Failed { action: "open", path: path.into(), cause };
        let db = sled::Config::new()
            .path(path)
            .flush_every_ms(None)
            // because: the vectors that searches need are in memory; the cache serves writes
            .cache_capacity(64 << 20)
            .open()
            .map_err(|e| failed(e.to_string()))?;
        let file = File::open(path.join("db")).map_err(|e| failed(e.to_string()))?;
        Ok(Self { path: path.into(), db, file })
    }

    fn position(&self) -> Result<Option<Position>, DiskError> {
        let found = self.db.get(POSITION).map_err(|e| self.failed("read", e))?;
        found
            .map(|value| decode(&value, Encoding::MessagePack).map_err(|e| self.failed("read", e)))
            .transpose()
    }

    /// Writes parts that have been found to hold, each with its image's state after it, and how far
    /// the log is applied with them; returns when all of it would survive a loss of power.
    pub(crate) fn write(
        &self,
        parts: &[(Part, ImageState)],
        position: &Position,
    ) -> Result<(), DiskError> {
        let mut batch = sled::Batch::default();
        for (part, after) in parts {
            self.write_part(&mut batch, part, *after)?;
        }
        batch.insert(POSITION, self.bytes(position)?);
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
        match part {
            Part::Image(p) => batch.insert(&key(Kind::Image, image), self.bytes(p)?),
            Part::Captions(p) => batch.insert(&key(Kind::Captions, image), self.bytes(p)?),
            Part::Tombstone(p) => {
                if after.image.is_none() {
                    batch.remove(&key(Kind::Image, image));
                }
                if after.captions.is_none() {
                    batch.remove(&key(Kind::Captions, image));
                }
                batch.insert(&key(Kind::Tombstone, image), self.bytes(p)?);
            }
        }
        Ok(())
    }

    fn bytes<T: Message>(&self, record: &T) -> Result<Vec<u8>, DiskError> {
        encode(record, Encoding::MessagePack).map_err(|e| self.failed("write", e))
    }

    fn get<T: Message>(&self, kind: Kind, image: ImageId) -> Result<Option<T>, DiskError> {
        let found = self.db.get(key(kind, image)).map_err(|e| self.failed("read", e))?;
        found
            .map(|value| decode(&value, Encoding::MessagePack).map_err(|e| self.failed("read", e)))
            .transpose()
    }

    pub(crate) fn image(&self, image: ImageId) -> Result<Option<ImagePart>, DiskError> {
        self.get(Kind::Image, image)
    }

    pub(crate) fn captions(&self, image: ImageId) -> Result<Option<CaptionsPart>, DiskError> {
        self.get(Kind::Captions, image)
    }

    /// Every part, in no particular order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Result<Part, DiskError>> + '_ {
        self.db.iter().filter(|entry| !entry.as_ref().is_ok_and(|(key, _)| key == POSITION)).map(
            |entry| {
                let (key, value) = entry.map_err(|e| self.failed("read", e))?;
                let read = |e: weimocir_wire::WireError| self.failed("read", e);
                match key.first() {
                    Some(b'i') => {
                        Ok(Part::Image(decode(&value, Encoding::MessagePack).map_err(read)?))
                    }
                    Some(b'c') => {
                        Ok(Part::Captions(decode(&value, Encoding::MessagePack).map_err(read)?))
                    }
                    Some(b't') => {
                        Ok(Part::Tombstone(decode(&value, Encoding::MessagePack).map_err(read)?))
                    }
                    _ => Err(self.failed("read", "a record of an unknown kind")),
                }
            },
        )
    }

    fn failed(&self, action: &'static str, cause: impl std::fmt::Display) -> DiskError {
        DiskError::Failed { action, path: self.path.clone(), cause: cause.to_string() }
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
