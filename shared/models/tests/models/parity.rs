//! Features and captions against Hugging Face's, on tiny models of the real architectures.

use crate::common::{bytes, check_close, fixture, json};
use serde::Deserialize;
use weimocir_models::{BlipCaptioner, DeviceChoice, Encoder, ModelSource, Pixels};

#[derive(Deserialize)]
pub(crate) struct ClipGolden {
    pub(crate) texts: Vec<String>,
    pub(crate) truncated: Vec<bool>,
    pub(crate) text_features: Vec<Vec<f32>>,
    pub(crate) pictures: Vec<String>,
    pub(crate) image_features: Vec<Vec<f32>>,
}

fn encoder(folder: &str) -> Encoder {
    Encoder::load(&ModelSource::Folder(fixture(folder)), DeviceChoice::Cpu).unwrap()
}

fn check_clip(folder: &str) {
    let golden: ClipGolden = json(&format!("{folder}/golden.json"));
    let encoder = encoder(folder);
    let preprocessor = encoder.preprocessor();
    let pixels: Vec<Pixels> = golden
        .pictures
        .iter()
        .map(|name| preprocessor.pixels(&bytes(&format!("pictures/{name}"))).unwrap())
        .collect();
    let images = encoder.encode_images(&pixels).unwrap();
    for ((found, expected), name) in images.iter().zip(&golden.image_features).zip(&golden.pictures)
    {
        check_close(found.values(), expected, 1e-4, 0.99999, &format!("{folder} {name}"));
        assert_eq!(found.model(), encoder.id());
        assert_eq!(found.dim(), encoder.dim());
    }
    let texts = encoder.encode_texts(&golden.texts).unwrap();
    for (n, found) in texts.iter().enumerate() {
        let what = format!("{folder} \"{}\"", golden.texts[n]);
        check_close(found.embedding.values(), &golden.text_features[n], 1e-4, 0.99999, &what);
        assert_eq!(found.truncated, golden.truncated[n], "{what}: truncated");
    }
}

#[test]
fn clip_with_quick_gelu_and_the_legacy_end_rule() {
    check_clip("clip_quick_gelu");
}

#[test]
fn clip_with_exact_gelu_the_named_end_token_and_half_precision_weights() {
    check_clip("clip_gelu");
}

#[test]
fn a_text_has_the_same_feature_alone_and_in_a_batch() {
    let golden: ClipGolden = json("clip_gelu/golden.json");
    let encoder = encoder("clip_gelu");
    let together = encoder.encode_texts(&golden.texts).unwrap();
    for (text, beside) in golden.texts.iter().zip(&together) {
        let alone = encoder.encode_texts(std::slice::from_ref(text)).unwrap();
        check_close(alone[0].embedding.values(), beside.embedding.values(), 1e-5, 0.999999, text);
    }
}

#[test]
fn an_empty_batch_has_no_features() {
    let encoder = encoder("clip_gelu");
    assert!(encoder.encode_images(&[]).unwrap().is_empty());
    assert!(encoder.encode_texts(&[]).unwrap().is_empty());
}

#[test]
fn an_empty_text_is_refused_by_its_number() {
    let texts = ["red".to_owned(), " \n\t".to_owned()];
    let error = encoder("clip_gelu").encode_texts(&texts).unwrap_err().to_string();
    assert_eq!(error, "text 1 is empty or only white space");
}

#[test]
fn pixels_of_another_size_are_refused() {
    let other = br#"{"size": {"height": 8, "width": 8}, "do_center_crop": false}"#;
    let other = weimocir_models::Preprocessor::from_json(other, "other").unwrap();
    let pixels = other.pixels(&bytes("pictures/soft.png")).unwrap();
    let error = encoder("clip_gelu").encode_images(&[pixels]).unwrap_err().to_string();
    assert!(error.contains("(8, 8)") && error.contains("(32, 32)"), "{error}");
}

#[derive(Deserialize)]
pub(crate) struct BlipGolden {
    pub(crate) pictures: Vec<String>,
    pub(crate) sentences: Vec<String>,
}

fn captioned() -> (BlipCaptioner, Vec<(Pixels, u64)>, BlipGolden) {
    let golden: BlipGolden = json("blip/golden.json");
    let captioner =
        BlipCaptioner::load(&ModelSource::Folder(fixture("blip")), DeviceChoice::Cpu).unwrap();
    let preprocessor = captioner.preprocessor();
    let pixels = |name: &String| preprocessor.pixels(&bytes(&format!("pictures/{name}"))).unwrap();
    let batch = golden.pictures.iter().map(pixels).zip(100..).collect();
    (captioner, batch, golden)
}

#[test]
fn the_first_caption_is_the_greedy_one() {
    let (captioner, batch, golden) = captioned();
    let captions = captioner.caption(&batch, 1).unwrap();
    assert_eq!(
        captions,
        golden.sentences.into_iter().map(|sentence| vec![sentence]).collect::<Vec<_>>()
    );
}

#[test]
fn captions_of_a_picture_differ_and_do_not_depend_on_its_batch() {
    let (captioner, batch, golden) = captioned();
    let together = captioner.caption(&batch, 3).unwrap();
    for (n, captions) in together.iter().enumerate() {
        assert_eq!(captions.len(), 3, "{captions:?}");
        assert_eq!(captions[0], golden.sentences[n]);
        assert!(
            captions[0] != captions[1] && captions[1] != captions[2] && captions[0] != captions[2]
        );
        assert_eq!(captioner.caption(&batch[n..=n], 3).unwrap()[0], *captions);
    }
    let (pixels, seed) = batch[0].clone();
    assert_ne!(captioner.caption(&[(pixels, seed + 1)], 3).unwrap()[0], together[0]);
}

#[test]
fn no_captions_cannot_be_asked_for() {
    let (captioner, batch, _) = captioned();
    assert!(captioner.caption(&batch, 0).unwrap_err().to_string().contains("at least one"));
}
