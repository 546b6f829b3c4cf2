//! One picture of a source: read, given what the tables say of it, and submitted once.

use std::{
    collections::HashSet,
    io::Read,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use weimocir_client::{Gallery, Outcome, Submission, Submitter, too_large};
use weimocir_domain::ImageId;
use weimocir_wire::work::Metadata;

use super::{
    report::Taken,
    sources::{Content, Item},
    tables::Tables,
};

#[derive(Debug)]
pub(crate) struct Feed {
    submitter: Submitter,
    tables: Tables,
    /// Pictures of this run, so that the same file twice is submitted once.
    taken: Mutex<HashSet<ImageId>>,
    max_bytes: u64,
}

impl Feed {
    pub(crate) fn new(submitter: Submitter, max_bytes: u64, tables: Tables) -> Self {
        Self { submitter, tables, taken: Mutex::default(), max_bytes }
    }

    pub(crate) fn gallery(&self) -> &Gallery {
        self.submitter.gallery()
    }

    /// # Errors
    /// The pipeline does not take it. What is wrong with the picture itself is an outcome.
    pub(crate) async fn take(&self, item: Item) -> anyhow::Result<Taken> {
        let Item { name: source, content, captions, metadata } = item;
        let bytes = match self.bytes(content).await {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(Taken::Was(Outcome::Refused { source, reason })),
        };
        let image = ImageId::of(&bytes);
        // because: an empty file is refused by its name, each time
        if !bytes.is_empty()
            && !self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(image)
        {
            return Ok(Taken::Repeated);
        }
        let captions = captions.or_else(|| self.tables.captions(&source).cloned());
        let metadata: Metadata = match self.tables.metadata(&source) {
            Some(more) => metadata.into_iter().chain(more.clone()).collect(),
            None => metadata,
        };
        let submission = Submission { source, bytes, captions, metadata };
        Ok(Taken::Was(self.submitter.take(submission).await?))
    }

    /// A picture's file, or why it is none.
    async fn bytes(&self, content: Content) -> Result<Vec<u8>, String> {
        let limit = self.max_bytes;
        match content {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Unreadable(reason) => Err(reason),
            Content::File(path) => blocking(move || read_file(&path, limit)).await,
            Content::Url(url) => blocking(move || fetch(&url, limit)).await,
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

/// How long a picture may take to come over the network.
const FETCH: Duration = Duration::from_secs(30);

fn fetch(url: &str, limit: u64) -> Result<Vec<u8>, String> {
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err("only http and https addresses are fetched".into());
    }
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(FETCH)).build().into();
    let mut response = agent.get(url).call().map_err(|e| format!("cannot be fetched: {e}"))?;
    let body = response.body_mut().with_config().limit(limit + 1);
    body.read_to_vec().map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(_) => too_large(limit),
        error => format!("cannot be fetched: {error}"),
    })
}
