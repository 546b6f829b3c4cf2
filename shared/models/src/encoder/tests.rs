//! Whole dual encoders on candle's operations and in half precision, as they run on a GPU.

use std::path::PathBuf;

use super::*;
use crate::layers::tests::check_paths;

const PICTURES: [&str; 4] = ["landscape.png", "portrait.png", "soft.png", "tiny.png"];

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn encoder(folder: &str, dtype: DType) -> Encoder {
    let source = ModelSource::Folder(fixture(folder));
    Encoder::load_on(&source, (Device::Cpu, dtype), PixelRecipe::Declared).unwrap()
}

fn pixels(encoder: &Encoder) -> Vec<Pixels> {
    let picture = |name| std::fs::read(fixture("pictures").join(name)).unwrap();
    let preprocessor = encoder.preprocessor();
    PICTURES.iter().map(|name| preprocessor.pixels(&picture(name)).unwrap()).collect()
}

/// Of different lengths, so that some are padded.
fn texts() -> Vec<String> {
    ["a red dress with a round neck", "Is shorter, and has long sleeves!", "blue", "red"]
        .map(str::to_owned)
        .to_vec()
}

fn check(folder: &str) {
    check_paths(&format!("pictures of {folder}"), |dtype| {
        let encoder = encoder(folder, dtype);
        let embeddings = encoder.encode_images(&pixels(&encoder)).unwrap();
        embeddings.iter().map(|embedding| embedding.values().to_vec()).collect()
    });
    check_paths(&format!("texts of {folder}"), |dtype| {
        let encoded = encoder(folder, dtype).encode_texts(&texts()).unwrap();
        encoded.iter().map(|text| text.embedding.values().to_vec()).collect()
    });
}

#[test]
fn clip_with_quick_gelu() {
    check("clip_quick_gelu");
}

#[test]
fn clip_with_exact_gelu() {
    check("clip_gelu");
}

#[test]
fn blip() {
    check("blip_retrieval");
}

#[test]
fn the_matching_head_of_blip() {
    check_paths("matching", |dtype| {
        let encoder = encoder("blip_retrieval", dtype);
        vec![encoder.matching(&pixels(&encoder), &texts()).unwrap()]
    });
}
