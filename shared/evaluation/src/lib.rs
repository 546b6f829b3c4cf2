//! The method's evaluation: data sets, their embeddings, the whole (α, β) plane of a metric, and what
//! is reported of it. No tokio, no models: who encodes a test set hands its embeddings over.
//!
//! `datasets` read a [`TestSet`], [`FeaturesFile`] its [`Embeddings`], [`sweep`] ranks the targets.

mod asked;
mod cache;
mod captions;
mod datasets;
mod embeddings;
mod error;
mod exact;
mod features;
mod grid;
mod kernels;
mod metric;
mod nearest;
mod products;
mod report;
mod results;
mod submission;
mod sweep;
mod test_set;
mod tuning;

pub use cache::{Cache, CacheError};
pub use captions::CaptionChoice;
pub use datasets::{circo, cirr, fashioniq, genecis, jsonl};
pub use embeddings::{Embeddings, Parts};
pub use error::{DataError, EmbeddingsError, EvaluationError, FeaturesError, Names};
pub use features::{FeaturesFile, write_features};
pub use grid::Grid;
pub use metric::{Metric, NEVER};
pub use nearest::{Nearest, Point, nearest};
pub use report::{Panel, Plane, Problem, Report, Sheet, Timelines, planes};
pub use results::{Row, mean, rows, write_ablation, write_csv, write_tuned};
pub use submission::{SUBMITTED, write_submission};
pub use sweep::{Plan, Sweep, sweep};
pub use test_set::{GalleryImage, TestSet, Triplet};
pub use tuning::{Tuned, halves, tune};
