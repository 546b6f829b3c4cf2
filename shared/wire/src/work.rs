//! Work for the pipeline: pictures to encode and to caption, captions to encode, images to delete.

use serde::{Deserialize, Serialize};
use weimocir_domain::{Collection, ImageId, Revision};

use crate::Message;

pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// A submitted picture. Its bytes lie in the object store under its id; its revision is the
/// sequence that the work stream gives this message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodeImage {
    pub collection: Collection,
    pub image: ImageId,
    /// Where the picture came from: a path or address, as its feed names it.
    pub source: String,
    #[serde(default)]
    pub metadata: Metadata,
}

/// A picture in the lane of one model, with the revision that its submission got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodeInLane {
    pub collection: Collection,
    /// The generation to encode it for, if not the one that serves.
    #[serde(default)]
    pub generation: Option<Collection>,
    pub image: ImageId,
    pub revision: Revision,
    pub source: String,
    #[serde(default)]
    pub metadata: Metadata,
}

/// A submitted picture that wants captions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionImage {
    pub collection: Collection,
    pub image: ImageId,
    /// The submission that this belongs to.
    pub revision: Revision,
    /// As `EncodeImage`'s, for captioners that know pictures by name.
    #[serde(default)]
    pub source: Option<String>,
}

/// Captions made, or supplied with the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodeCaptions {
    pub collection: Collection,
    /// As `EncodeInLane`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Collection>,
    pub image: ImageId,
    pub revision: Revision,
    pub captions: Vec<String>,
}

/// An image to forget. Its revision is the sequence that the work stream gives this message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeleteImage {
    pub collection: Collection,
    pub image: ImageId,
}

impl Message for EncodeImage {
    const NAME: &'static str = "encode-image";
}

impl Message for EncodeInLane {
    const NAME: &'static str = "encode-in-lane";
}

impl Message for CaptionImage {
    const NAME: &'static str = "caption-image";
}

impl Message for EncodeCaptions {
    const NAME: &'static str = "encode-captions";
}

impl Message for DeleteImage {
    const NAME: &'static str = "delete-image";
}
