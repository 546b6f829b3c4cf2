//! What a collection loses by dead letters.

use weimocir_domain::{Collection, ImageId, Revision};
use weimocir_runtime::{BusError, DeadLetter, DeadLetters};
use weimocir_wire::subjects;

use crate::Gallery;

/// A picture of which a part was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub image: ImageId,
    /// The submission that it is about.
    pub revision: Option<Revision>,
    /// A picture that cannot be encoded is lost to the gallery; one that cannot be captioned is not.
    pub is_whole: bool,
    pub reason: String,
    /// Where it counts, if it is not wherever the collection is.
    generation: Option<Collection>,
}

/// The losses of a gallery, as they come.
#[derive(Debug)]
pub struct Losses {
    letters: DeadLetters,
    read_up_to: u64,
    /// Those of a generation that may come to serve.
    aside: Vec<Loss>,
}

/// What a work message is about; a submitted picture does not know its revision.
#[derive(Debug, serde::Deserialize)]
struct About {
    collection: Collection,
    image: ImageId,
    #[serde(default)]
    revision: Option<Revision>,
    #[serde(default)]
    generation: Option<Collection>,
}

impl Losses {
    /// By the letters that come from now on.
    ///
    /// # Errors
    /// The letters cannot be counted now.
    pub async fn from_now(letters: DeadLetters) -> Result<Self, BusError> {
        let last = letters.last_number().await?;
        Ok(Self::after(letters, last))
    }

    /// By the letters after this number.
    pub fn after(letters: DeadLetters, number: u64) -> Self {
        Self { letters, read_up_to: number, aside: Vec::new() }
    }

    /// What came since the last time, of what matters still.
    ///
    /// # Errors
    /// The letters cannot be read now.
    pub async fn next(
        &mut self,
        gallery: &Gallery,
        matters: impl Fn(&Loss) -> bool,
    ) -> Result<Vec<Loss>, BusError> {
        for letter in self.letters.after(self.read_up_to).await? {
            self.read_up_to = letter.number;
            self.aside.extend(Loss::of(letter, &gallery.collection.name));
        }
        self.aside.retain(matters);
        if self.aside.is_empty() {
            return Ok(Vec::new());
        }
        let serving = gallery.generation().await;
        Ok(self.aside.extract_if(.., |loss| loss.counts_in(&serving)).collect())
    }
}

impl Loss {
    fn of(letter: DeadLetter, collection: &Collection) -> Option<Self> {
        let about: About = weimocir_wire::peek(&letter.payload)?;
        // because: a submitted picture's revision is its place in the work stream
        let revision = about.revision.or(letter.sequence.map(Revision));
        let is_whole = subjects::is_encode_image(&letter.subject);
        let About { image, generation, .. } = about;
        let loss = Self { image, revision, is_whole, reason: letter.reason, generation };
        (about.collection == *collection).then_some(loss)
    }

    // because: another model cannot encode it, which says nothing about the one that serves
    fn counts_in(&self, serving: &Collection) -> bool {
        self.generation.as_ref().is_none_or(|generation| generation == serving)
    }
}

#[cfg(test)]
mod tests {
    use weimocir_domain::ModelId;
    use weimocir_wire::{
        Encoding, encode,
        work::{EncodeInLane, Metadata},
    };

    use super::*;

    fn letter(generation: Option<&Collection>) -> DeadLetter {
        let (image, revision) = (ImageId::of(b"lost"), Revision(7));
        let (source, generation) = ("lost.png".to_owned(), generation.cloned());
        let metadata = Metadata::new();
        let collection = Collection::default();
        let work = EncodeInLane { collection, generation, image, revision, source, metadata };
        let lane = subjects::in_lane(subjects::ENCODE_IMAGE, &ModelId::new("own"));
        DeadLetter {
            number: 1,
            step: "encode".into(),
            reason: "cut off".into(),
            attempts: 1,
            at: String::new(),
            image: None,
            sequence: Some(3),
            subject: lane,
            payload: encode(&work, Encoding::MessagePack).unwrap(),
        }
    }

    #[test]
    fn a_letter_counts_where_the_generation_that_it_is_about_serves() {
        let own = Collection::default();
        let other = own.generation(&ModelId::new("other"));
        for (about, serving, counts) in [
            (None, &own, true),
            (None, &other, true),
            (Some(&own), &own, true),
            (Some(&other), &other, true),
            (Some(&other), &own, false),
            (Some(&own), &other, false),
        ] {
            let loss = Loss::of(letter(about), &own).unwrap();
            assert_eq!(loss.counts_in(serving), counts, "{about:?} {serving}");
            assert_eq!((loss.image, loss.revision), (ImageId::of(b"lost"), Some(Revision(7))));
            assert!(loss.is_whole && loss.reason == "cut off", "{loss:?}");
        }
        assert_eq!(Loss::of(letter(None), &"stranger".parse().unwrap()), None);
    }
}
