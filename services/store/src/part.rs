//! A message of the log, read and checked. Whether it still holds is `ImageState::advance`'s to say.

use weimocir_domain::{Embedding, ImageId, ModelId};
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

/// A part that holds, with its image's state before and after it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub part: Part,
    pub before: ImageState,
    pub after: ImageState,
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
    /// Vectors of another model or dimension than `held`, or than each other.
    pub(crate) fn check_model(&self, held: Option<(&ModelId, usize)>) -> Result<(), PartError> {
        let Some((held, held_dim)) = held.or_else(|| self.shape()) else { return Ok(()) };
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

    /// What an image's state becomes with this part, or `None` if newer word is held already.
    pub(crate) fn advance(&self, state: ImageState) -> Option<ImageState> {
        match self {
            Self::Image(part) => state.advance(subjects::Part::Image, part.revision),
            Self::Captions(part) => state.advance(subjects::Part::Captions, part.revision),
            Self::Tombstone(part) => state.advance(subjects::Part::Tombstone, part.revision),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use weimocir_domain::Revision;
    use weimocir_wire::{Vector, encode, vectors::CaptionVector, work::Metadata};

    use super::*;

    pub(crate) const DIM: usize = 4;

    pub(crate) fn id(n: u8) -> ImageId {
        ImageId::from_bytes([n; 16])
    }

    pub(crate) fn model() -> ModelId {
        ModelId::new("m")
    }

    pub(crate) fn picture(n: u8, revision: u64, values: &[f32]) -> Part {
        Part::Image(ImagePart {
            image: id(n),
            revision: Revision(revision),
            model: model(),
            embedding: Vector(values.to_vec()),
            source: format!("{n}-{revision}.png"),
            metadata: Metadata::from_iter([("revision".to_owned(), revision.into())]),
        })
    }

    pub(crate) fn captions<'a>(
        n: u8,
        revision: u64,
        values: impl IntoIterator<Item = &'a [f32]>,
    ) -> Part {
        let captions = values.into_iter().enumerate().map(|(r, values)| CaptionVector {
            text: format!("caption {r} of {n}-{revision}"),
            embedding: Vector(values.to_vec()),
        });
        Part::Captions(CaptionsPart {
            image: id(n),
            revision: Revision(revision),
            model: model(),
            captions: captions.collect(),
        })
    }

    pub(crate) fn tombstone(n: u8, revision: u64) -> Part {
        Part::Tombstone(Tombstone { image: id(n), revision: Revision(revision) })
    }

    fn state(image: u64, captions: u64, tombstone: u64) -> ImageState {
        let revision = |n: u64| (n > 0).then_some(Revision(n));
        ImageState {
            image: revision(image),
            captions: revision(captions),
            tombstone: revision(tombstone),
        }
    }

    #[test]
    fn newer_word_holds_and_older_word_is_dropped() {
        let vector = [1.0, 0.0, 0.0, 0.0];
        let (picture, captions) = (|r| picture(1, r, &vector), |r| captions(1, r, [&vector[..]]));
        // a state is written as the revisions of image, captions and tombstone, 0 for none
        for (part, before, after) in [
            (picture(5), (0, 0, 0), Some((5, 0, 0))),
            (picture(5), (4, 3, 2), Some((5, 3, 2))),
            (picture(5), (5, 0, 0), Some((5, 0, 0))),
            (picture(5), (6, 0, 0), None),
            (picture(5), (0, 0, 5), None),
            (captions(5), (6, 4, 4), Some((6, 5, 4))),
            (captions(5), (0, 0, 6), None),
            (captions(5), (0, 6, 0), None),
            (tombstone(1, 5), (5, 6, 0), Some((0, 6, 5))),
            (tombstone(1, 5), (6, 5, 4), Some((6, 0, 5))),
            (tombstone(1, 5), (0, 0, 5), None),
            (tombstone(1, 5), (7, 7, 6), None),
        ] {
            let (before, after) =
                (state(before.0, before.1, before.2), after.map(|(i, c, t)| state(i, c, t)));
            assert_eq!(part.advance(before), after, "{part:?} on {before:?}");
        }
    }

    #[test]
    fn a_part_is_read_by_its_subject_and_checked() {
        let read = |subject: &str, part: &Part| {
            let payload = match part {
                Part::Image(p) => encode(p, Encoding::MessagePack),
                Part::Captions(p) => encode(p, Encoding::MessagePack),
                Part::Tombstone(p) => encode(p, Encoding::MessagePack),
            };
            Part::read(subject, &payload.unwrap())
        };
        let vector = [1.0, 0.0, 0.0, 0.0];
        let whole = picture(1, 1, &vector);
        assert_eq!(read("weimocir.vectors.default.0.x.image", &whole).unwrap().image(), id(1));
        for (subject, part) in [
            ("a.image", tombstone(1, 1)),
            ("a.captions", whole.clone()),
            ("a.image", picture(1, 1, &[])),
            ("a.image", picture(1, 1, &[0.0; DIM])),
            ("a.image", picture(1, 1, &[f32::NAN, 1.0])),
            ("a.captions", captions(1, 1, [&vector[..], &[f32::INFINITY]])),
        ] {
            let error = read(subject, &part).unwrap_err();
            assert!(matches!(error, PartError::Unreadable(_)), "{part:?} gave {error:?}");
        }
        assert_eq!(read("a.b", &whole).unwrap_err(), PartError::Subject("a.b".into()));
    }

    #[test]
    fn vectors_of_two_shapes_do_not_mix() {
        let vector = [1.0; DIM];
        let held = (&model(), DIM);
        assert_eq!(picture(1, 1, &vector).check_model(Some(held)), Ok(()));
        assert_eq!(picture(1, 1, &vector).check_model(None), Ok(()));
        assert_eq!(tombstone(1, 1).check_model(Some((&ModelId::new("other"), 3))), Ok(()));
        assert_eq!(
            picture(1, 1, &vector).check_model(Some((&ModelId::new("other"), 4))).unwrap_err(),
            PartError::ModelMix {
                held: ModelId::new("other"),
                held_dim: 4,
                offered: model(),
                offered_dim: 4
            }
        );
        let longer = captions(1, 1, [&vector[..], &[1.0; DIM + 1]]);
        assert!(longer.check_model(Some(held)).is_err());
        // an empty gallery takes any shape, but one part has one
        assert!(longer.check_model(None).is_err());
    }
}
