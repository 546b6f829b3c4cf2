//! The decoder's scores and greedy tokens against Hugging Face's, on `kernels` and on candle's
//! operations.

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Blip, BlipConfig, Wanted, beam,
    decoder::Look,
    write::{Choice, Frame, forced, write},
};
use crate::{
    image::Preprocessor,
    layers::{
        rows,
        tests::{check_rows, without_kernels},
    },
    weights::Weights,
};

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

fn blip(dtype: DType) -> Blip {
    let config: BlipConfig = json("blip/config.json");
    let weights =
        Weights::open(&[path("blip/model.safetensors")], "blip".to_owned(), &Device::Cpu).unwrap();
    Blip::load(&weights.in_dtype(dtype), &config).unwrap()
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

fn check_scores(dtype: DType, within: (f32, f64)) {
    let golden: Golden = json("blip/golden.json");
    let blip = blip(dtype);
    let pixels = pixels(&golden.pictures[..1]).to_dtype(dtype).unwrap();
    let look = blip.decoder.look(&blip.vision.forward(&pixels).unwrap()).unwrap();
    let found = rows(&forced(&blip.decoder, &look, &golden.forced).unwrap()).unwrap();
    check_rows(&format!("{dtype:?}"), &found, &golden.forced_logits, within);
}

#[test]
fn scores_along_a_given_sentence() {
    check_scores(DType::F32, (1e-4, 0.99999));
    without_kernels(|| check_scores(DType::F32, (1e-4, 0.99999)));
    check_scores(DType::F16, (1e-2, 0.9999));
    check_scores(DType::BF16, (8e-2, 0.99));
}

#[test]
fn greedy_tokens_of_a_whole_batch() {
    check_greedy();
    without_kernels(check_greedy);
}

fn check_greedy() {
    let golden: Golden = json("blip/golden.json");
    let blip = blip(DType::F32);
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
    check_beams();
    without_kernels(check_beams);
}

fn check_beams() {
    let golden: Beams = json("blip/beams.json");
    let blip = blip(DType::F32);
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

#[test]
fn captions_in_half_precision() {
    let golden: Golden = json("blip/golden.json");
    let (pixels, seeds) = (pixels(&golden.pictures), vec![7; golden.pictures.len()]);
    let read = |ids: &[u32]| Ok(format!("{ids:?}"));
    for dtype in [DType::F16, DType::BF16] {
        let (blip, pixels) = (blip(dtype), pixels.to_dtype(dtype).unwrap());
        for beams in [1, 3] {
            let wanted = Wanted { r: 3, beams, seeds: &seeds };
            let captions = blip.captions(&pixels, wanted, &read).unwrap();
            assert!(captions.iter().all(|captions| captions.len() == 3), "{captions:?}");
        }
    }
}
