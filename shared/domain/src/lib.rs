//! Types and mathematics of composed image retrieval: ids, embeddings, fusion, similarity,
//! filters, candidates and their merge. No tokio, no I/O: what crosses NATS is `weimocir-wire`'s.

mod candidate;
mod embedding;
mod field;
mod filter;
mod fusion;
mod ids;
mod long_text;
mod plane;
#[cfg(feature = "openapi")]
mod schemas;
mod similarity;
mod steering;
mod weights;

pub use candidate::{Candidate, CandidateError, CaptionSimilarity, TopK, merge};
pub use embedding::{Embedding, EmbeddingError, ModelId};
pub use field::{FieldDeclaration, FieldError, FieldKind, FieldKinds, FieldValue, Scalar};
pub use filter::{Condition, Filter, FilterError, Range, Test};
pub use fusion::{FusionError, fuse};
pub use ids::{Collection, IdError, ImageId, Revision, Shard};
pub use long_text::{LongText, LongTextError};
pub use plane::{Component, Components, Explained, Norm, Norms, Query, Share};
pub use similarity::{Composed, Raw, Similarities, exact_dot, norm};
pub use steering::{Steering, SteeringError};
pub use weights::{Alpha, Beta, Gamma, TextReference, WeightError};
