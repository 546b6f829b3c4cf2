//! The bundled models against Hugging Face's reading of the same files.

use serde::Deserialize;
use weimocir_models::{Captioner, DeviceChoice, Encoder, ModelSource, Pixels};

use crate::{
    common::{bytes, check_close, json},
    parity::{BlipGolden, ClipGolden},
};

#[derive(Deserialize)]
struct Golden {
    clip: ClipGolden,
    captioner: BlipGolden,
}

fn pixels(preprocessor: &weimocir_models::Preprocessor, names: &[String]) -> Vec<Pixels> {
    names
        .iter()
        .map(|name| preprocessor.pixels(&bytes(&format!("pictures/{name}"))).unwrap())
        .collect()
}

#[test]
fn the_bundled_encoder() {
    let golden = json::<Golden>("bundled.json").clip;
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
    let golden = json::<Golden>("bundled.json").captioner;
    let captioner = Captioner::load(&ModelSource::Bundled, DeviceChoice::Cpu).unwrap();
    let pixels = pixels(&captioner.preprocessor(), &golden.pictures);
    let batch: Vec<(Pixels, u64)> = pixels.into_iter().zip(0..).collect();
    for (captions, sentence) in captioner.caption(&batch, 3).unwrap().iter().zip(golden.sentences) {
        assert_eq!(captions[0].replace(' ', ""), sentence.replace(' ', ""));
        assert!((1..=3).contains(&captions.len()));
    }
}
