//! Untrusted bytes to upright 8-bit RGB, under limits. `jpeg` has a decoder of its own; sizes change
//! in `resample`.

use std::{
    io::{Cursor, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::{error::ImageError, jpeg};

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
    pub(super) fn memory(&self) -> u64 {
        self.pixels * 16
    }
}

/// The picture as Pillow's `ImageOps.exif_transpose(image).convert("RGB")` gives it: upright, alpha
/// dropped, grey repeated, the high byte of 16-bit colours. The first frame of an animation.
///
/// 16-bit grey is clipped at 255, which leaves most such pictures white: a model's original sees
/// them so too. With alpha it keeps its high byte.
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

/// The memory that decoding may take, by what the file says of itself; none for what is no picture.
pub(super) fn memory_wanted(bytes: &[u8], limits: &ImageLimits) -> u64 {
    let size = || {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
        match reader.format()? {
            ImageFormat::Jpeg => jpeg::size(bytes),
            _ => reader.into_dimensions().ok(),
        }
    };
    let size = catch_unwind(AssertUnwindSafe(size)).ok().flatten();
    let Some((width, height)) = size else { return 0 };
    match check_size((width, height), limits) {
        Ok(()) => ImageLimits { pixels: u64::from(width) * u64::from(height), ..*limits }.memory(),
        // because: it will be refused
        Err(_) => 0,
    }
}

fn decode_unguarded(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| sort(e.into(), limits))?;
    let format = reader.format().ok_or(ImageError::UnknownFormat)?;
    match format {
        ImageFormat::Jpeg => return jpeg::decode(bytes, limits),
        ImageFormat::WebP if !riff_is_whole(bytes) => {
            let reason = "the file is shorter than its RIFF header says".to_owned();
            return Err(ImageError::Truncated { reason });
        }
        _ => {}
    }
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

pub(super) fn check_size(
    (width, height): (u32, u32),
    limits: &ImageLimits,
) -> Result<(), ImageError> {
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

/// Cut-off WebP would be called corrupt by its decoder.
fn riff_is_whole(bytes: &[u8]) -> bool {
    let length = |b: &[u8]| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    bytes.get(4..8).is_some_and(|b| length(b) + 8 <= bytes.len() as u64)
}

fn to_rgb(picture: DynamicImage) -> RgbImage {
    let high = |sample: u16| (sample >> 8) as u8;
    let clipped = |sample: u16| sample.min(255) as u8;
    match picture {
        DynamicImage::ImageRgb8(rgb) => rgb,
        DynamicImage::ImageRgba8(rgba) => {
            map(rgba.width(), rgba.height(), rgba.pixels().map(|p| [p[0], p[1], p[2]]))
        }
        DynamicImage::ImageLuma16(grey) => {
            map(grey.width(), grey.height(), grey.pixels().map(|p| [clipped(p[0]); 3]))
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

pub(super) fn map(width: u32, height: u32, pixels: impl Iterator<Item = [u8; 3]>) -> RgbImage {
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
        let reason = reason.to_lowercase();
        ["unexpectedeof", "unexpected end", "eof"].iter().any(|words| reason.contains(words))
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
