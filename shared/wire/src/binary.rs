//! Bytes and vectors inside messages: binary in MessagePack, base64 in JSON.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use weimocir_domain::{Embedding, EmbeddingError, ModelId};

/// Bytes, such as a picture's file.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Blob {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let text = utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .content_encoding("base64");
        text.description(Some("A picture's file.")).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Blob {}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_str(&BASE64_STANDARD.encode(&self.0))
        } else {
            s.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let text = String::deserialize(d)?;
            BASE64_STANDARD.decode(text).map(Self).map_err(de::Error::custom)
        } else {
            serde_bytes::ByteBuf::deserialize(d).map(|bytes| Self(bytes.into_vec()))
        }
    }
}

/// The values of an embedding or a unit vector: f32, little-endian, as a blob.
#[derive(Clone, PartialEq)]
pub struct Vector(pub Vec<f32>);

impl Vector {
    /// # Errors
    /// Values that are no embedding: none, not finite, or of length zero.
    pub fn embedding(self, model: &ModelId) -> Result<Embedding, EmbeddingError> {
        Embedding::new(model.clone(), self.0)
    }
}

impl From<&Embedding> for Vector {
    fn from(embedding: &Embedding) -> Self {
        Self(embedding.values().to_vec())
    }
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vector(d = {})", self.0.len())
    }
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Blob(self.0.iter().flat_map(|x| x.to_le_bytes()).collect()).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Blob(bytes) = Blob::deserialize(d)?;
        let (values, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(de::Error::custom(format!("{} bytes are no f32 values", bytes.len())));
        }
        Ok(Self(values.iter().map(|&b| f32::from_le_bytes(b)).collect()))
    }
}
