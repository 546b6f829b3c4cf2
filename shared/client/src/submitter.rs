//! One picture into the pipeline: checked, stored under its id, and published as work. What the
//! gallery has already is passed over, so that a feed may say the same as often as it likes.

use std::time::{Duration, Instant};

use weimocir_domain::{ImageId, Revision};
use weimocir_runtime::{PictureError, Pictures, SubmitError};
use weimocir_wire::{
    Message,
    query::ImageState,
    search::Refusal,
    subjects,
    work::{CaptionImage, EncodeCaptions, EncodeImage, Metadata},
};

use crate::Gallery;

/// Puts pictures into one collection.
#[derive(Debug, Clone)]
pub struct Submitter {
    gallery: Gallery,
    pictures: Pictures,
    options: SubmitOptions,
}

#[derive(Debug, Clone, Copy)]
pub struct SubmitOptions {
    /// Submit pictures again that the gallery has already.
    pub force: bool,
    /// Have captions made for pictures that bring none.
    pub make_captions: bool,
    /// Pictures larger than this are refused, in bytes.
    pub max_bytes: u64,
    /// Wait for a queue that is full for as long as it takes, so that the workers set the pace.
    pub patient: bool,
}

/// A picture, and what its feed says about it.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Where it came from: a path or address.
    pub source: String,
    pub bytes: Vec<u8>,
    /// Captions made elsewhere.
    pub captions: Option<Vec<String>>,
    pub metadata: Metadata,
    /// Names this offer among all of its feed: one that is repeated within minutes, by a feed that was
    /// killed before it knew, makes no work again.
    pub offer: Option<String>,
}

/// What became of one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Submitted { image: ImageId, expected: Expected },
    AlreadyThere { image: ImageId },
    Refused { source: String, reason: String },
}

/// The revisions at which a submitted picture is searchable, and captioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub source: String,
    pub image: Revision,
    pub captions: Option<Revision>,
}

/// The pipeline does not take a picture now. What is wrong with the picture itself is an outcome.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    #[error("cannot submit {origin}: {cause}")]
    Picture { origin: String, cause: PictureError },
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A picture's metadata may have so many bytes as JSON.
// because: they come back with every candidate, 64 of them in one message of a megabyte at most
const METADATA: usize = 8 << 10;
/// How long a server that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The picture that work is about.
struct About {
    image: ImageId,
    source: String,
    offer: Option<String>,
}

/// Captions that a picture is to have.
enum Wanted {
    These(Vec<String>),
    Made,
    None,
}

impl Submitter {
    pub fn new(gallery: Gallery, pictures: Pictures, options: SubmitOptions) -> Self {
        Self { gallery, pictures, options }
    }

    pub fn gallery(&self) -> &Gallery {
        &self.gallery
    }

    /// # Errors
    /// The pipeline does not take it; once more is no harm.
    pub async fn take(&self, submission: Submission) -> Result<Outcome, SubmissionError> {
        if let Err(reason) = self.check(&submission) {
            return Ok(Outcome::Refused { source: submission.source, reason });
        }
        let Submission { source, bytes, captions, metadata, offer } = submission;
        let image = ImageId::of(&bytes);
        let held = match self.options.force {
            true => ImageState::default(),
            false => self.gallery.state(image).await?,
        };
        let Some(revision) = held.image else {
            self.store(&bytes, &source).await?;
            let (about, captions) = (About { image, source, offer }, self.wanted(captions));
            return self.submit(about, metadata, captions).await;
        };
        if !self.says_the_same(image, &metadata, captions.as_ref()).await? {
            // because: new metadata are no reason to replace captions that are there
            let keep_captions = captions.is_none() && held.captions.is_some();
            let captions = if keep_captions { Wanted::None } else { self.wanted(captions) };
            return self.submit(About { image, source, offer }, metadata, captions).await;
        }
        if held.captions.is_some() || !self.options.make_captions {
            return Ok(Outcome::AlreadyThere { image });
        }
        // because: an earlier run may have been cut off between the two submissions
        let about = About { image, source, offer };
        self.want_captions(&about, revision).await?;
        let source = about.source;
        let expected = Expected { source, image: revision, captions: Some(revision) };
        Ok(Outcome::Submitted { image, expected })
    }

