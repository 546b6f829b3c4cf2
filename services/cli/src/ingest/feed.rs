//! One picture into the pipeline: checked, stored under its id, and published as work.

use std::{
    collections::HashSet,
    io::Read,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use weimocir_domain::{ImageId, Revision};
use weimocir_fetch::{FetchArgs, FetchError, Fetcher};
use weimocir_runtime::{Bus, PictureError, Pictures, SubmitError};
use weimocir_wire::{
    Message,
    query::{ImageState, Lookup, LookupQuery},
    search::{Refusal, RefusalCode},
    subjects,
    vectors::CollectionRecord,
    work::{CaptionImage, EncodeCaptions, EncodeImage, Metadata},
};

use super::{
    IngestArgs,
    report::{Expected, Outcome},
    sources::{Content, Item},
    tables::Tables,
};
use crate::PATIENCE;

#[derive(Debug)]
pub(crate) struct Feed {
    pub bus: Bus,
    pub collection: CollectionRecord,
    pictures: Pictures,
    tables: Tables,
    /// Pictures of this run, so that the same file twice is submitted once.
    taken: Mutex<HashSet<ImageId>>,
    force: bool,
    make_captions: bool,
    max_bytes: u64,
    fetcher: Fetcher,
}

/// A picture's metadata may have so many bytes as JSON.
// because: they come back with every candidate, 64 of them in one message of a megabyte at most
const METADATA: usize = 8 << 10;

/// Captions that a picture is to have.
enum Wanted {
    These(Vec<String>),
    Made,
    None,
}

impl Feed {
    pub(crate) fn new(
        bus: &Bus,
        pictures: Pictures,
        collection: CollectionRecord,
        args: &IngestArgs,
        tables: Tables,
    ) -> Self {
        Self {
            bus: bus.clone(),
            collection,
            pictures,
            tables,
            taken: Mutex::default(),
            force: args.force,
            make_captions: !args.no_captions,
            max_bytes: args.max_bytes,
            fetcher: Fetcher::new(&FetchArgs {
                url_max_bytes: args.fetch.url_max_bytes.min(args.max_bytes),
                ..args.fetch.clone()
            }),
        }
    }

    /// # Errors
    /// The pipeline does not take it. What is wrong with the picture itself is an outcome.
    pub(crate) async fn take(&self, item: Item) -> anyhow::Result<Outcome> {
        let Item { name: source, content, captions, metadata } = item;
        let bytes = match self.bytes(content).await {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(Outcome::Refused { source, reason }),
        };
        let image = ImageId::of(&bytes);
        if !self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(image) {
            return Ok(Outcome::Repeated);
        }
        let captions = captions.or_else(|| self.tables.captions(&source).cloned());
        let metadata: Metadata = match self.tables.metadata(&source) {
            Some(more) => metadata.into_iter().chain(more.clone()).collect(),
            None => metadata,
        };
        let size = serde_json::to_vec(&metadata)?.len();
        if size > METADATA {
            let reason = format!("its metadata have {size} bytes, of at most {METADATA}");
            return Ok(Outcome::Refused { source, reason });
        }
        if let Err(misfit) = self.collection.fields.check(&metadata) {
            return Ok(Outcome::Refused { source, reason: misfit.to_string() });
        }
        let held = if self.force { ImageState::default() } else { self.held(image).await? };
        let Some(revision) = held.image else {
            return self.submit_new(&bytes, image, source, metadata, captions).await;
        };
        if !self.says_the_same(image, &metadata, captions.as_ref()).await? {
            // because: new metadata are no reason to replace captions that are there
            let keep_captions = captions.is_none() && held.captions.is_some();
            let captions = if keep_captions { Wanted::None } else { self.wanted(captions) };
            return self.submit(image, source, metadata, captions).await;
        }
        if held.captions.is_some() || !self.make_captions {
            return Ok(Outcome::AlreadyThere);
        }
        // because: an earlier run may have been cut off between the two submissions
        self.want_captions(image, revision, &source).await?;
        let expected = Expected { source, image: revision, captions: Some(revision) };
        Ok(Outcome::Submitted { image, expected })
    }

    async fn submit_new(
        &self,
        bytes: &[u8],
        image: ImageId,
        source: String,
        metadata: Metadata,
        captions: Option<Vec<String>>,
    ) -> anyhow::Result<Outcome> {
        self.store_bytes(bytes).await.with_context(|| format!("cannot submit {source}"))?;
        self.submit(image, source, metadata, self.wanted(captions)).await
    }

    /// A server that is away for a moment is waited for.
    async fn store_bytes(&self, bytes: &[u8]) -> Result<ImageId, PictureError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.pictures.put(bytes).await {
                Err(error) if Instant::now() < until => {
                    tracing::debug!(%error, "trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                outcome => return outcome,
            }
        }
    }

    fn wanted(&self, captions: Option<Vec<String>>) -> Wanted {
        match captions {
            Some(captions) => Wanted::These(captions),
            None if self.make_captions => Wanted::Made,
            None => Wanted::None,
        }
    }

    async fn submit(
        &self,
        image: ImageId,
        source: String,
        metadata: Metadata,
        captions: Wanted,
    ) -> anyhow::Result<Outcome> {
        let collection = self.collection.name.clone();
        let work =
            EncodeImage { collection: collection.clone(), image, source: source.clone(), metadata };
        let revision = self.publish(subjects::ENCODE_IMAGE, &work).await?;
        let captions = match captions {
            Wanted::These(captions) => {
                let work = EncodeCaptions { collection, image, revision, captions };
                self.publish(subjects::ENCODE_CAPTIONS, &work).await?;
                Some(revision)
            }
            Wanted::Made => {
                self.want_captions(image, revision, &source).await?;
                Some(revision)
            }
            Wanted::None => None,
        };
        let expected = Expected { source, image: revision, captions };
        Ok(Outcome::Submitted { image, expected })
    }

    /// A full queue is waited for as long as it takes: the workers set the pace.
    async fn publish<T: Message>(
        &self,
        subject: &str,
        message: &T,
    ) -> Result<Revision, SubmitError> {
        loop {
            match self.bus.submit(subject, message).await {
                Err(SubmitError::Full { .. }) => {
                    tracing::warn!("the queue is full; waiting for the workers");
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether the gallery holds these metadata and captions already, as far as any are given.
    async fn says_the_same(
        &self,
        image: ImageId,
        metadata: &Metadata,
        captions: Option<&Vec<String>>,
    ) -> anyhow::Result<bool> {
        if metadata.is_empty() && captions.is_none() {
            return Ok(true);
        }
        let held = crate::record(&self.bus, &self.collection, image).await?;
        let texts: Vec<&String> = held.captions.iter().map(|caption| &caption.text).collect();
        Ok((metadata.is_empty() || held.metadata == *metadata)
            && captions.is_none_or(|captions| captions.iter().eq(texts)))
    }

    async fn want_captions(
        &self,
        image: ImageId,
        revision: Revision,
        source: &str,
    ) -> anyhow::Result<()> {
        let collection = self.collection.name.clone();
        let work = CaptionImage { collection, image, revision, source: Some(source.to_owned()) };
        self.publish(subjects::CAPTION, &work).await?;
        Ok(())
    }

    async fn held(&self, image: ImageId) -> anyhow::Result<ImageState> {
        Ok(self
            .states(vec![image])
            .await?
            .into_iter()
            .next()
            .map(|(_, state)| state)
            .unwrap_or_default())
    }

    /// What the gallery holds of the images. Without a store worker nothing is known, and the
    /// images count as new.
    pub(crate) async fn states(
        &self,
        images: Vec<ImageId>,
    ) -> anyhow::Result<Vec<(ImageId, ImageState)>> {
        let mut by_shard = vec![Vec::new(); usize::from(self.collection.shards)];
        for image in images {
            by_shard[usize::from(image.shard(self.collection.shards).0)].push(image);
        }
        let mut states = Vec::new();
        for images in by_shard.into_iter().filter(|images| !images.is_empty()) {
            let shard = images[0].shard(self.collection.shards);
            let subject = subjects::lookup(&self.collection.name, shard);
            let question = LookupQuery { images };
            let answer = self.bus.ask::<_, Lookup>(&subject, &question, PATIENCE).await;
            match answer {
                Ok(lookup) => states.extend(question.images.into_iter().zip(lookup.states)),
                Err(Refusal {
                    code: RefusalCode::Unavailable | RefusalCode::Busy | RefusalCode::Timeout,
                    ..
                }) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(states)
    }

    /// A picture's file, or why it is none.
    async fn bytes(&self, content: Content) -> Result<Vec<u8>, String> {
        let limit = self.max_bytes;
        let bytes = match content {
            Content::Bytes(bytes) => bytes,
            Content::Unreadable(reason) => return Err(reason),
            Content::File(path) => blocking(move || read_file(&path, limit)).await?,
            Content::Url(url) => match self.fetcher.get(&url).await {
                Err(FetchError::TooLarge(most)) if most == limit => return Err(too_large(limit)),
                fetched => fetched.map_err(|e| e.to_string())?,
            },
        };
        if bytes.is_empty() {
            return Err("the file is empty".into());
        }
        if bytes.len() as u64 > limit {
            return Err(too_large(limit));
        }
        image::guess_format(&bytes).map_err(|_| "not a picture in a known format".to_owned())?;
        Ok(bytes)
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

pub(super) fn too_large(limit: u64) -> String {
    format!("larger than {limit} bytes (--max-bytes)")
}
