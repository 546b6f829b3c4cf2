//! One shard's gallery in memory: exact search over images and captions that come, change and go.
//! Pure computation: no network, no files. Where the memory comes from is the caller's.

mod filter;

pub use filter::{Fields, FieldsError};
