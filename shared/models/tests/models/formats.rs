//! The same weights in every file format, against Hugging Face's features.

use std::fs;

use crate::common::{bytes, check_close, fixture, json};
use serde::Deserialize;
use weimocir_models::{DeviceChoice, Encoder, ModelOptions, ModelSource, PixelRecipe, Pixels};

#[derive(Deserialize)]
struct Expected {
    pictures: Vec<String>,
    texts: Vec<String>,
    image_features: Vec<Vec<f32>>,
    text_features: Vec<Vec<f32>>,
}

/// The encoder of formats/base with the weights of formats/`format`.
fn encoder(format: &str) -> Encoder {
    let folder = tempfile::tempdir().unwrap();
    for part in ["base", format] {
        for entry in fs::read_dir(fixture("formats").join(part)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    Encoder::load(&ModelSource::Folder(folder.path().to_owned()), DeviceChoice::Cpu).unwrap()
}

fn check(format: &str) {
    check_encoder(&encoder(format), "formats/base", format);
}

fn check_encoder(encoder: &Encoder, folder: &str, what: &str) {
    let expected: Expected = json(&format!("{folder}/expected.json"));
    let preprocessor = encoder.preprocessor();
    let picture = |name: &String| preprocessor.pixels(&bytes(&format!("pictures/{name}"))).unwrap();
    let pixels: Vec<Pixels> = expected.pictures.iter().map(picture).collect();
    let images = encoder.encode_images(&pixels).unwrap();
    assert_eq!(images.len(), expected.image_features.len());
    for (found, expected) in images.iter().zip(&expected.image_features) {
        check_close(found.values(), expected, 1e-4, 0.99999, what);
    }
    let texts = encoder.encode_texts(&expected.texts).unwrap();
    for (n, (found, expected_values)) in texts.iter().zip(&expected.text_features).enumerate() {
        check_close(found.embedding.values(), expected_values, 1e-4, 0.99999, what);
        let alone = encoder.encode_texts(&expected.texts[n..=n]).unwrap();
        check_close(alone[0].embedding.values(), expected_values, 1e-4, 0.99999, what);
    }
    let alone = encoder.encode_images(&pixels[..1]).unwrap();
    check_close(alone[0].values(), &expected.image_features[0], 1e-4, 0.99999, what);
}

#[test]
fn safetensors() {
    check("safetensors");
}

#[test]
fn safetensors_in_shards() {
    check("safetensors_shards");
}

#[test]
fn a_zip_of_pytorch() {
    check("bin");
}

#[test]
fn zips_of_pytorch_in_shards() {
    check("bin_shards");
}

#[test]
fn a_stream_of_pytorch_before_1_6() {
    check("bin_stream");
}

#[test]
fn transposed_and_shifted_views_in_a_zip_of_pytorch() {
    check("bin_views");
}

#[test]
fn blip_retrieval_with_other_heads_in_each_tower() {
    let source = ModelSource::Folder(fixture("blip_retrieval"));
    let encoder = Encoder::load(&source, DeviceChoice::Cpu).unwrap();
    check_encoder(&encoder, "blip_retrieval", "blip_retrieval");
}

#[test]
fn a_checkpoint_of_salesforce_with_positions_for_smaller_pictures() {
    let source = ModelSource::Checkpoint(fixture("salesforce/model.pth"));
    let encoder = Encoder::load(&source, DeviceChoice::Cpu).unwrap();
    check_encoder(&encoder, "salesforce", "salesforce");
}

#[derive(Deserialize)]
struct Matching {
    pairs: Vec<(String, String)>,
    odds: Vec<f32>,
}

#[test]
fn the_matching_head_of_blip() {
    let golden: Matching = json("blip_retrieval/matching.json");
    let source = ModelSource::Folder(fixture("blip_retrieval"));
    let encoder = Encoder::load(&source, DeviceChoice::Cpu).unwrap();
    let preprocessor = encoder.preprocessor();
    let picture = |name: &String| preprocessor.pixels(&bytes(&format!("pictures/{name}"))).unwrap();
    let pictures: Vec<Pixels> = golden.pairs.iter().map(|(name, _)| picture(name)).collect();
    let texts: Vec<String> = golden.pairs.iter().map(|(_, text)| text.clone()).collect();
    let found = encoder.matching(&pictures, &texts).unwrap();
    assert_eq!(found.len(), golden.odds.len());
    for (n, (found, expected)) in found.iter().zip(&golden.odds).enumerate() {
        assert!((found - expected).abs() < 1e-5, "pair {n}: {found} is not {expected}");
        let alone = encoder.matching(&pictures[n..=n], &texts[n..=n]).unwrap()[0];
        assert!((alone - expected).abs() < 1e-5, "pair {n} alone: {alone} is not {expected}");
    }
    let error = encoder.matching(&pictures[..1], &texts).unwrap_err().to_string();
    assert!(error.contains("1 pictures and 12 texts"), "{error}");
    let clip = encoder_of_clip().matching(&[], &[]).unwrap_err().to_string();
    assert!(clip.contains("only BLIP has one"), "{clip}");
}

fn encoder_of_clip() -> Encoder {
    Encoder::load(&ModelSource::Folder(fixture("clip_gelu")), DeviceChoice::Cpu).unwrap()
}

#[test]
fn the_published_pixels_are_another_model() {
    let source = ModelSource::Folder(fixture("blip_retrieval"));
    let published = ModelOptions { pixels: PixelRecipe::Published, ..ModelOptions::default() };
    let declared = Encoder::load(&source, DeviceChoice::Cpu).unwrap();
    let published = Encoder::load(&source, published).unwrap();
    assert_ne!(declared.id(), published.id());
    let tall = bytes("pictures/portrait.png");
    let pixels = |encoder: &Encoder| encoder.preprocessor().pixels(&tall).unwrap();
    assert_eq!(pixels(&declared).size(), pixels(&published).size());
    assert_ne!(pixels(&declared), pixels(&published));
}
