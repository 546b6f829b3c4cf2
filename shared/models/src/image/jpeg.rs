//! JPEG to upright RGB, equal in every level to what libjpeg-turbo makes for Pillow. The `image`
//! crate's decoder rounds cosines and chroma differently: by up to six levels on photographs.
//! `jpeg_errors` says how the C code's complaints arrive here.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use image::{DynamicImage, RgbImage, metadata::Orientation};
use mozjpeg::{ColorSpace, Decompress, Marker};
use mozjpeg_sys as codes;

use super::{
    decode::{ImageLimits, check_size, map},
    error::ImageError,
    jpeg_errors::{Complaint, strict},
};

const EXIF: Marker = Marker::APP(1);

/// Memory is bounded by the number of pixels: coefficients take at most 8 bytes of each, its levels
/// at most 7.
pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    catch_unwind(AssertUnwindSafe(|| decode_or_unwind(bytes, limits))).unwrap_or_else(|panic| {
        match panic.downcast::<Complaint>() {
            Ok(complaint) => Err(sort(*complaint, limits)),
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// What the header says, if it can be read.
pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let read = || {
        let decoder = Decompress::builder().with_err(strict()).from_mem(bytes).ok()?;
        Some((decoder.width() as u32, decoder.height() as u32))
    };
    catch_unwind(AssertUnwindSafe(read)).ok().flatten()
}

/// Unwinds with a [`Complaint`] where the file is bad.
fn decode_or_unwind(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    let damaged = |error: io::Error| ImageError::Damaged { reason: error.to_string() };
    let decoder = Decompress::builder()
        .with_err(strict())
        .with_markers(&[EXIF])
        .from_mem(bytes)
        .map_err(damaged)?;
    // A JPEG's sides have 16 bits.
    let size = (decoder.width() as u32, decoder.height() as u32);
    check_size(size, limits)?;
    let orientation = orientation(&decoder);
    let four_inks = matches!(decoder.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK);
    let colours = if four_inks { ColorSpace::JCS_CMYK } else { ColorSpace::JCS_RGB };
    let mut started = decoder.to_colorspace(colours).map_err(damaged)?;
    let levels: Vec<u8> = started.read_scanlines().map_err(damaged)?;
    started.finish().map_err(damaged)?;
    let picture = if four_inks {
        rgb_of_cmyk(size, &levels)
    } else {
        RgbImage::from_raw(size.0, size.1, levels).ok_or_else(|| {
            let reason = "the decoded picture has another size than its header says".to_owned();
            ImageError::Damaged { reason }
        })?
    };
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

fn orientation(decoder: &Decompress<&[u8]>) -> Orientation {
    decoder
        .markers()
        .find_map(|marker| marker.data.strip_prefix(b"Exif\0\0"))
        .and_then(Orientation::from_exif_chunk)
        .unwrap_or(Orientation::NoTransforms)
}

/// As Pillow converts. JPEG stores inks inverted: 255 is none.
fn rgb_of_cmyk((width, height): (u32, u32), levels: &[u8]) -> RgbImage {
    let lit = |ink: u8, black: u8| black.saturating_sub(share(255 - ink, black));
    let (pixels, _) = levels.as_chunks::<4>();
    let rgb = |&[cyan, magenta, yellow, black]: &[u8; 4]| {
        [lit(cyan, black), lit(magenta, black), lit(yellow, black)]
    };
    map(width, height, pixels.iter().map(rgb))
}

/// `a * b / 255`, rounded.
fn share(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

fn sort(complaint: Complaint, limits: &ImageLimits) -> ImageError {
    let Complaint { code, reason } = complaint;
    match code {
        // Bytes in memory cannot be read where they end.
        codes::JWRN_JPEG_EOF | codes::JERR_FILE_READ => ImageError::Truncated { reason },
        codes::JERR_OUT_OF_MEMORY => ImageError::TooMuchMemory { limit: limits.memory() },
        codes::JERR_ARITH_NOTIMPL
        | codes::JERR_BAD_PRECISION
        | codes::JERR_CONVERSION_NOTIMPL
        | codes::JERR_EMPTY_IMAGE
        | codes::JERR_FRACT_SAMPLE_NOTIMPL
        | codes::JERR_IMAGE_TOO_BIG
        | codes::JERR_NOTIMPL
        | codes::JERR_SOF_UNSUPPORTED
        | codes::JTRC_SOS => ImageError::Unsupported { reason },
        _ => ImageError::Damaged { reason },
    }
}
