//! Decoding and resizing against Pillow, and what bad input is told.

use std::{collections::BTreeMap, io::Read};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::read::GzDecoder;
use serde::Deserialize;
use weimocir_models::{ImageError, ImageLimits, Pixels, Preprocessor};

use crate::common::{bytes, fixture, json};

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

fn picture_names() -> Vec<String> {
    let files = std::fs::read_dir(fixture("pictures")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn pictures_decode_as_pillow_decodes_them() {
    let names = picture_names();
    assert!(names.len() > 60);
    let differences = names.iter().map(|name| (name, difference(name)));
    let wrong: Vec<_> = differences.filter(|(_, difference)| *difference > 0).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What pipelines.py wrote.
#[derive(Deserialize)]
struct Pipelines {
    side: u32,
    /// Each channel's value for each level.
    table: [Vec<f32>; 3],
    /// The levels that each pipeline makes of each picture, channels last.
    pictures: BTreeMap<String, BTreeMap<String, String>>,
}

fn pipelines() -> Pipelines {
    let mut text = String::new();
    GzDecoder::new(&bytes("expected/pipelines.json.gz")[..]).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn pipeline(name: &str, side: u32) -> Preprocessor {
    let square = format!(r#"{{"height": {side}, "width": {side}}}"#);
    let config = match name {
        "clip" => format!(r#"{{"size": {{"shortest_edge": {side}}}, "crop_size": {square}}}"#),
        "blip" => format!(r#"{{"size": {square}, "do_center_crop": false}}"#),
        "published_clip" => return Preprocessor::published_clip(side),
        "published_blip" => return Preprocessor::published_blip(side),
        _ => panic!("a pipeline {name} that has no preprocessor"),
    };
    Preprocessor::from_json(config.as_bytes(), "fixture").unwrap()
}

/// The greatest difference, in levels, to the values that `levels` should have.
fn difference_in_levels(found: &Pixels, levels: &[u8], table: &[Vec<f32>; 3]) -> f32 {
    let (height, width) = found.size();
    assert_eq!(levels.len(), 3 * height * width);
    let differences = found.values().iter().enumerate().map(|(n, value)| {
        let (channel, at) = (n / (height * width), n % (height * width));
        let level = table[channel][1] - table[channel][0];
        (value - table[channel][usize::from(levels[3 * at + channel])]).abs() / level
    });
    differences.fold(0.0, f32::max)
}

#[test]
fn whole_pipelines_are_pillows_level_for_level() {
    let Pipelines { side, table, pictures } = pipelines();
    assert_eq!(pictures.keys().cloned().collect::<Vec<_>>(), picture_names());
    let mut wrong = Vec::new();
    for (name, by_pipeline) in &pictures {
        assert_eq!(by_pipeline.len(), 4);
        for (kind, levels) in by_pipeline {
            let found = pipeline(kind, side).pixels(&bytes(&format!("pictures/{name}"))).unwrap();
            let levels = BASE64_STANDARD.decode(levels).unwrap();
            let off = difference_in_levels(&found, &levels, &table);
            if off > 0.01 {
                wrong.push(format!("{name} through {kind} is {off} levels off"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn grey_of_16_bits_is_clipped_as_pillow_clips_it() {
    let found = levels(&plain(40, 40).pixels(&bytes("pictures/grey16.png")).unwrap());
    // Its samples are 0, 40, 80 and so on.
    assert_eq!(
        found[..3 * 8],
        [0, 40, 80, 120, 160, 200, 240, 255].map(|level| [level; 3]).concat()
    );
    assert!(found[3 * 7..].iter().all(|level| *level == 255));
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
        "photo_420.jpg",
        "photo_progressive.jpg",
        "photo_cmyk.jpg",
        "lossless.webp",
        "lossy.webp",
        "animated.webp",
        "transparent.gif",
        "plain.bmp",
        "palette.bmp",
        "plain.tiff",
        "lzw.tiff",
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
        "photo_420.jpg",
        "photo_progressive.jpg",
        "photo_restarts.jpg",
        "photo_ycck.jpg",
        "lossless.webp",
        "lossy.webp",
        "animated.gif",
        "plain.tiff",
        "lzw.tiff",
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

/// A copy of a fixture with other bytes at `at`.
fn patched(name: &str, at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes(&format!("pictures/{name}"));
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// Where the height and width of a baseline JPEG are.
fn jpeg_size_at(name: &str) -> usize {
    let bytes = bytes(&format!("pictures/{name}"));
    bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap() + 5
}

fn sides(first: u16, second: u16, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    [to_bytes(first), to_bytes(second)].concat()
}

#[test]
fn headers_that_promise_huge_pictures_are_refused() {
    let jpeg = jpeg_size_at("photo_420.jpg");
    let vp8l = 21;
    let too_wide = [
        patched("photo_420.jpg", jpeg, &sides(65_000, 65_000, u16::to_be_bytes)),
        patched("animated.gif", 6, &[0xff; 4]),
        patched("plain.bmp", 18, &21_000u32.to_le_bytes()),
        patched("plain.bmp", 22, &(-21_000i32).to_le_bytes()),
    ];
    for bytes in too_wide {
        let error = decode(&bytes).unwrap_err();
        assert!(matches!(error, ImageError::TooWide { limit: 20_000, .. }), "{error}");
    }
    let too_many = [
        patched("photo_420.jpg", jpeg, &sides(19_000, 19_000, u16::to_be_bytes)),
        patched("animated.gif", 6, &sides(19_000, 19_000, u16::to_le_bytes)),
        patched("lossless.webp", vp8l, &[0xfe, 0xbf, 0xff, 0x0f]),
        patched("plain.bmp", 18, &[19_000u32.to_le_bytes(), 19_000u32.to_le_bytes()].concat()),
    ];
    for bytes in too_many {
        let error = decode(&bytes).unwrap_err();
        assert!(matches!(error, ImageError::TooManyPixels { .. }), "{error}");
    }
}

#[test]
fn sizes_that_no_picture_has_are_refused() {
    let absurd = [
        patched("plain.bmp", 18, &[0xff; 4]),
        patched("plain.bmp", 18, &i32::MIN.to_le_bytes()),
        patched("plain.bmp", 18, &1_000_000u32.to_le_bytes()),
        patched("plain.bmp", 22, &i32::MIN.to_le_bytes()),
        patched("lossless.webp", 4, &[0xff; 4]),
        patched("lossy.webp", 26, &[0xff; 4]),
    ];
    for (index, bytes) in absurd.iter().enumerate() {
        let error = decode(bytes).expect_err(&format!("case {index}"));
        assert!(!matches!(error, ImageError::DecoderPanicked { .. }), "case {index}: {error}");
    }
}

#[test]
fn what_a_decoder_lacks_is_named() {
    let error = decode(&palette_tiff()).unwrap_err();
    assert!(matches!(error, ImageError::Unsupported { .. }), "{error}");
}

/// A TIFF whose samples are numbers of colours.
fn palette_tiff() -> Vec<u8> {
    let mut bytes = bytes("pictures/grey.tiff");
    let photometric = [6, 1, 3, 0, 1, 0, 0, 0];
    let at = bytes.windows(8).position(|entry| entry == photometric).unwrap();
    bytes[at + 8] = 3;
    bytes
}

#[test]
fn pictures_without_pixels_are_refused() {
    let jpeg = jpeg_size_at("photo_420.jpg");
    let empty = [
        png_head(0, 10),
        patched("photo_420.jpg", jpeg, &sides(53, 0, u16::to_be_bytes)),
        patched("photo_420.jpg", jpeg, &sides(0, 73, u16::to_be_bytes)),
        patched("animated.gif", 6, &[0; 4]),
        patched("plain.bmp", 18, &[0; 4]),
        patched("plain.bmp", 22, &[0; 4]),
        tiff(0, 8, 8, 192),
    ];
    for (index, bytes) in empty.iter().enumerate() {
        let error = decode(bytes).expect_err(&format!("case {index}"));
        assert!(!matches!(error, ImageError::DecoderPanicked { .. }), "case {index}: {error}");
    }
}

/// An RGB TIFF of one strip, whose pixels never come.
fn tiff(width: u32, height: u32, strip_at: u32, strip_bytes: u32) -> Vec<u8> {
    let entries: [(u16, u32); 9] = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 2),
        (273, strip_at),
        (277, 3),
        (278, height),
        (279, strip_bytes),
    ];
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    tiff.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        tiff.extend(tag.to_le_bytes());
        tiff.extend(4u16.to_le_bytes());
        tiff.extend(1u32.to_le_bytes());
        tiff.extend(value.to_le_bytes());
    }
    tiff.extend([0; 4]);
    tiff
}

#[test]
fn absurd_tiffs_are_refused() {
    let huge = decode(&tiff(1_000_000, 8, 8, 24)).unwrap_err();
    assert!(matches!(huge, ImageError::TooWide { .. }), "{huge}");
    let many = decode(&tiff(19_000, 19_000, 8, 24)).unwrap_err();
    assert!(matches!(many, ImageError::TooManyPixels { .. }), "{many}");
    for (strip_at, strip_bytes) in
        [(u32::MAX, 192), (8, u32::MAX), (u32::MAX, u32::MAX), (8, 0), (0, 192)]
    {
        let error = decode(&tiff(8, 8, strip_at, strip_bytes)).unwrap_err();
        assert!(!matches!(error, ImageError::DecoderPanicked { .. }), "{error}");
    }
}

#[test]
fn a_jpeg_of_endless_scans_is_refused() {
    let whole = bytes("pictures/photo_progressive.jpg");
    let first = whole.windows(2).position(|marker| marker == [0xff, 0xda]).unwrap();
    let tables = whole[first..].windows(2).position(|marker| marker == [0xff, 0xc4]).unwrap();
    let (head, rest) = whole.split_at(first);
    let scans = [head, &rest[..tables].repeat(1000), rest].concat();
    let error = decode(&scans).unwrap_err().to_string();
    assert!(error.contains("500 scans"), "{error}");
}

/// A JPEG with these bytes before its end marker.
fn before_the_end(name: &str, new: &[u8]) -> Vec<u8> {
    let whole = bytes(&format!("pictures/{name}"));
    let (picture, end) = whole.split_at(whole.len() - 2);
    assert_eq!(end, [0xff, 0xd9]);
    [picture, new, end].concat()
}

#[test]
fn stray_bytes_in_a_jpeg_change_nothing() {
    for name in ["photo_420.jpg", "photo_progressive.jpg", "photo_cmyk.jpg"] {
        let whole = decode(&bytes(&format!("pictures/{name}"))).unwrap();
        assert_eq!(decode(&before_the_end(name, &[7; 40])).unwrap(), whole, "{name}");
        let trailing = [bytes(&format!("pictures/{name}")), vec![0xff; 100]].concat();
        assert_eq!(decode(&trailing).unwrap(), whole, "{name}");
    }
}

#[test]
fn jpegs_that_lost_pixels_are_refused() {
    for name in ["photo_420.jpg", "photo_444.jpg", "photo_grey.jpg", "photo_restarts.jpg"] {
        let whole = bytes(&format!("pictures/{name}"));
        let hole = whole.len() - 200..whole.len() - 40;
        let error = decode(&[&whole[..hole.start], &whole[hole.end..]].concat()).unwrap_err();
        assert!(matches!(error, ImageError::Damaged { .. }), "{name}: {error}");
    }
}

#[test]
fn padding_costs_nothing_where_the_picture_is_long() {
    let mut strip = Vec::new();
    let picture = image::RgbImage::from_pixel(1, 20_000, image::Rgb([255; 3]));
    picture.write_to(&mut std::io::Cursor::new(&mut strip), image::ImageFormat::Png).unwrap();
    let pixels = Preprocessor::published_blip(384).pixels(&strip).unwrap();
    assert_eq!(pixels.size(), (384, 384));
    // A 16,000th of the width is white: hardly a level.
    assert!(pixels.values().iter().all(|value| *value < -1.4));
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
