//! The bundled models against Hugging Face's reading of the same files.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use weimocir_models::{BlipCaptioner, DeviceChoice, Encoder, ModelSource, Pixels};

use crate::{
    common::{bytes, check_close, json},
    parity::{BlipGolden, ClipGolden},
};

#[derive(Deserialize)]
struct Golden {
    /// SHA-256 over the files it was computed from, in the order of their names.
    files: String,
    clip: ClipGolden,
    captioner: BlipGolden,
}

/// Goldens of other files than those in this build would fail in ways that tell nothing.
fn golden() -> Golden {
    let golden: Golden = json("bundled.json");
    let mut hash = Sha256::new();
    for model in ["captioner", "clip"] {
        for file in
            ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
        {
            hash.update(bytes(&format!("../../bundled/{model}/{file}")));
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        found, golden.files,
        "the bundled models have changed: run fixtures/make.py bundled"
    );
    golden
}

fn pixels(preprocessor: &weimocir_models::Preprocessor, names: &[String]) -> Vec<Pixels> {
    names
        .iter()
        .map(|name| preprocessor.pixels(&bytes(&format!("pictures/{name}"))).unwrap())
        .collect()
}

#[test]
fn the_bundled_encoder() {
    let golden = golden().clip;
    let encoder = Encoder::load(&ModelSource::Bundled, DeviceChoice::Cpu).unwrap();
    assert!(encoder.id().as_str().starts_with("bundled-clip:"));
    let images = encoder.encode_images(&pixels(&encoder.preprocessor(), &golden.pictures)).unwrap();
    for ((found, expected), name) in images.iter().zip(&golden.image_features).zip(&golden.pictures)
    {
        check_close(found.values(), expected, 1e-3, 0.9999, name);
    }
    let texts = encoder.encode_texts(&golden.texts).unwrap();
    for ((found, expected), text) in texts.iter().zip(&golden.text_features).zip(&golden.texts) {
        check_close(found.embedding.values(), expected, 1e-3, 0.9999, text);
    }
    assert_eq!(texts.iter().map(|text| text.truncated).collect::<Vec<_>>(), golden.truncated);
}

#[test]
fn the_bundled_captioner() {
    let golden = golden().captioner;
    let captioner = BlipCaptioner::load(&ModelSource::Bundled, DeviceChoice::Cpu).unwrap();
    let pixels = pixels(&captioner.preprocessor(), &golden.pictures);
    let batch: Vec<(Pixels, u64)> = pixels.into_iter().zip(0..).collect();
    for (captions, sentence) in captioner.caption(&batch, 3).unwrap().iter().zip(golden.sentences) {
        assert_eq!(captions[0].replace(' ', ""), sentence.replace(' ', ""));
        assert!((1..=3).contains(&captions.len()));
    }
}
