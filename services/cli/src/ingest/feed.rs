//! One picture of a source: read, given what the tables say of it, and submitted once.

use std::{collections::HashSet, io::Read, path::Path};

use tokio::sync::Mutex;
use weimocir_client::{Gallery, Outcome, Submission, Submitter, too_large};
use weimocir_domain::ImageId;
use weimocir_fetch::{FetchArgs, FetchError, Fetcher};
use weimocir_wire::work::Metadata;

use crate::delete;

use super::{
    IngestArgs,
    report::Taken,
    sources::{Content, Item},
    tables::Tables,
};

/// Of the pictures in each lane one is submitted at a time.
// because: as many as pictures may be in hand, so that two of them seldom share one
const LANES: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Feed {
    submitter: Submitter,
    tables: Tables,
    /// Pictures that the pipeline has taken in this run, by lane, so that the same file twice is
    /// submitted once: the second waits until it is known what became of the first.
    taken: Vec<Mutex<HashSet<ImageId>>>,
    max_bytes: u64,
    fetcher: Fetcher,
}

impl Feed {
    pub(crate) fn new(submitter: Submitter, args: &IngestArgs, tables: Tables) -> Self {
        let url_max_bytes = args.fetch.url_max_bytes.min(args.max_bytes);
        let fetcher = Fetcher::new(&FetchArgs { url_max_bytes, ..args.fetch.clone() });
        let taken = std::iter::repeat_with(Mutex::default).take(LANES).collect();
        let max_bytes = args.max_bytes;
        Self { submitter, tables, taken, max_bytes, fetcher }
    }

    pub(crate) fn gallery(&self) -> &Gallery {
        self.submitter.gallery()
    }

    /// # Errors
    /// The pipeline does not take it. What is wrong with the picture itself is an outcome.
    pub(crate) async fn take(&self, item: Item) -> anyhow::Result<Taken> {
        let Item { name: source, content, captions, metadata, offer } = item;
        let bytes = match self.bytes(content).await {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(Taken::Was(Outcome::Refused { source, reason })),
        };
        let image = ImageId::of(&bytes);
        let mut taken = self.lane(image).lock().await;
        if taken.contains(&image) {
            return Ok(Taken::Repeated { image });
        }
        let captions = captions.or_else(|| self.tables.captions(&source).cloned());
        let metadata: Metadata = match self.tables.metadata(&source) {
            Some(more) => metadata.into_iter().chain(more.clone()).collect(),
            None => metadata,
        };
        let submission = Submission { source, bytes, captions, metadata, offer };
        let outcome = self.submitter.take(submission).await?;
        // because: one that is refused is refused by its name each time
        if !matches!(outcome, Outcome::Refused { .. }) {
            taken.insert(image);
        }
        Ok(Taken::Was(outcome))
    }

    fn lane(&self, image: ImageId) -> &Mutex<HashSet<ImageId>> {
        &self.taken[(image.seed() % LANES as u64) as usize]
    }

    /// Every picture is new from now on: somebody may have deleted it since it was taken.
    pub(crate) async fn start_over(&self) {
        for lane in &self.taken {
            lane.lock().await.clear();
        }
    }

    /// Has an image deleted, and waits for it; its picture is new from then on.
    ///
    /// # Errors
    /// The deletion is not taken, or no store hears of it.
    pub(crate) async fn forget(&self, image: ImageId) -> anyhow::Result<()> {
        delete::forget(self.gallery(), image).await?;
        self.lane(image).lock().await.remove(&image);
        Ok(())
    }

    /// A picture's file, or why it is none.
    async fn bytes(&self, content: Content) -> Result<Vec<u8>, String> {
        let limit = self.max_bytes;
        match content {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Unreadable(reason) => Err(reason),
            Content::File(path) => blocking(move || read_file(&path, limit)).await,
            Content::Url(url) => self.fetcher.get(&url).await.map_err(|error| match error {
                FetchError::TooLarge(most) if most == limit => too_large(limit),
                error => error.to_string(),
            }),
        }
    }
}

async fn blocking(
    read: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static,
) -> Result<Vec<u8>, String> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(format!("reading stopped: {e}")))
}

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    Ok(bytes)
}
