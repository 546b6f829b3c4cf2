//! Whether a message of a log is a part that a store would take, asked alike when a backup is
//! written and when it is read.

use anyhow::{Context, ensure};
use weimocir_domain::{ImageId, ModelId, Revision, Shard};
use weimocir_wire::{
    Encoding, Vector, decode,
    subjects::Part,
    vectors::{CaptionsPart, ImagePart, Tombstone},
};

/// No revision is greater: a stream counts from 1, and JSON holds no more than this exactly.
const LAST_REVISION: Revision = Revision(1 << 53);

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
    /// It cannot be read, is of another image, shard or model, is no vector, or has a revision that
    /// no stream gives. Of a version that this program does not know it is a
    /// [`WireError::Version`](weimocir_wire::WireError::Version).
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
        ensure!(revision <= LAST_REVISION, "no stream comes to its revision {}", revision.0);
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

#[cfg(test)]
mod tests {
    use weimocir_wire::encode;

    use super::*;

    fn check(image: ImageId, revision: u64) -> anyhow::Result<Revision> {
        let part = Tombstone { image: ImageId::of(b"abc"), revision: Revision(revision) };
        let payload = encode(&part, Encoding::MessagePack)?;
        Check::new(1, None).part((Shard(0), image, Part::Tombstone), &payload)
    }

    #[test]
    fn a_revision_that_no_stream_gives_is_refused() {
        let image = ImageId::of(b"abc");
        for right in [1, 9_007_199_254_740_992] {
            assert_eq!(check(image, right).unwrap(), Revision(right));
        }
        for wrong in [9_007_199_254_740_993, u64::MAX] {
            let told = check(image, wrong).unwrap_err().to_string();
            assert!(told.contains(&wrong.to_string()), "{told}");
        }
    }

    #[test]
    fn a_part_of_another_image_than_its_subject_says_is_refused() {
        let told = check(ImageId::of(b"abd"), 1).unwrap_err().to_string();
        assert!(told.contains(&ImageId::of(b"abc").to_string()), "{told}");
    }
}
