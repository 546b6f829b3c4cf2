//! Captioners: what makes sentences about pictures. `blip` runs a model in this process, `endpoint`
//! asks a server, `file` knows captions made before. Who holds one asks through the trait alone.

mod blip;
mod blip_handle;
mod by_name;
mod endpoint;
mod file;
mod refusal;

use std::{fmt, num::NonZeroUsize};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{
    device::{DeviceError, Lane},
    image::ImageError,
};

pub use blip::BlipCaptioner;
pub use blip_handle::BlipHandle;
pub use by_name::{ByName, TableError};
pub use endpoint::{ApiKey, EndpointCaptioner, EndpointError, EndpointSettings};
pub use file::FileCaptioner;

/// Makes captions. Clones of one `Arc<dyn Captioner>` may ask at the same time.
pub trait Captioner: fmt::Debug + Send + Sync {
    /// What makes the captions, for logs and answers.
    fn name(&self) -> &str;

    /// At least one and at most `r` captions; those made here are all different.
    fn caption(
        &self,
        picture: Picture,
        r: NonZeroUsize,
    ) -> BoxFuture<'_, Result<Vec<String>, CaptionError>>;
}

/// A picture that wants captions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The file as it came.
    pub bytes: Bytes,
    /// Depends on the picture alone where the same picture is to get the same captions again.
    pub seed: u64,
    pub lane: Lane,
    /// What its feed calls it: a path or an address.
    pub source: Option<String>,
}

/// Why a picture has no captions, sorted by what is to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum CaptionError {
    /// The bytes are no picture: it never gets captions.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// This captioner has nothing to say about it, however often it is asked.
    #[error("no captions for this picture: {reason}")]
    Rejected { reason: String },
    /// Somebody waits, and would wait too long.
    #[error("the captioner is busy: {reason}")]
    Busy { reason: String },
    /// It may go better later.
    #[error("the captioner does not answer: {reason}")]
    Unavailable { reason: String },
    /// It may go better later.
    #[error("the captioner failed")]
    Failed(#[source] DeviceError),
    /// No picture will get captions until somebody changes something.
    #[error("the captioner cannot be used: {reason}")]
    Broken { reason: String },
}

/// Runs what is slow on a thread where that does no harm.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CaptionError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CaptionError::Unavailable { reason: format!("its work stopped: {error}") })
}
