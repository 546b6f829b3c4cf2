//! Images that are liked, and others that are not: their embeddings from the stores.

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use weimocir_domain::{Embedding, ImageId};
use weimocir_wire::{
    search::{Refusal, SearchRequest},
    vectors::CollectionRecord,
};

use crate::search::{Searcher, internal};

#[derive(Debug, Default)]
pub(crate) struct Feedback {
    pub more_like: Vec<Embedding>,
    pub less_like: Vec<Embedding>,
}

/// More marks than this are no feedback of a person.
const MAX_MARKS: usize = 100;
/// Questions to the stores at the same time.
const QUESTIONS: usize = 16;

impl Searcher {
    pub(crate) async fn feedback(
        &self,
        collection: &CollectionRecord,
        request: &SearchRequest,
        until: Instant,
    ) -> Result<Feedback, Refusal> {
        let (more, less) = (&request.more_like, &request.less_like);
        let marks = more.len() + less.len();
        if marks > MAX_MARKS {
            return Err(Refusal::invalid(format!(
                "more_like and less_like name {marks} images, of at most {MAX_MARKS}"
            )));
        }
        if let Some(both) = more.iter().find(|&image| less.contains(image)) {
            return Err(Refusal::invalid(format!("image {both} is in more_like and in less_like")));
        }
        Ok(Feedback {
            more_like: self.embeddings(collection, more, until).await?,
            less_like: self.embeddings(collection, less, until).await?,
        })
    }

    async fn embeddings(
        &self,
        collection: &CollectionRecord,
        images: &[ImageId],
        until: Instant,
    ) -> Result<Vec<Embedding>, Refusal> {
        let asked: Vec<_> =
            images.iter().map(|&image| self.embedding(collection, image, until).boxed()).collect();
        stream::iter(asked).buffered(QUESTIONS).try_collect().await
    }

    async fn embedding(
        &self,
        collection: &CollectionRecord,
        image: ImageId,
        until: Instant,
    ) -> Result<Embedding, Refusal> {
        let record = self.record(collection, image, until).await?;
        record.embedding.embedding(&record.model).map_err(internal)
    }
}

/// The mean of embeddings, which stands for a reference; none of none.
pub(crate) fn mean(embeddings: &[Embedding]) -> Result<Option<Embedding>, Refusal> {
    let Some(first) = embeddings.first() else { return Ok(None) };
    let mut sums = vec![0.0_f64; first.dim()];
    for embedding in embeddings {
        sums.iter_mut().zip(embedding.values()).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    let count = embeddings.len() as f64;
    let values: Vec<f32> = sums.into_iter().map(|sum| (sum / count) as f32).collect();
    let mean = Embedding::new(first.model().clone(), values);
    mean.map(Some).map_err(|_| Refusal::invalid("the images of more_like cancel each other out"))
}
