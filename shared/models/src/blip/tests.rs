//! The decoder's scores and greedy tokens against Hugging Face's.

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Blip, BlipConfig, beam,
    decoder::Look,
    write::{Choice, Frame, forced, write},
};
use crate::{image::Preprocessor, weights::Weights};

#[derive(Deserialize)]
struct Golden {
    pictures: Vec<String>,
    greedy: Vec<Vec<u32>>,
    forced: Vec<u32>,
    forced_logits: Vec<Vec<f32>>,
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)
}

fn json<T: DeserializeOwned>(file: &str) -> T {
    serde_json::from_slice(&std::fs::read(path(file)).unwrap()).unwrap()
}

fn blip() -> Blip {
    let config: BlipConfig = json("blip/config.json");
    let weights =
        Weights::open(&[path("blip/model.safetensors")], "blip".to_owned(), &Device::Cpu).unwrap();
    Blip::load(&weights, &config).unwrap()
}

fn pixels(pictures: &[String]) -> Tensor {
    let config = std::fs::read(path("blip/preprocessor_config.json")).unwrap();
    let preprocessor = Preprocessor::from_json(&config, "blip").unwrap();
    let picture = |name: &String| {
        let bytes = std::fs::read(path("pictures").join(name)).unwrap();
        Tensor::from_slice(preprocessor.pixels(&bytes).unwrap().values(), (3, 32, 32), &Device::Cpu)
            .unwrap()
    };
    Tensor::stack(&pictures.iter().map(picture).collect::<Vec<_>>(), 0).unwrap()
}

#[test]
fn scores_along_a_given_sentence() {
    let golden: Golden = json("blip/golden.json");
    let blip = blip();
    let look =
        blip.decoder.look(&blip.vision.forward(&pixels(&golden.pictures[..1])).unwrap()).unwrap();
    let found: Vec<Vec<f32>> =
        forced(&blip.decoder, &look, &golden.forced).unwrap().to_vec2().unwrap();
    assert_eq!(found.len(), golden.forced_logits.len());
    for (found, expected) in found.iter().zip(&golden.forced_logits) {
        let greatest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (x, y) in found.iter().zip(expected) {
            assert!((x - y).abs() <= 1e-4 * greatest, "{x} is not {y}");
        }
    }
}

#[test]
fn greedy_tokens_of_a_whole_batch() {
    let golden: Golden = json("blip/golden.json");
    let blip = blip();
    let look = blip.decoder.look(&blip.vision.forward(&pixels(&golden.pictures)).unwrap()).unwrap();
    let pictures = golden.pictures.len();
    let mut choices = vec![Choice::Greedy; 2 * pictures];
    let found = write(&blip.decoder, &look, &mut choices, pictures, blip.frame).unwrap();
    for (n, tokens) in found.iter().enumerate() {
        assert_eq!(*tokens, golden.greedy[n / 2]);
    }
}

#[derive(Deserialize)]
struct Beams {
    pictures: Vec<String>,
    /// By `"{beams} {limit}"`, the sentence about each picture.
    sentences: BTreeMap<String, Vec<Vec<u32>>>,
}

#[test]
fn beam_search_of_a_batch_and_of_each_picture() {
    let golden: Beams = json("blip/beams.json");
    let blip = blip();
    let pixels = pixels(&golden.pictures);
    let look = blip.decoder.look(&blip.vision.forward(&pixels).unwrap()).unwrap();
    assert_eq!(golden.sentences.len(), 6);
    for (setting, expected) in &golden.sentences {
        let (beams, limit) = setting.split_once(' ').unwrap();
        let (beams, limit) = (beams.parse().unwrap(), limit.parse().unwrap());
        let frame = Frame { limit, ..blip.frame };
        let search = |look: &Look, pictures| {
            beam::search(&blip.decoder, look, pictures, beams, frame).unwrap()
        };
        assert_eq!(search(&look, expected.len()), *expected, "{setting}");
        for (n, expected) in expected.iter().enumerate() {
            let alone = search(&look.select(&[n]).unwrap(), 1);
            assert_eq!(alone, std::slice::from_ref(expected), "{setting}, picture {n} alone");
        }
    }
}
