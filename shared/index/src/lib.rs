//! One shard's gallery in memory: exact search over images and captions that come, change and go.
//! Pure computation: no network, no files.
//!
//! `index` is the gallery, `search` the cascade over it: `sketch` estimates every row, `nibbles` bound
//! what is left, and `vectors` decide. `basis` and `turn` are what the codes are made with, `codes` their memory,
//! `kernels` the inner loops. `filter` knows which rows a filter lets through, and `chosen` makes words
//! of them. `saved` is what outlives the process.

mod basis;
mod chosen;
mod codes;
mod filter;
mod index;
mod kernels;
mod matrix;
mod memory;
mod nibbles;
mod saved;
mod search;
mod sketch;
#[cfg(test)]
mod tests;
mod turn;
mod vectors;

use weimocir_domain::ImageId;

pub use basis::Basis;
pub use filter::Fields;
pub use index::{Entry, Footprint, Index, LEARN, Learned, MOST_DIM, Prepared, Sample};
pub use memory::{Anonymous, Memory};
pub use saved::{Restoring, Table};
pub use search::{Found, Guarantee, Wanted};
pub use vectors::Exact;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IndexError {
    #[error("a vector has {found} numbers, and those of this gallery have {expected}")]
    Dimension { expected: usize, found: usize },
    #[error("a vector has no direction: its length is {norm}")]
    NoDirection { norm: f64 },
    #[error("k is {k}, and there are {images} images to choose from")]
    K { k: usize, images: usize },
    #[error("vectors of {dim} numbers cannot be indexed: 1 to {MOST_DIM} can")]
    Width { dim: usize },
    #[error("a query's length is {norm}, and should be 1")]
    NotUnit { norm: f64 },
    #[error("the chance of a miss is {miss}, which is not between 0 and 1")]
    Chance { miss: f64 },
    #[error("codes were learned for what the index was before: another learning began since")]
    Void,
    #[error("the vectors of image {image} are not what was stored")]
    Corrupt { image: ImageId },
    #[error("what is said of an index does not fit together: {0}")]
    Foreign(String),
    #[error("no room for {bytes} bytes: {cause}")]
    Memory { bytes: usize, cause: String },
}
