//! Decoding and resizing against Pillow, and what bad input is told.

use crate::common::{bytes, fixture, json};
use serde::Deserialize;
use weimocir_models::{ImageError, ImageLimits, Pixels, Preprocessor};

/// Levels 0..=255 of the pixels of a preprocessor that neither rescales nor normalises, channels
/// last.
fn levels(pixels: &Pixels) -> Vec<u8> {
    let (height, width) = pixels.size();
    let at = |n: usize| pixels.values()[n % 3 * height * width + n / 3] as u8;
    (0..3 * height * width).map(at).collect()
}

fn expected(file: &str) -> image::RgbImage {
    image::load_from_memory(&bytes(&format!("expected/{file}"))).unwrap().to_rgb8()
}

/// Leaves a picture of this size as it is.
fn plain(width: u32, height: u32) -> Preprocessor {
    let config = format!(
        r#"{{"size": {{"height": {height}, "width": {width}}}, "do_center_crop": false, "do_rescale": false, "do_normalize": false}}"#
    );
    Preprocessor::from_json(config.as_bytes(), "plain").unwrap()
}

fn decode(bytes: &[u8]) -> Result<Pixels, ImageError> {
    plain(40, 40).pixels(bytes)
}

/// The greatest difference to what Pillow decodes.
fn difference(name: &str) -> u8 {
    let expected = expected(&format!("{name}.png"));
    let found = plain(expected.width(), expected.height())
        .pixels(&bytes(&format!("pictures/{name}")))
        .unwrap();
    levels(&found).iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn lossless_pictures_decode_as_pillow_decodes_them() {
    let names = [
        "landscape.png",
        "grey.png",
        "palette.png",
        "alpha.png",
        "grey_alpha.png",
        "palette_transparent.png",
        "bilevel.png",
        "grey16.png",
        "lossless.webp",
        "plain.bmp",
        "plain.tiff",
        "animated.gif",
    ];
    for name in names {
        assert_eq!(difference(name), 0, "{name}");
    }
}

#[test]
fn jpegs_decode_to_within_rounding_upright_and_whatever_their_colours() {
    for orientation in 1..=8 {
        let name = format!("orientation{orientation}.jpg");
        assert!(difference(&name) <= 3, "{name}: {}", difference(&name));
    }
    for name in ["subsampled.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        assert!(difference(name) <= 4, "{name}: {}", difference(name));
    }
}

#[derive(Deserialize)]
struct Resized {
    picture: String,
    config: serde_json::Value,
    expected: String,
}

#[test]
fn resized_and_cropped_pictures_are_pillows_level_for_level() {
    let cases: Vec<Resized> = json("expected/resizes.json");
    assert!(cases.len() > 30);
    for case in cases {
        let preprocessor =
            Preprocessor::from_json(case.config.to_string().as_bytes(), "fixture").unwrap();
        let found = preprocessor.pixels(&bytes(&format!("pictures/{}", case.picture))).unwrap();
        let expected = expected(&case.expected);
        assert_eq!(found.size(), (expected.height() as usize, expected.width() as usize));
        assert_eq!(levels(&found), *expected.as_raw(), "{} {}", case.picture, case.config);
    }
}

#[test]
fn long_strips_cost_what_their_window_costs() {
    let mut strip = Vec::new();
    let picture = image::RgbImage::from_pixel(1, 20_000, image::Rgb([9, 9, 9]));
    picture.write_to(&mut std::io::Cursor::new(&mut strip), image::ImageFormat::Png).unwrap();
    let clip = Preprocessor::from_json(br#"{"do_rescale": false, "do_normalize": false}"#, "clip")
        .unwrap();
    let pixels = clip.pixels(&strip).unwrap();
    assert_eq!(pixels.size(), (224, 224));
    assert!(pixels.values().iter().all(|level| *level == 9.0));
}

#[test]
fn bytes_that_are_no_picture() {
    assert_eq!(decode(&[]), Err(ImageError::Empty));
    assert_eq!(decode(b"a text file, and nothing else"), Err(ImageError::UnknownFormat));
    assert_eq!(decode(&[0; 100]), Err(ImageError::UnknownFormat));
}

#[test]
fn cut_off_pictures() {
    let names = [
        "landscape.png",
        "soft.png",
        "orientation1.jpg",
        "progressive.jpg",
        "lossless.webp",
        "plain.tiff",
    ];
    for name in names {
        let whole = bytes(&format!("pictures/{name}"));
        for part in [whole.len() / 10, whole.len() / 2, whole.len() * 9 / 10] {
            let error = decode(&whole[..part]).expect_err(&format!("{name} cut to {part}"));
            assert!(
                matches!(error, ImageError::Truncated { .. }),
                "{name} cut to {part}: {error:?}"
            );
        }
    }
}

#[test]
fn damaged_pictures_never_panic() {
    for name in [
        "landscape.png",
        "orientation6.jpg",
        "progressive.jpg",
        "lossless.webp",
        "animated.gif",
        "plain.tiff",
        "plain.bmp",
    ] {
        let whole = bytes(&format!("pictures/{name}"));
        for n in 0..200usize {
            let mut bytes = whole.clone();
            let at = n * 7919 % bytes.len();
            bytes[at] ^= 1 << (n % 8);
            if let Err(error) = decode(&bytes) {
                assert!(!matches!(error, ImageError::DecoderPanicked { .. }), "{name}: {error}");
            }
        }
    }
}

/// The head of a PNG of this size, whose pixels never come.
fn png_head(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut crc = !0u32;
    for byte in &chunk {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(chunk);
    png.extend((!crc).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    png
}

#[test]
fn pictures_over_the_limits_are_refused_before_they_are_decoded() {
    let ImageLimits { bytes: most, side, pixels } = ImageLimits::default();
    assert_eq!(
        decode(&png_head(100_000, 100_000)),
        Err(ImageError::TooWide { width: 100_000, height: 100_000, limit: side })
    );
    assert_eq!(
        decode(&png_head(19_000, 19_000)),
        Err(ImageError::TooManyPixels { width: 19_000, height: 19_000, limit: pixels })
    );
    let long = vec![0; most + 1];
    assert_eq!(decode(&long), Err(ImageError::TooManyBytes { bytes: most + 1, limit: most }));
    let error = decode(&png_head(19_000, 19_000)).unwrap_err().to_string();
    assert!(error.contains("361000000") && error.contains("64000000"), "{error}");
}

#[test]
fn limits_can_be_set() {
    let small =
        plain(40, 40).with_limits(ImageLimits { bytes: 1 << 20, side: 39, pixels: 1 << 20 });
    let found = small.pixels(&bytes("pictures/alpha.png"));
    assert_eq!(found, Err(ImageError::TooWide { width: 40, height: 40, limit: 39 }));
}

#[test]
fn settings_that_are_not_supported_are_named() {
    for (config, named) in [
        (r#"{"resample": 0}"#, "resample = 0"),
        (r#"{"do_resize": false}"#, "do_resize"),
        (r#"{"do_center_crop": false}"#, "do_center_crop"),
        (r#"{"size": 0}"#, "size"),
        ("{", "fixture is not valid"),
    ] {
        let error = Preprocessor::from_json(config.as_bytes(), "fixture").unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn older_files_that_give_bare_numbers_are_read() {
    let clip = Preprocessor::from_json(
        br#"{"size": 20, "crop_size": 16, "feature_extractor_type": "CLIPFeatureExtractor"}"#,
        "old",
    );
    assert_eq!(clip.unwrap().size(), (16, 16));
    let blip = Preprocessor::from_json(
        br#"{"size": 20, "image_processor_type": "BlipImageProcessor"}"#,
        "old",
    );
    assert_eq!(blip.unwrap().size(), (20, 20));
    assert!(fixture("pictures").is_dir());
}
