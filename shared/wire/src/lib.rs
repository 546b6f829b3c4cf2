//! Everything that crosses NATS: messages, their encoding and versions, subjects, names and headers.
//! What is done with them is `weimocir-runtime`'s and the services'.

mod binary;
mod codec;
pub mod dead;
pub mod feed;
pub mod metrics;
pub mod names;
pub mod query;
pub mod search;
pub mod subjects;
pub mod submit;
pub mod vectors;
pub mod work;

pub use binary::{Blob, Vector};
pub use codec::{Encoding, Message, WireError, decode, encode, peek};
