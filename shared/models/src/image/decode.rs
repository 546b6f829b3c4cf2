//! Untrusted bytes to upright 8-bit RGB, under limits. Sizes change in `resample`.

use std::{
    io::{Cursor, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::error::ImageError;

/// What a picture may cost. Checked before the memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Of the encoded file.
    pub bytes: usize,
    /// Of the longer side, in pixels.
    pub side: u32,
    /// Width times height.
    pub pixels: u64,
}

impl Default for ImageLimits {
    /// Room for any camera, none for decompression bombs.
    fn default() -> Self {
        Self { bytes: 32 << 20, side: 20_000, pixels: 64_000_000 }
    }
}

impl ImageLimits {
    /// The widest sample is 16-bit RGBA; decoders may hold the picture twice.
    fn memory(&self) -> u64 {
        self.pixels * 16
    }
}

/// The picture as Pillow's `ImageOps.exif_transpose(image).convert("RGB")` gives it: upright, alpha
/// dropped, grey repeated, the high byte of 16-bit samples. The first frame of an animation.
///
/// 16-bit grey keeps its high byte too, where Pillow clips it to white.
pub(crate) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() > limits.bytes {
        return Err(ImageError::TooManyBytes { bytes: bytes.len(), limit: limits.bytes });
    }
    // A decoder's bug must cost one picture, not the process.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(bytes, limits))).unwrap_or_else(|panic| {
        Err(ImageError::DecoderPanicked { reason: crate::panic_text(&*panic) })
    })
}

fn decode_unguarded(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| sort(e.into(), limits))?;
    let format = reader.format().ok_or(ImageError::UnknownFormat)?;
    check_end(format, bytes)?;
    let mut allowance = Limits::default();
    allowance.max_alloc = Some(limits.memory());
    reader.limits(allowance.clone());
    let mut decoder = reader.into_decoder().map_err(|e| sort(e, limits))?;
    check_size(decoder.dimensions(), limits)?;
    allowance.reserve(decoder.total_bytes()).map_err(|e| sort(e, limits))?;
    decoder.set_limits(allowance).map_err(|e| sort(e, limits))?;
    let orientation = decoder.orientation().map_err(|e| sort(e, limits))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| sort(e, limits))?;
    picture.apply_orientation(orientation);
    Ok(to_rgb(picture))
}

fn check_size((width, height): (u32, u32), limits: &ImageLimits) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::NoPixels { width, height });
    }
    if width.max(height) > limits.side {
        return Err(ImageError::TooWide { width, height, limit: limits.side });
    }
    if u64::from(width) * u64::from(height) > limits.pixels {
        return Err(ImageError::TooManyPixels { width, height, limit: limits.pixels });
    }
    Ok(())
}

/// Refuses what is cut off where the decoder would not: JPEG's fills the missing part with grey
/// and says nothing, WebP's calls it corrupt.
fn check_end(format: ImageFormat, bytes: &[u8]) -> Result<(), ImageError> {
    let missing = match format {
        ImageFormat::Jpeg if !jpeg_has_end(bytes) => "the end marker of the JPEG is missing",
        ImageFormat::WebP if !riff_is_whole(bytes) => {
            "the file is shorter than its RIFF header says"
        }
        _ => return Ok(()),
    };
    Err(ImageError::Truncated { reason: missing.to_owned() })
}

fn riff_is_whole(bytes: &[u8]) -> bool {
    let length = |b: &[u8]| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    bytes.get(4..8).is_some_and(|b| length(b) + 8 <= bytes.len() as u64)
}

/// Whether an end-of-image marker follows the first scan. Segments before it, which may hold whole
/// thumbnails, are stepped over by their lengths.
fn jpeg_has_end(bytes: &[u8]) -> bool {
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

fn to_rgb(picture: DynamicImage) -> RgbImage {
    let high = |sample: u16| (sample >> 8) as u8;
    match picture {
        DynamicImage::ImageRgb8(rgb) => rgb,
        DynamicImage::ImageRgba8(rgba) => {
            map(rgba.width(), rgba.height(), rgba.pixels().map(|p| [p[0], p[1], p[2]]))
        }
        DynamicImage::ImageLuma16(grey) => {
            map(grey.width(), grey.height(), grey.pixels().map(|p| [high(p[0]); 3]))
        }
        DynamicImage::ImageLumaA16(grey) => {
            map(grey.width(), grey.height(), grey.pixels().map(|p| [high(p[0]); 3]))
        }
        DynamicImage::ImageRgb16(rgb) => map(
            rgb.width(),
            rgb.height(),
            rgb.pixels().map(|p| [high(p[0]), high(p[1]), high(p[2])]),
        ),
        DynamicImage::ImageRgba16(rgb) => map(
            rgb.width(),
            rgb.height(),
            rgb.pixels().map(|p| [high(p[0]), high(p[1]), high(p[2])]),
        ),
        // 8-bit grey with or without alpha, and the floating-point kinds of TIFF.
        other => other.to_rgb8(),
    }
}

fn map(width: u32, height: u32, pixels: impl Iterator<Item = [u8; 3]>) -> RgbImage {
    let mut out = RgbImage::new(width, height);
    for (to, from) in out.pixels_mut().zip(pixels) {
        to.0 = from;
    }
    out
}

fn sort(error: image::ImageError, limits: &ImageLimits) -> ImageError {
    use image::ImageError as Found;
    let reason = error.to_string();
    let cut_off = || {
        reason.contains("UnexpectedEof")
            || reason.contains("nexpected end")
            || reason.contains("EOF")
    };
    match &error {
        Found::Limits(_) => ImageError::TooMuchMemory { limit: limits.memory() },
        Found::Unsupported(_) => ImageError::Unsupported { reason },
        Found::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => {
            ImageError::Truncated { reason }
        }
        Found::Decoding(_) | Found::IoError(_) if cut_off() => ImageError::Truncated { reason },
        Found::Decoding(_) | Found::Encoding(_) | Found::Parameter(_) | Found::IoError(_) => {
            ImageError::Damaged { reason }
        }
    }
}
