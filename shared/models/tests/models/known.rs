//! The table of known models against what transformers counts, and the bundled ones against
//! themselves.

use std::collections::BTreeMap;

use serde::Deserialize;
use weimocir_models::{DeviceChoice, Encoder, KNOWN_MODELS, KnownModel, ModelSource, Origin, Role};

use crate::common::json;

#[derive(Debug, PartialEq, Deserialize)]
struct Counted {
    parameters: u64,
    dim: Option<u32>,
    side: u32,
}

fn key(model: &KnownModel) -> &'static str {
    match (model.origin, model.role) {
        (Origin::Bundled, Role::Encoder) => "bundled encoder",
        (Origin::Bundled, Role::Captioner) => "bundled captioner",
        _ => model.name,
    }
}

#[test]
fn sizes_are_what_transformers_counts() {
    let counted: BTreeMap<String, Counted> = json("known.json");
    let listed: BTreeMap<String, Counted> = KNOWN_MODELS
        .iter()
        .map(|model| {
            let KnownModel { parameters, dim, side, .. } = *model;
            (key(model).to_owned(), Counted { parameters, dim, side })
        })
        .collect();
    assert_eq!(listed, counted);
    assert_eq!(listed.len(), KNOWN_MODELS.len(), "a name is listed twice");
}

#[test]
fn the_bundled_encoder_is_as_listed() {
    let bundled = KNOWN_MODELS.iter().find(|model| model.name == "bundled").unwrap();
    let encoder = Encoder::load(&ModelSource::Bundled, DeviceChoice::Cpu).unwrap();
    assert_eq!(Some(encoder.dim() as u32), bundled.dim);
    assert_eq!(Some(encoder.default_weights()), bundled.weights);
}

#[test]
fn names_on_the_hub_are_sources() {
    for model in KNOWN_MODELS.iter().filter(|model| model.origin == Origin::Hub) {
        let source: ModelSource = model.name.parse().unwrap();
        assert!(matches!(source, ModelSource::Hub { .. }), "{source}");
    }
}
