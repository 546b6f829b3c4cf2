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
    /// The encoder of every vector in the logs of this name, once the first one was made.
    #[serde(default)]
    pub model: Option<ModelId>,
    /// What searches can filter by. More may be added; one that is there keeps its kind.
    #[serde(default, skip_serializing_if = "FieldKinds::is_empty")]
    pub fields: FieldKinds,
    /// The generation that serves, once there was another than the logs of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<Serving>,
    /// Of which collection this is a generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Collection>,
    /// The logs of this name are no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

/// A collection's change to another generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// The name of its logs.
    pub generation: Collection,
    pub model: ModelId,
    /// What served before.
    pub from: Collection,
}

impl CollectionRecord {
    /// One that serves itself, of no model yet.
    pub fn new(name: Collection, shards: u16) -> Self {
        let fields = FieldKinds::default();
        Self { name, shards, model: None, fields, serving: None, of: None, dropped: false }
    }

    /// The name of the logs that serve, which their subjects have.
    pub fn generation(&self) -> &Collection {
        self.serving.as_ref().map_or(&self.name, |serving| &serving.generation)
    }

    /// The encoder of every vector that serves.
    pub fn serving_model(&self) -> Option<&ModelId> {
        self.serving.as_ref().map(|serving| &serving.model).or(self.model.as_ref())
    }

    /// The models of its generations that do not serve, of the records that there are.
    pub fn other_models(&self, records: &[Self]) -> Vec<ModelId> {
        let idle = records.iter().filter(|other| {
            other.known_as() == &self.name && &other.name != self.generation() && !other.dropped
        });
        idle.filter_map(|other| other.model.clone()).collect()
    }

    /// What users know it as.
    pub fn known_as(&self) -> &Collection {
        self.of.as_ref().unwrap_or(&self.name)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_do_not_serve_are_those_of_other_generations() {
        let [model, other, third] = ["model", "other", "third"].map(ModelId::new);
        let collection = Collection::default();
        let own = CollectionRecord {
            model: Some(model.clone()),
            ..CollectionRecord::new(collection.clone(), 1)
        };
        let generation = |model: &ModelId| CollectionRecord {
            model: Some(model.clone()),
            of: Some(collection.clone()),
            ..CollectionRecord::new(collection.generation(model), 1)
        };
        let dropped = CollectionRecord { dropped: true, ..generation(&third) };
        let stranger = CollectionRecord::new("stranger".parse().unwrap(), 1);
        let records = [own.clone(), generation(&other), dropped, stranger];
        assert_eq!(own.other_models(&records), std::slice::from_ref(&other));
        let (generation, from) = (collection.generation(&other), collection);
        let serving = Some(Serving { generation, model: other, from });
        assert_eq!(CollectionRecord { serving, ..own }.other_models(&records), [model]);
    }
}
