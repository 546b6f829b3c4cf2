//! Picture files in the object store, keyed by image id: messages carry the id, never megabytes.

use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind, ObjectStore};
use tokio::io::AsyncReadExt;
use weimocir_domain::ImageId;

use crate::{Bus, BusError};

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("the bytes of image {0} are not in the object store")]
    Missing(ImageId),
    #[error("the bytes stored for image {0} are not those that it was named after")]
    Corrupt(ImageId),
    #[error("failed to {action} image {image}: {cause}")]
    Failed { action: &'static str, image: ImageId, cause: String },
}

#[derive(Clone)]
pub struct Pictures {
    bucket: ObjectStore,
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
        Ok(Self { bucket: bus.images_bucket().await? })
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

    /// # Errors
    /// [`PictureError::Missing`] and [`PictureError::Corrupt`] will not get better; the rest may.
    pub async fn get(&self, image: ImageId) -> Result<Vec<u8>, PictureError> {
        let failed =
            |cause: String| PictureError::Failed { action: "read the bytes of", image, cause };
        let mut object = match self.bucket.get(image.to_string()).await {
            Ok(object) => object,
            Err(e) if e.kind() == GetErrorKind::NotFound => {
                return Err(PictureError::Missing(image));
            }
            Err(e) => return Err(failed(e.to_string())),
        };
        let mut bytes = Vec::with_capacity(object.info().size);
        object.read_to_end(&mut bytes).await.map_err(|e| failed(e.to_string()))?;
        if ImageId::of(&bytes) != image {
            return Err(PictureError::Corrupt(image));
        }
        Ok(bytes)
    }

    /// Forgets a file; one that is not there is no error.
    pub async fn delete(&self, image: ImageId) -> Result<(), PictureError> {
        use async_nats::jetstream::object_store::DeleteErrorKind;
        match self.bucket.delete(image.to_string()).await {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == DeleteErrorKind::NotFound => Ok(()),
            Err(e) => Err(PictureError::Failed {
                action: "delete the bytes of",
                image,
                cause: e.to_string(),
            }),
        }
    }
}