    fn check(&self, submission: &Submission) -> Result<(), String> {
        let Submission { bytes, metadata, .. } = submission;
        if bytes.is_empty() {
            return Err("the file is empty".into());
        }
        if bytes.len() as u64 > self.options.max_bytes {
            return Err(too_large(self.options.max_bytes));
        }
        image::guess_format(bytes).map_err(|_| "not a picture in a known format".to_owned())?;
        let size = serde_json::to_vec(metadata).map_err(|e| e.to_string())?.len();
        if size > METADATA {
            return Err(format!("its metadata have {size} bytes, of at most {METADATA}"));
        }
        let fields = &self.gallery.collection.fields;
        fields.check(metadata).map_err(|misfit| misfit.to_string())
    }

    /// A server that is away for a moment is waited for.
    async fn store(&self, bytes: &[u8], source: &str) -> Result<(), SubmissionError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.pictures.put(bytes).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() < until => {
                    tracing::debug!(%error, "trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(cause) => {
                    return Err(SubmissionError::Picture { origin: source.to_owned(), cause });
                }
            }
        }
    }

    fn wanted(&self, captions: Option<Vec<String>>) -> Wanted {
        match captions {
            Some(captions) => Wanted::These(captions),
            None if self.options.make_captions => Wanted::Made,
            None => Wanted::None,
        }
    }

    async fn submit(
        &self,
        about: About,
        metadata: Metadata,
        captions: Wanted,
    ) -> Result<Outcome, SubmissionError> {
        let About { image, ref source, .. } = about;
        let collection = self.gallery.collection.name.clone();
        let work =
            EncodeImage { collection: collection.clone(), image, source: source.clone(), metadata };
        let revision = self.publish(subjects::ENCODE_IMAGE, &work, &about).await?;
        let captions = match captions {
            Wanted::These(captions) => {
                let work =
                    EncodeCaptions { collection, generation: None, image, revision, captions };
                self.publish(subjects::ENCODE_CAPTIONS, &work, &about).await?;
                Some(revision)
            }
            Wanted::Made => {
                self.want_captions(&about, revision).await?;
                Some(revision)
            }
            Wanted::None => None,
        };
        let expected = Expected { source: about.source, image: revision, captions };
        Ok(Outcome::Submitted { image, expected })
    }

    async fn publish<T: Message>(
        &self,
        subject: &str,
        message: &T,
        about: &About,
    ) -> Result<Revision, SubmitError> {
        let collection = &self.gallery.collection.name;
        let named = |offer| format!("{subject} {collection} {} {offer}", about.image);
        let name = about.offer.as_ref().map(named);
        loop {
            match self.gallery.bus.submit_once(subject, message, name.as_deref()).await {
                Err(SubmitError::Full { .. }) if self.options.patient => {
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
    ) -> Result<bool, Refusal> {
        if metadata.is_empty() && captions.is_none() {
            return Ok(true);
        }
        let held = self.gallery.record(image).await?;
        let texts: Vec<&String> = held.captions.iter().map(|caption| &caption.text).collect();
        Ok((metadata.is_empty() || held.metadata == *metadata)
            && captions.is_none_or(|captions| captions.iter().eq(texts)))
    }

    async fn want_captions(&self, about: &About, revision: Revision) -> Result<(), SubmitError> {
        let collection = self.gallery.collection.name.clone();
        let (image, source) = (about.image, Some(about.source.clone()));
        let work = CaptionImage { collection, image, revision, source };
        self.publish(subjects::CAPTION, &work, about).await?;
        Ok(())
    }
}

pub fn too_large(limit: u64) -> String {
    format!("larger than {limit} bytes (--max-bytes)")
}
