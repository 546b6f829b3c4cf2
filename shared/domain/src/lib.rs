//! Types and mathematics of composed image retrieval: ids, embeddings, fusion, similarity, the
//! (α, β) plane, candidates and their merge. No tokio, no I/O: what crosses NATS is `weimocir-wire`'s.

mod embedding;

pub use embedding::{Embedding, EmbeddingError, ModelId};
