//! The reference of a search: a stored image with its embedding, or a picture still to be encoded.

use tokio::time::Instant;
use weimocir_domain::{Embedding, ImageId};
use weimocir_wire::{
    Blob,
    query::{CaptionQuery, CaptionedQuery, Record, RecordQuery},
    search::{Refusal, RefusalCode},
    subjects,
    vectors::CollectionRecord,
};

use crate::search::{Searcher, internal, left};

#[derive(Debug)]
pub(crate) enum Resolved {
    Absent,
    Stored { image: ImageId, embedding: Embedding, captions: Vec<Embedding> },
    Uploaded { image: ImageId, picture: Blob, captions: Vec<String> },
}

impl Resolved {
    pub(crate) fn image(&self) -> Option<ImageId> {
        match self {
            Self::Absent => None,
            Self::Stored { image, .. } | Self::Uploaded { image, .. } => Some(*image),
        }
    }
}

impl Searcher {
    /// Everything that the gallery holds of an image.
    pub(crate) async fn record(
        &self,
        collection: &CollectionRecord,
        image: ImageId,
        until: Instant,
    ) -> Result<Record, Refusal> {
        let subject = subjects::record(collection.generation(), image.shard(collection.shards));
        self.bus.ask(&subject, &RecordQuery { image }, left(until)?).await
    }

    pub(crate) async fn stored_reference(
        &self,
        collection: &CollectionRecord,
        image: ImageId,
        with_captions: bool,
        until: Instant,
    ) -> Result<Resolved, Refusal> {
        let record = self.record(collection, image, until).await?;
        if with_captions && record.captions.is_empty() {
            let message = format!(
                "image {image} has no captions yet, and text_reference \"caption\" needs them: use \"image\", or ask again later"
            );
            return Err(Refusal::new(RefusalCode::NotReady, message));
        }
        let embedding = record.embedding.embedding(&record.model).map_err(internal)?;
        let captions =
            record.captions.into_iter().map(|caption| caption.embedding.embedding(&record.model));
        let captions = captions.collect::<Result<_, _>>().map_err(internal)?;
        Ok(Resolved::Stored {
            image,
            embedding,
            captions: if with_captions { captions } else { vec![] },
        })
    }

    pub(crate) async fn uploaded_reference(
        &self,
        picture: Blob,
        with_captions: bool,
        until: Instant,
    ) -> Result<Resolved, Refusal> {
        if picture.0.is_empty() {
            return Err(Refusal::invalid("the reference picture is empty"));
        }
        let image = ImageId::of(&picture.0);
        let captions = if with_captions {
            let question = CaptionQuery { image: picture.clone() };
            let answer: CaptionedQuery =
                self.bus.ask(subjects::CAPTION_QUERY, &question, left(until)?).await?;
            answer.captions
        } else {
            vec![]
        };
        Ok(Resolved::Uploaded { image, picture, captions })
    }
}
