//! The vectors log: what is known of an image, one message per part, and collections' records.

use serde::{Deserialize, Serialize};
use weimocir_domain::{Collection, FieldKinds, ImageId, ModelId, Revision};

use crate::{Message, Vector, work::Metadata};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImagePart {
    pub image: ImageId,
    pub revision: Revision,
    pub model: ModelId,
    /// The raw projected feature `v`, not normalised.
    pub embedding: Vector,
    pub source: String,
    #[serde(default)]
    pub metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionsPart {
    pub image: ImageId,
    pub revision: Revision,
    pub model: ModelId,
    pub captions: Vec<CaptionVector>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionVector {
    pub text: String,
    /// The raw projected feature `t_r`, not normalised.
    pub embedding: Vector,
}

/// Everything older than this revision is forgotten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    pub image: ImageId,
    pub revision: Revision,
}

/// What all workers must agree on about a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionRecord {
    pub name: Collection,
    /// Fixed when the collection is made: an image's shard follows from it.
    pub shards: u16,
    /// The encoder of every vector, once the first one was made.
    #[serde(default)]
    pub model: Option<ModelId>,
    /// What searches can filter by. More may be added; one that is there keeps its kind.
    #[serde(default, skip_serializing_if = "FieldKinds::is_empty")]
    pub fields: FieldKinds,
}

impl Message for ImagePart {
    const NAME: &'static str = "image-part";
}

impl Message for CaptionsPart {
    const NAME: &'static str = "captions-part";
}

impl Message for Tombstone {
    const NAME: &'static str = "tombstone";
}

impl Message for CollectionRecord {
    const NAME: &'static str = "collection";
}
