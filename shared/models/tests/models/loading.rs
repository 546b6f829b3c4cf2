//! What loading a model says when its files are not right, and what its id depends on.

use std::{fs, path::Path};

use crate::common::fixture;
use tempfile::TempDir;
use weimocir_models::{BlipCaptioner, DeviceChoice, Encoder, ModelSource};

fn copy_of(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn load(folder: &Path) -> Result<Encoder, String> {
    Encoder::load(&ModelSource::Folder(folder.to_owned()), DeviceChoice::Cpu)
        .map_err(|e| e.to_string())
}

fn replace(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn check_refused(change: impl FnOnce(&Path), expected: &[&str]) {
    let folder = copy_of("clip_gelu");
    change(folder.path());
    let error = load(folder.path()).unwrap_err();
    for part in expected {
        assert!(error.contains(part), "\"{error}\" does not say \"{part}\"");
    }
}

#[test]
fn a_missing_file_is_named() {
    for file in ["config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"] {
        check_refused(|folder| fs::remove_file(folder.join(file)).unwrap(), &["has no", file]);
    }
}

/// As transformers 5 saves a model's processor as a whole.
#[test]
fn the_preprocessing_may_lie_in_processor_config() {
    let folder = copy_of("clip_gelu");
    let own = folder.path().join("preprocessor_config.json");
    let config = fs::read_to_string(&own).unwrap();
    let processor = format!("{{\"image_processor\": {config}, \"processor_class\": \"CLIPProcessor\"}}");
    fs::write(folder.path().join("processor_config.json"), processor).unwrap();
    fs::remove_file(own).unwrap();
    load(folder.path()).unwrap();
    fs::write(folder.path().join("processor_config.json"), "{}").unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(error.contains("processor_config.json") && error.contains("image_processor"), "{error}");
}

#[test]
fn another_kind_of_model_is_refused() {
    let blip = load(&fixture("blip")).unwrap_err();
    assert!(blip.contains("is a BLIP captioner") && blip.contains("blip-itm"), "{blip}");
    let clip = BlipCaptioner::load(&ModelSource::Folder(fixture("clip_gelu")), DeviceChoice::Cpu)
        .unwrap_err();
    assert!(clip.to_string().contains("expected \"blip\""), "{clip}");
}

#[test]
fn a_tensor_that_is_missing_or_misshapen_is_named() {
    let layers = |folder: &Path| {
        replace(folder, "config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
    };
    check_refused(layers, &["model.safetensors", "text_model.encoder.layers.3"]);
    let width = |folder: &Path| {
        replace(folder, "config.json", "\"projection_dim\": 24", "\"projection_dim\": 25")
    };
    check_refused(width, &["visual_projection.weight", "[24, 48]", "[25, 48]"]);
}

#[test]
fn a_tensor_that_the_model_does_not_use_is_named() {
    let layers = |folder: &Path| {
        replace(folder, "config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2");
    };
    check_refused(layers, &["model.safetensors", "text_model.encoder.layers.2", "13 more"]);
}

#[test]
fn an_index_of_shards_names_files_beside_it() {
    let index = |names: &'static str| {
        move |folder: &Path| {
            fs::remove_file(folder.join("model.safetensors")).unwrap();
            let index = format!("{{\"weight_map\": {{{names}}}}}");
            fs::write(folder.join("pytorch_model.bin.index.json"), index).unwrap();
        }
    };
    check_refused(
        index("\"a\": \"../model.bin\""),
        &["index.json", "../model.bin", "plain file name"],
    );
    check_refused(index("\"a\": \"/etc/passwd\""), &["plain file name"]);
    check_refused(index("\"a\": \"x.bin\""), &["has no x.bin"]);
    check_refused(index(""), &["names no shard"]);
    check_refused(index("1"), &["pytorch_model.bin.index.json is not valid"]);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let heads = |folder: &Path| {
        replace(folder, "config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5")
    };
    check_refused(heads, &["config.json", "5 attention heads"]);
    let patch =
        |folder: &Path| replace(folder, "config.json", "\"patch_size\": 8", "\"patch_size\": 0");
    check_refused(patch, &["no patches of 0"]);
    let crop = |folder: &Path| {
        replace(folder, "preprocessor_config.json", "\"height\": 32", "\"height\": 31")
    };
    check_refused(crop, &["preprocessor_config.json", "32×31", "32×32"]);
}

#[test]
fn damaged_files_are_named() {
    let cut = |folder: &Path| {
        let path = folder.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    check_refused(cut, &["model.safetensors is not valid"]);
    check_refused(
        |folder| fs::write(folder.join("tokenizer.json"), "{").unwrap(),
        &["tokenizer.json is not valid"],
    );
    let activation = |folder: &Path| replace(folder, "config.json", "\"gelu\"", "\"swish\"");
    check_refused(activation, &["config.json is not valid", "swish"]);
}

#[test]
fn the_id_depends_on_every_file() {
    let original = load(&fixture("clip_gelu")).unwrap();
    let id = original.id().as_str();
    let (name, digits) = id.split_once(':').unwrap();
    assert_eq!((name, digits.len()), ("clip_gelu", 12));
    let copy = copy_of("clip_gelu");
    let same = load(copy.path()).unwrap();
    assert!(same.id().as_str().ends_with(digits));
    replace(copy.path(), "preprocessor_config.json", "0.48145466", "0.5");
    assert!(!load(copy.path()).unwrap().id().as_str().ends_with(digits));
}

#[test]
fn weights_in_shards_are_the_same_model() {
    let folder = copy_of("clip_gelu");
    let whole = load(folder.path()).unwrap();
    let shard = "model-00001-of-00001.safetensors";
    fs::rename(folder.path().join("model.safetensors"), folder.path().join(shard)).unwrap();
    let index = format!(r#"{{"weight_map": {{"logit_scale": "{shard}"}}}}"#);
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    assert_eq!(load(folder.path()).unwrap().id(), whole.id());
    fs::remove_file(folder.path().join(shard)).unwrap();
    assert!(load(folder.path()).unwrap_err().contains(shard));
}
