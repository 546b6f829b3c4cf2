//! Whether a message of a log is a part that a store would take, asked alike when a backup is
//! written and when it is read.

use anyhow::{Context, ensure};
use weimocir_domain::{ImageId, ModelId, Revision, Shard};
use weimocir_wire::{
    Encoding, Vector, decode,
    subjects::Part,
    vectors::{CaptionsPart, ImagePart, Tombstone},
};

/// What the vectors of one collection have in common.
#[derive(Debug)]
pub(super) struct Check {
    shards: u16,
    model: Option<ModelId>,
    dim: Option<usize>,
}

impl Check {
    pub(super) fn new(shards: u16, model: Option<ModelId>) -> Self {
        Self { shards, model, dim: None }
    }

    /// The revision of a part.
    ///
    /// # Errors
    /// It cannot be read, is of another image, shard or model, or is no vector.
    pub(super) fn part(
        &mut self,
        (shard, image, part): (Shard, ImageId, Part),
        payload: &[u8],
    ) -> anyhow::Result<Revision> {
        let (named, revision) = match part {
            Part::Image => {
                let part: ImagePart = decode(payload, Encoding::MessagePack)?;
                self.vector(&part.model, part.embedding)?;
                (part.image, part.revision)
            }
            Part::Captions => {
                let part: CaptionsPart = decode(payload, Encoding::MessagePack)?;
                for caption in part.captions {
                    self.vector(&part.model, caption.embedding)?;
                }
                (part.image, part.revision)
            }
            Part::Tombstone => {
                let part: Tombstone = decode(payload, Encoding::MessagePack)?;
                (part.image, part.revision)
            }
        };
        ensure!(named == image, "it is of the image {named}");
        ensure!(image.shard(self.shards) == shard, "that image is not of the shard {shard}");
        Ok(revision)
    }

    fn vector(&mut self, model: &ModelId, vector: Vector) -> anyhow::Result<()> {
        let embedding = vector.embedding(model).context("a vector cannot be used")?;
        let (held, dim) = (self.model.get_or_insert(model.clone()), embedding.dim());
        ensure!(held == model, "its vectors are of {model}, the collection's of {held}");
        let held = *self.dim.get_or_insert(dim);
        ensure!(held == dim, "its vectors have {dim} numbers, the collection's {held}");
        Ok(())
    }
}
