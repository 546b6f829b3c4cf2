//! What clients say to `weimocir.submit`, and what they are told: JSON or MessagePack, by the
//! request's Content-Type, the answer in the same.

use serde::{Deserialize, Serialize};
use weimocir_domain::{Collection, ImageId};

use crate::{Blob, Message, work::Metadata};

/// One picture to put in: its file, or where it is to be fetched from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// Written by the codec for every message; named here so that it is no unknown field.
    #[serde(default, skip_serializing)]
    pub version: Option<u16>,
    /// A collection that is there.
    #[serde(default)]
    pub collection: Collection,
    /// The file: base64 in JSON, binary in MessagePack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Blob>,
    /// In place of `image`, an http or https address; for files that are larger than a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it came from: a path or address. Default: the `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// Captions made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captions: Option<Vec<String>>,
    /// Have captions made if it brings none. Default: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub make_captions: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitAnswer {
    /// Names the picture by its content.
    pub id: ImageId,
    pub outcome: SubmitOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubmitOutcome {
    /// It is on its way.
    Submitted,
    /// The gallery has it already.
    Present,
}

impl Message for SubmitRequest {
    const NAME: &'static str = "submit";
}

impl Message for SubmitAnswer {
    const NAME: &'static str = "submit-answer";
}
