//! A picture as the endpoint gets it: upright, of bounded size, as JPEG in a data URL.

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{RgbImage, codecs::jpeg::JpegEncoder, imageops};

use crate::image::{ImageError, ImageLimits, decode};

const QUALITY: u8 = 90;

/// Never the file itself: its size has no bound, not every model knows every format or turns
/// pictures upright, and what else is in it (where it was taken, thumbnails) is nobody's business.
///
/// # Errors
/// Bytes that are no picture within the limits.
pub(super) fn data_url(bytes: &[u8], longest_side: u32) -> Result<String, ImageError> {
    let picture = shrink(decode(bytes, &ImageLimits::default())?, longest_side);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode_image(&picture)
        .map_err(|error| ImageError::Unsupported { reason: format!("as JPEG, {error}") })?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)))
}

fn shrink(picture: RgbImage, longest_side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= longest_side {
        return picture;
    }
    let scale = f64::from(longest_side) / f64::from(longest);
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    imageops::resize(&picture, side(width), side(height), imageops::FilterType::CatmullRom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_bounded_and_nothing_grows() {
        for (given, side, expected) in [
            ((100, 50), 100, (100, 50)),
            ((200, 50), 100, (100, 25)),
            ((50, 300), 100, (17, 100)),
            ((3000, 2), 100, (100, 1)),
        ] {
            let picture = shrink(RgbImage::new(given.0, given.1), side);
            assert_eq!(picture.dimensions(), expected, "{given:?}");
        }
    }
}
