//! The bytes of a weights file: mapped, or inside this program.

use std::{fs, ops::Deref, path::Path};

use memmap2::Mmap;

use crate::error::ModelError;

#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl Bytes {
    pub(super) fn map(path: &Path) -> Result<Self, ModelError> {
        let mapped = fs::File::open(path).and_then(|file| {
            // SAFETY: the bytes are only copied out, and only while the model loads. A file that is
            // overwritten during that time gives wrong weights; one that is cut short ends the
            // process, so weights are replaced by renaming, as the hub's cache does.
            unsafe { Mmap::map(&file) }
        });
        mapped
            .map(Self::Mapped)
            .map_err(|source| ModelError::Read { file: path.display().to_string(), source })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => mapped,
            Self::Static(bytes) => bytes,
        }
    }
}
