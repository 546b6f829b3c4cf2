//! Pictures made small, and kept for whoever asks next.

use std::io::Cursor;

use axum::http::StatusCode;
use bytes::Bytes;
use image::{
    DynamicImage, ImageDecoder, ImageReader, Limits, codecs::jpeg::JpegEncoder,
    imageops::FilterType,
};
use quick_cache::{Weighter, sync::Cache};
use tokio::sync::Semaphore;
use weimocir_domain::ImageId;
use weimocir_runtime::Pictures;

use crate::problem::Problem;

/// Bytes of thumbnails that are kept.
// because: some 5,000 of 256 pixels, a few screens of everybody
const KEPT: u64 = 64 << 20;
/// Pictures decoded at the same time, and what each may take.
// because: the rest of the gateway must go on, whatever people have uploaded
const DECODERS: usize = 2;
const DECODED: u64 = 512 << 20;
const QUALITY: u8 = 85;

type Key = (ImageId, u32);

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Key, Bytes> for Weight {
    fn weight(&self, _: &Key, small: &Bytes) -> u64 {
        small.len() as u64 + 64
    }
}

#[derive(Debug)]
pub(crate) struct Thumbnails {
    kept: Cache<Key, Bytes, Weight>,
    decoders: Semaphore,
}

impl Default for Thumbnails {
    fn default() -> Self {
        Self { kept: Cache::with_weighter(5_000, KEPT, Weight), decoders: Semaphore::new(DECODERS) }
    }
}

impl Thumbnails {
    /// # Errors
    /// There is no such picture, or it cannot be decoded.
    pub(crate) async fn get(
        &self,
        pictures: &Pictures,
        image: ImageId,
        size: u32,
    ) -> Result<Bytes, Problem> {
        let make = async {
            let _permit = self.decoders.acquire().await.map_err(Problem::busy)?;
            let bytes = pictures.get(image).await?;
            let making = tokio::task::spawn_blocking(move || small(&bytes, size));
            let small = making.await.unwrap_or_else(|e| Err(format!("its decoder failed: {e}")));
            small.map_err(|why| {
                let detail = format!("image {image} cannot be made small: {why}");
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
            })
        };
        self.kept.get_or_insert_async(&(image, size), make).await
    }
}

fn small(bytes: &[u8], size: u32) -> Result<Bytes, String> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    if picture.width().max(picture.height()) > size {
        // because: the fast way to twice the size and the fine one from there look as the fine one
        // alone, in a fraction of its time
        let rough = picture.thumbnail(2 * size, 2 * size);
        picture = rough.resize(size, size, FilterType::Triangle);
    }
    picture.apply_orientation(orientation);
    let mut small = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut small, QUALITY);
    picture.into_rgb8().write_with_encoder(encoder).map_err(|e| e.to_string())?;
    Ok(small.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let picture = DynamicImage::new_rgba8(width, height);
        picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        bytes
    }

    #[test]
    fn the_longer_side_gets_the_size_and_none_grows() {
        let side = |width, height| {
            let small = small(&png(width, height), 256).unwrap();
            let made = image::load_from_memory(&small).unwrap();
            (made.width(), made.height())
        };
        assert_eq!(side(1024, 512), (256, 128));
        assert_eq!(side(300, 600), (128, 256));
        assert_eq!(side(40, 30), (40, 30));
        assert_eq!(side(3000, 1), (256, 1));
    }

    #[test]
    fn what_cannot_be_decoded_says_why() {
        let whole = png(600, 600);
        assert!(small(&whole[..whole.len() / 2], 256).is_err());
        assert!(small(b"<svg/>", 256).is_err());
    }
}
