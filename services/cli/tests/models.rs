//! The commands that need no NATS, as processes: `embed` against Hugging Face's numbers, `models`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    truncated: Vec<bool>,
    text_features: Vec<Vec<f64>>,
    pictures: Vec<String>,
    image_features: Vec<Vec<f64>>,
}

fn fixture(path: &str) -> PathBuf {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/models");
    models.join("tests/fixtures").join(path)
}

fn weimocir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weimocir"))
        .args(arguments)
        .env("HF_HOME", "/none")
        .env_remove("WEIMOCIR_MODEL")
        .env_remove("WEIMOCIR_LOG")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Largest difference, as a share of the norm that is expected.
fn off(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
    found.iter().zip(expected).fold(0.0, |most: f64, (x, y)| most.max((x - y).abs())) / norm
}

#[test]
fn embeddings_are_hugging_faces_in_the_order_of_the_arguments() {
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(fixture("clip_gelu/golden.json")).unwrap()).unwrap();
    let model = fixture("clip_gelu");
    let pictures: Vec<PathBuf> =
        golden.pictures.iter().map(|name| fixture("pictures").join(name)).collect();
    let mut arguments = vec!["embed", "--json", "--model", model.to_str().unwrap()];
    for (text, picture) in golden.texts.iter().zip(&pictures) {
        arguments.extend(["--text", text, "--image", picture.to_str().unwrap()]);
    }
    let output = weimocir(&arguments);
    let text = stdout(&output);
    assert!(text.starts_with("{\"model\":\"clip_gelu:"), "{text}");
    let printed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(printed.as_object().unwrap().len(), 4);
    assert_eq!(printed["dim"], golden.text_features[0].len());
    for (key, expected) in [("texts", golden.text_features), ("images", golden.image_features)] {
        let found: Vec<Vec<f64>> = serde_json::from_value(printed[key].clone()).unwrap();
        assert_eq!(found.len(), expected.len());
        for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = off(found, expected);
            assert!(off <= 1e-4, "{key} {n}: off by {off} of the norm");
        }
    }
    let warnings = stderr(&output).lines().filter(|line| line.contains("too long")).count();
    assert_eq!(warnings, golden.truncated.iter().filter(|truncated| **truncated).count());
}

#[test]
fn more_pictures_than_one_group_keep_their_order() {
    let names = ["landscape.png", "portrait.png", "palette.png"];
    let paths = names.map(|name| fixture("pictures").join(name).to_str().unwrap().to_owned());
    let mut arguments = vec!["embed", "--json"];
    for n in 0..70 {
        arguments.extend(["--image", &paths[n % 3]]);
    }
    let printed: Value = serde_json::from_str(&stdout(&weimocir(&arguments))).unwrap();
    let images = printed["images"].as_array().unwrap();
    assert_eq!(images.len(), 70);
    for (n, image) in images.iter().enumerate() {
        let values = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
        assert!(off(&values(image), &values(&images[n % 3])) < 1e-5, "picture {n}");
    }
}

#[test]
fn without_json_a_line_for_each() {
    let picture = fixture("pictures/landscape.png");
    let arguments = ["embed", "--image", picture.to_str().unwrap(), "--text", "a blue shirt"];
    let table = stdout(&weimocir(&arguments));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("model  bundled-clip:") && lines[0].ends_with("(128 numbers)"));
    assert!(lines[1].starts_with("image  norm") && lines[1].ends_with("landscape.png"), "{table}");
    assert!(lines[2].starts_with("text   norm") && lines[2].ends_with("a blue shirt"), "{table}");
}

fn check_refused(arguments: &[&str], code: i32, expected: &[&str]) {
    let output = weimocir(arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in expected {
        assert!(said.contains(part), "\"{said}\" does not say \"{part}\"");
    }
}

#[test]
fn what_cannot_be_encoded_is_named() {
    check_refused(&["embed"], 2, &["--image"]);
    check_refused(&["embed", "--text", " "], 2, &["--text", "needs words"]);
    check_refused(&["embed", "--image", "/none/a.png"], 1, &["cannot read /none/a.png"]);
    let json = fixture("known.json");
    let json = json.to_str().unwrap();
    check_refused(&["embed", "--image", json], 1, &[json, "not a picture"]);
    check_refused(&["embed", "--model", "nonsense", "--text", "a"], 2, &["nonsense", "bundled"]);
    check_refused(
        &["embed", "--model", "bundled", "--text", "a", "--device", "tpu"],
        2,
        &["tpu", "cuda:NUMBER"],
    );
}

#[test]
fn every_known_model_is_listed() {
    let printed: Value = serde_json::from_str(&stdout(&weimocir(&["models", "--json"]))).unwrap();
    assert_eq!(printed["cache"], "/none/hub");
    let models = printed["models"].as_array().unwrap();
    let large =
        models.iter().find(|model| model["name"] == "openai/clip-vit-large-patch14").unwrap();
    assert_eq!(large["parameters"], 427_616_513);
    assert_eq!(large["bytes"], 1_710_466_052_u64);
    assert_eq!((&large["dim"], &large["side"]), (&768.into(), &224.into()));
    assert_eq!((&large["alpha"], &large["beta"]), (&0.8.into(), &0.1.into()));
    assert_eq!(large["cached"]["state"], "no");
    let table = stdout(&weimocir(&["models"]));
    for model in models {
        assert!(table.contains(model["name"].as_str().unwrap()), "{} is missing", model["name"]);
    }
}
