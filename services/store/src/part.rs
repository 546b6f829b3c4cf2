//! A message of the log, read and checked, and the rule that decides whether it still holds.

use weimocir_domain::{Embedding, ImageId, ModelId, Revision};
use weimocir_wire::{
    Encoding, decode,
    query::ImageState,
    subjects,
    vectors::{CaptionsPart, ImagePart, Tombstone},
};

#[derive(Debug, Clone)]
pub(crate) enum Part {
    Image(ImagePart),
    Captions(CaptionsPart),
    Tombstone(Tombstone),
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum PartError {
    #[error("no part of an image is published on {0}")]
    Subject(String),
    #[error("{0}")]
    Unreadable(String),
    #[error(
        "vectors of {offered} ({offered_dim} numbers) cannot join a gallery of {held} ({held_dim})"
    )]
    ModelMix { held: ModelId, held_dim: usize, offered: ModelId, offered_dim: usize },
}

impl Part {
    pub(crate) fn read(subject: &str, payload: &[u8]) -> Result<Self, PartError> {
        let unreadable = |e: weimocir_wire::WireError| PartError::Unreadable(e.to_string());
        let part = match subjects::Part::of_subject(subject) {
            Some(subjects::Part::Image) => {
                Self::Image(decode(payload, Encoding::MessagePack).map_err(unreadable)?)
            }
            Some(subjects::Part::Captions) => {
                Self::Captions(decode(payload, Encoding::MessagePack).map_err(unreadable)?)
            }
            Some(subjects::Part::Tombstone) => {
                Self::Tombstone(decode(payload, Encoding::MessagePack).map_err(unreadable)?)
            }
            None => return Err(PartError::Subject(subject.to_owned())),
        };
        part.check_embeddings()?;
        Ok(part)
    }

    fn check_embeddings(&self) -> Result<(), PartError> {
        for (model, vector) in self.vectors() {
            Embedding::new(model.clone(), vector.0.as_slice())
                .map_err(|e| PartError::Unreadable(e.to_string()))?;
        }
        Ok(())
    }

    fn vectors(&self) -> Vec<(&ModelId, &weimocir_wire::Vector)> {
        match self {
            Self::Image(part) => vec![(&part.model, &part.embedding)],
            Self::Captions(part) => {
                part.captions.iter().map(|caption| (&part.model, &caption.embedding)).collect()
            }
            Self::Tombstone(_) => vec![],
        }
    }

    /// The model and dimension that this part's vectors have, if it has any.
    pub(crate) fn shape(&self) -> Option<(&ModelId, usize)> {
        self.vectors().first().map(|(model, vector)| (*model, vector.0.len()))
    }

    /// # Errors
    /// Vectors of another model or dimension than `held`.
    pub(crate) fn check_model(&self, held: Option<(&ModelId, usize)>) -> Result<(), PartError> {
        let Some((held, held_dim)) = held else { return Ok(()) };
        for (offered, vector) in self.vectors() {
            if offered != held || vector.0.len() != held_dim {
                return Err(PartError::ModelMix {
                    held: held.clone(),
                    held_dim,
                    offered: offered.clone(),
                    offered_dim: vector.0.len(),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn image(&self) -> ImageId {
        match self {
            Self::Image(part) => part.image,
            Self::Captions(part) => part.image,
            Self::Tombstone(part) => part.image,
        }
    }

    /// What an image's state becomes with this part, or `None` if newer word is held already: a
    /// part is applied if it is not older than the same part held, and newer than the tombstone.
    pub(crate) fn advance(&self, state: ImageState) -> Option<ImageState> {
        let newer = |revision: Revision, held: Option<Revision>| {
            held.is_none_or(|held| revision >= held)
                && state.tombstone.is_none_or(|tombstone| revision > tombstone)
        };
        match self {
            Self::Image(p) => newer(p.revision, state.image)
                .then_some(ImageState { image: Some(p.revision), ..state }),
            Self::Captions(p) => newer(p.revision, state.captions)
                .then_some(ImageState { captions: Some(p.revision), ..state }),
            Self::Tombstone(p) => newer(p.revision, None).then(|| ImageState {
                image: state.image.filter(|&held| held > p.revision),
                captions: state.captions.filter(|&held| held > p.revision),
                tombstone: Some(p.revision),
            }),
        }
    }
}
