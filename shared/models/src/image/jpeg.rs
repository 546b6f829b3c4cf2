//! JPEG to upright RGB, equal in every level to what libjpeg-turbo makes for Pillow. The `image`
//! crate's decoder rounds cosines and chroma differently: by up to six levels on photographs.

use image::{DynamicImage, RgbImage, metadata::Orientation};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

use super::{
    decode::{ImageLimits, check_size},
    error::ImageError,
};

/// Far more than encoders write; because each scan of a hostile file costs a pass over the picture.
const SCANS: usize = 500;

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    if !has_end(bytes) {
        let reason = "the end marker of the JPEG is missing".to_owned();
        return Err(ImageError::Truncated { reason });
    }
    let sort = |error| sort(error, limits);
    let mut decoder = Decoder::new(bytes).map_err(sort)?;
    let header = decoder.header();
    // A JPEG's sides have 16 bits.
    let size = (header.width() as u32, header.height() as u32);
    check_size(size, limits)?;
    decoder.set_limits(DecodeLimits {
        max_scans: SCANS,
        max_memory: Some(limits.memory()),
        ..DecodeLimits::default()
    });
    decoder.set_output_format(PixelFormat::Rgb);
    let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
    let decoded = decoder.decode_image().map_err(sort)?;
    let picture = RgbImage::from_raw(size.0, size.1, decoded.data).ok_or_else(|| {
        let reason = "the decoded picture has another size than its header says".to_owned();
        ImageError::Damaged { reason }
    })?;
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(picture.into_rgb8())
}

/// Whether an end-of-image marker follows the first scan. Segments before it, which may hold whole
/// thumbnails, are stepped over by their lengths.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == 0xff {
            at += 1;
            continue;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == 0xda {
            break;
        }
    }
    bytes.get(at..).is_some_and(|scan| scan.windows(2).any(|pair| pair == [0xff, 0xd9]))
}

fn sort(error: JpegError, limits: &ImageLimits) -> ImageError {
    let reason = error.to_string();
    match error {
        JpegError::UnexpectedEof => ImageError::Truncated { reason },
        JpegError::AllocationFailed { .. } => ImageError::TooMuchMemory { limit: limits.memory() },
        JpegError::Unsupported(_) | JpegError::LimitExceeded { .. } => {
            ImageError::Unsupported { reason }
        }
        _ => ImageError::Damaged { reason },
    }
}
