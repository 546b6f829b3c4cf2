//! Any bytes as what a store reads from its disk and its log, for the fuzzer alone.

use crate::{disk, part::Part, saved};

/// Reads the bytes as each kind of record. What comes of it does not matter, if it comes back.
pub fn read(bytes: &[u8]) {
    disk::read_any(bytes);
    saved::read_any(bytes);
    for part in ["image", "captions", "tombstone"] {
        if let Ok(part) = Part::read(part, bytes) {
            let _ = (part.check_model(None), part.shape(), part.image());
        }
    }
}
