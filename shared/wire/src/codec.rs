//! How a message becomes bytes: MessagePack between workers, MessagePack or JSON for clients, each
//! message with the version of its shape.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::names::CONTENT_JSON;

/// A message with a name for errors and the version of its shape.
///
/// A field that old readers can ignore, or that has a default, keeps the version; any other change
/// raises it, and a reader refuses a version that it does not know.
pub trait Message: Serialize + DeserializeOwned {
    const NAME: &'static str;
    const VERSION: u16 = 1;
}

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("this is no {name} message: {cause}")]
    Malformed { name: &'static str, cause: String },
    #[error("this {name} message has version {found}; this program knows version {known}")]
    Version { name: &'static str, found: u16, known: u16 },
    #[error("a {name} message cannot be written: {cause}")]
    Unwritable { name: &'static str, cause: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    #[default]
    MessagePack,
    Json,
}

impl Encoding {
    /// The encoding that a Content-Type names. Without one, a payload that opens with `{` is JSON:
    /// MessagePack opens a message of ours with a map marker, which is another byte.
    pub fn of(content_type: Option<&str>, payload: &[u8]) -> Self {
        match content_type {
            Some(named) if named.starts_with(CONTENT_JSON) => Self::Json,
            Some(_) => Self::MessagePack,
            None if payload.trim_ascii_start().first() == Some(&b'{') => Self::Json,
            None => Self::MessagePack,
        }
    }
}

#[derive(Serialize)]
struct Outgoing<'a, T> {
    version: u16,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Stamp {
    #[serde(default = "first")]
    version: u16,
}

// because: a client that asks by hand may leave the version out, and means the first
fn first() -> u16 {
    1
}

/// # Errors
/// A value that the encoding cannot hold.
pub fn encode<T: Message>(message: &T, encoding: Encoding) -> Result<Vec<u8>, WireError> {
    let outgoing = Outgoing { version: T::VERSION, body: message };
    match encoding {
        Encoding::MessagePack => rmp_serde::to_vec_named(&outgoing).map_err(|e| e.to_string()),
        Encoding::Json => serde_json::to_vec(&outgoing).map_err(|e| e.to_string()),
    }
    .map_err(|cause| WireError::Unwritable { name: T::NAME, cause })
}

/// # Errors
/// Bytes that are no such message, or one of a version that this program does not know.
pub fn decode<T: Message>(payload: &[u8], encoding: Encoding) -> Result<T, WireError> {
    let stamp: Stamp = read(payload, encoding, T::NAME)?;
    if stamp.version != T::VERSION {
        return Err(WireError::Version { name: T::NAME, found: stamp.version, known: T::VERSION });
    }
    read(payload, encoding, T::NAME)
}

fn read<T: DeserializeOwned>(
    payload: &[u8],
    encoding: Encoding,
    name: &'static str,
) -> Result<T, WireError> {
    match encoding {
        Encoding::MessagePack => rmp_serde::from_slice(payload).map_err(|e| e.to_string()),
        Encoding::Json => serde_json::from_slice(payload).map_err(|e| e.to_string()),
    }
    .map_err(|cause| WireError::Malformed { name, cause })
}

/// Reads some fields of a MessagePack message, of whatever kind and version it is.
pub fn peek<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    rmp_serde::from_slice(payload).ok()
}
