//! Picture files in the object store, keyed by image id: messages carry the id, never megabytes.

use std::sync::Arc;

use async_nats::jetstream::{
    object_store::{InfoErrorKind, ObjectInfo, ObjectStore},
    stream::{LastRawMessageErrorKind, Stream},
};
use base64::{Engine, prelude::BASE64_URL_SAFE};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weimocir_domain::ImageId;
use weimocir_wire::names::IMAGES_BUCKET;

use crate::{Bus, BusError};

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("the bytes of image {0} are not in the object store")]
    Missing(ImageId),
    #[error("the bytes stored for image {0} are not those that it was named after")]
    Corrupt(ImageId),
    #[error("the file of image {image} has {bytes} bytes, more than the limit of {limit}")]
    TooLarge { image: ImageId, bytes: usize, limit: usize },
    #[error("failed to {action} image {image}: {cause}")]
    Failed { action: &'static str, image: ImageId, cause: String },
}

#[derive(Clone)]
pub struct Pictures {
    bucket: ObjectStore,
    /// What the bucket is made of.
    stream: Stream<()>,
    /// What files in hand may take, in units of `UNIT` bytes.
    room: Arc<Semaphore>,
}

/// Larger files are not read: no decoder would take them.
const LARGEST: usize = 32 << 20;
/// What all files in hand may take together.
// because: a worker takes a hundred pictures at once, which may all be of the largest
const IN_HAND: usize = 256 << 20;
const UNIT: usize = 64 << 10;

/// A file in hand, and the room that it takes.
struct InHand {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for InHand {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Pictures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pictures")
    }
}

impl Pictures {
    /// # Errors
    /// The server refuses the bucket.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let bucket = bus.images_bucket().await?;
        let stream = bus.jetstream.get_stream_no_info(format!("OBJ_{IMAGES_BUCKET}")).await;
        let stream = stream.map_err(|e| BusError::failed("open the stream of pictures", e))?;
        Ok(Self { bucket, stream, room: Arc::new(Semaphore::new(IN_HAND / UNIT)) })
    }

    /// Stores a file under the id of its bytes; one that is there already is left alone.
    pub async fn put(&self, bytes: &[u8]) -> Result<ImageId, PictureError> {
        let image = ImageId::of(bytes);
        let failed =
            |cause: String| PictureError::Failed { action: "store the bytes of", image, cause };
        match self.bucket.info(image.to_string()).await {
            Ok(info) if !info.deleted => return Ok(image),
            Ok(_) => {}
            Err(e) if e.kind() == InfoErrorKind::NotFound => {}
            Err(e) => return Err(failed(e.to_string())),
        }
        let mut bytes = bytes;
        self.bucket
            .put(image.to_string().as_str(), &mut bytes)
            .await
            .map_err(|e| failed(e.to_string()))?;
        Ok(image)
    }

    /// Reads by direct gets: the client's own reader makes a consumer for each object, and a server
    /// takes a thousand of them. Waits while too many files are in hand.
    ///
    /// # Errors
    /// [`PictureError::Corrupt`] and [`PictureError::TooLarge`] will not get better; the rest may.
    pub async fn get(&self, image: ImageId) -> Result<Bytes, PictureError> {
        let failed =
            |cause: String| PictureError::Failed { action: "read the bytes of", image, cause };
        let info = match self.bucket.info(image.to_string()).await {
            Ok(info) if info.deleted => return Err(PictureError::Missing(image)),
            Ok(info) => info,
            // because: any copy of the bucket has answered, which may not have it yet
            Err(e) if e.kind() == InfoErrorKind::NotFound => self.info_of_the_leader(image).await?,
            Err(e) => return Err(failed(e.to_string())),
        };
        let too_large = |bytes| PictureError::TooLarge { image, bytes, limit: LARGEST };
        if info.size > LARGEST {
            return Err(too_large(info.size));
        }
        let units = info.size.div_ceil(UNIT).max(1) as u32;
        let room = self.room.clone().acquire_many_owned(units).await;
        let room = room.map_err(|e| failed(e.to_string()))?;
        let chunks = format!("$O.{IMAGES_BUCKET}.C.{}", info.nuid);
        let mut bytes = Vec::with_capacity(info.size);
        let mut next = None;
        for _ in 0..info.chunks {
            let chunk = self.stream.direct_get_next_for_subject(&chunks, next).await;
            let chunk = chunk.map_err(|e| failed(e.to_string()))?;
            next = Some(chunk.sequence + 1);
            bytes.extend_from_slice(&chunk.payload);
            if bytes.len() > info.size {
                return Err(PictureError::Corrupt(image));
            }
        }
        if ImageId::of(&bytes) != image {
            return Err(PictureError::Corrupt(image));
        }
        Ok(Bytes::from_owner(InHand { bytes, _room: room }))
    }

    async fn info_of_the_leader(&self, image: ImageId) -> Result<ObjectInfo, PictureError> {
        let failed =
            |cause: String| PictureError::Failed { action: "read the bytes of", image, cause };
        let name = BASE64_URL_SAFE.encode(image.to_string());
        let subject = format!("$O.{IMAGES_BUCKET}.M.{name}");
        let info = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => serde_json::from_slice::<ObjectInfo>(&message.payload)
                .map_err(|e| failed(e.to_string()))?,
            Err(e) if e.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Err(PictureError::Missing(image));
            }
            Err(e) => return Err(failed(e.to_string())),
        };
        if info.deleted { Err(PictureError::Missing(image)) } else { Ok(info) }
    }
}
