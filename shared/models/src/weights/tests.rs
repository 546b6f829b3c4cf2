//! Files that are damaged or made to do harm, and Salesforce's names, grid and configuration.

use std::{fs, path::PathBuf};

use candle_core::Device;
use serde::Deserialize;
use tempfile::TempDir;

use super::{Weights, ignorable, positions, salesforce};

fn fixture(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)
}

fn open(files: &[(&str, &[u8])]) -> (TempDir, Result<Weights, String>) {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
    for (path, (_, bytes)) in paths.iter().zip(files) {
        fs::write(path, bytes).unwrap();
    }
    let weights = Weights::open(&paths, "the weights".to_owned(), &Device::Cpu);
    (folder, weights.map_err(|e| e.to_string()))
}

fn check_refused(file: &str, bytes: &[u8], expected: &str) {
    let error = open(&[(file, bytes)]).1.unwrap_err();
    assert!(
        error.contains(file) && error.contains(expected),
        "\"{error}\" does not say {expected}"
    );
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn one_tensor(dtype: &str, data: &[u8]) -> Vec<u8> {
    let header =
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{}]}}}}"#, data.len());
    safetensors(&header, data)
}

/// A file as PyTorch saved them before 1.6, with this pickle after its protocol, as the object.
fn stream(object: &[u8]) -> Vec<u8> {
    let start = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
    [start, &b"\x80\x02M\xe9\x03."[..], b"\x80\x02}.", b"\x80\x02", object, b"\x80\x02]."].concat()
}

#[test]
fn damaged_safetensors_are_refused() {
    let whole = one_tensor("F32", &1f32.to_le_bytes());
    assert!(open(&[("a.safetensors", &whole)]).1.is_ok());
    for length in [0, 7, 8, 20, whole.len() - 1] {
        check_refused("a.safetensors", &whole[..length], "is not valid");
    }
    let mut long = whole.clone();
    long[..8].copy_from_slice(&(whole.len() as u64).to_le_bytes());
    check_refused("a.safetensors", &long, "is not valid");
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    check_refused("a.safetensors", &long, "is not valid");
    let outside = safetensors(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 4]);
    check_refused("a.safetensors", &outside, "is not valid");
    check_refused("a.safetensors", &safetensors("[1", &[]), "is not valid");
}

#[test]
fn values_that_are_no_weights_are_refused_by_name() {
    let read = |dtype: &str, data: &[u8]| {
        let (_folder, weights) = open(&[("w.safetensors", &one_tensor(dtype, data))]);
        weights.unwrap().root().tensor("a", &[1]).map_err(|e| e.to_string())
    };
    let whole = read("I64", &1i64.to_le_bytes()).unwrap_err();
    assert!(whole.contains("\"a\"") && whole.contains("I64"), "{whole}");
    for value in [f32::NAN, f32::INFINITY] {
        let error = read("F32", &value.to_le_bytes()).unwrap_err();
        assert!(error.contains("\"a\"") && error.contains("not a number"), "{error}");
    }
    let overflow = read("F64", &1e300f64.to_le_bytes()).unwrap_err();
    assert!(overflow.contains("infinite"), "{overflow}");
    assert_eq!(read("F64", &0.5f64.to_le_bytes()).unwrap().to_vec1::<f32>().unwrap(), [0.5]);
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let file = one_tensor("F32", &[0; 4]);
    let error = open(&[("1.safetensors", &file), ("2.safetensors", &file)]).1.unwrap_err();
    assert!(error.contains("1.safetensors") && error.contains("2.safetensors"), "{error}");
    assert!(error.contains("\"a\""), "{error}");
}

#[test]
fn what_is_left_over_is_named_unless_it_is_known() {
    let file = one_tensor("F32", &[0; 4]);
    let (_folder, weights) = open(&[("w.safetensors", &file)]);
    let weights = weights.unwrap();
    let error = weights.finish(&["b", "c.*"]).unwrap_err().to_string();
    assert!(error.contains("\"a\"") && error.contains("the weights"), "{error}");
    weights.finish(&["a"]).unwrap();
    weights.root().tensor("a", &[1]).unwrap();
    weights.finish(&[]).unwrap();
}

#[test]
fn patterns_of_ignorable_names() {
    let cases = [
        ("temp", "temp", true),
        ("temp", "temperature", false),
        ("itm_head.*", "itm_head.weight", true),
        ("itm_head.*", "a.itm_head.weight", false),
        ("*.position_ids", "text_model.embeddings.position_ids", true),
        ("*.crossattention.*", "text_encoder.encoder.layer.0.crossattention.self.key.bias", true),
        ("*.crossattention.*", "text_encoder.encoder.layer.0.attention.self.key.bias", false),
    ];
    for (pattern, name, expected) in cases {
        assert_eq!(ignorable::matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn files_that_torch_does_not_write_are_refused() {
    check_refused("w.bin", b"", "not a file that torch.save writes");
    check_refused("w.bin", b"<html>Not found</html>", "not a file that torch.save writes");
    check_refused("w.bin", b"version https://git-lfs.github.com/spec/v1\n", "torch.save");
    check_refused("w.bin", b"PK\x03\x04 and nothing", "is not valid");
    let zip = fs::read(fixture("formats/bin/pytorch_model.bin")).unwrap();
    for length in [zip.len() / 3, zip.len() - 30] {
        check_refused("w.bin", &zip[..length], "is not valid");
    }
    let stream = fs::read(fixture("formats/bin_stream/pytorch_model.bin")).unwrap();
    for length in [15, 40, 2000, stream.len() - 1] {
        check_refused("w.bin", &stream[..length], "too early");
    }
}

#[test]
fn nothing_that_a_pickle_names_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("called");
    let command = format!("touch {}", mark.display());
    let length = (command.len() as u32).to_le_bytes();
    let call = [b"cposix\nsystem\nX", &length[..], command.as_bytes(), b"\x85R"].concat();
    let entry = [b"}X\x01\0\0\0a", &call[..], b"s."].concat();
    check_refused("w.bin", &stream(&entry), "\"a\" in it is a call of posix.system, not a tensor");
    check_refused("w.bin", &stream(&[&call[..], b"."].concat()), "a call of posix.system instead");
    assert!(!mark.exists());
}

#[test]
fn damaged_pickles_are_refused() {
    let cases: [(&[u8], &str); 8] = [
        (b"}\xff.", "opcode 0xff at byte 3"),
        (b"}s.", "from its stack"),
        (b"R.", "from its stack"),
        (b"(u.", "from its stack"),
        (b"}h\x07.", "memo 7 is empty"),
        (b"K\x01.", "a number instead of a state dict"),
        (b"}K\x01K\x02s.", "is not a text"),
        (b"}X\xff\xff\xff\xffa.", "too early"),
    ];
    for (object, expected) in cases {
        check_refused("w.bin", &stream(object), expected);
    }
    // Every tuple holds the one before twice: read without sharing, they would fill any memory.
    let nested =
        [b"}X\x01\0\0\0a)".to_vec(), b"q\0h\0\x86".repeat(100_000), b"s.".to_vec()].concat();
    check_refused("w.bin", &stream(&nested), "is a tuple, not a tensor");
}

#[test]
fn a_parameter_that_holds_itself_is_refused() {
    let cyclic = b"}X\x01\0\0\0actorch._utils\n_rebuild_parameter\n]q\0Rq\x01h\0h\x01a0s.".to_vec();
    check_refused("w.bin", &stream(&cyclic), "not a tensor");
}

#[test]
fn a_tensor_outside_its_storage_is_refused() {
    // _rebuild_tensor_v2(("storage", FloatStorage, "0", "cpu", 1), offset, (1,), (1,))
    let tensor = |offset: u8, shape: &[u8]| {
        let storage =
            b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ";
        let start = b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(";
        let object = [start, &storage[..], b"K", &[offset], shape, b"K\x01\x85\x89)tRs."].concat();
        let mut file = stream(&object);
        file.truncate(file.len() - 4);
        let keys = b"\x80\x02]X\x01\0\0\x000a.";
        [&file[..], keys, &1i64.to_le_bytes(), &2f32.to_le_bytes()].concat()
    };
    let (_folder, weights) = open(&[("w.bin", &tensor(0, b"K\x01\x85"))]);
    let found = weights.unwrap().root().tensor("a", &[1]).unwrap();
    assert_eq!(found.to_vec1::<f32>().unwrap(), [2.0]);
    check_refused("w.bin", &tensor(1, b"K\x01\x85"), "\"a\" in it reaches outside its storage 0");
    check_refused("w.bin", &tensor(0, b"K\x02\x85"), "reaches outside its storage 0");
    check_refused("w.bin", &tensor(0, b"J\xff\xff\xff\xff\x85"), "reaches outside its storage 0");
}

#[derive(Deserialize)]
struct Grid {
    from: usize,
    to: usize,
    width: usize,
    values: Vec<f32>,
    expected: Vec<f32>,
}

#[test]
fn grids_are_resampled_as_by_pytorch() {
    let grids = fs::read(fixture("salesforce/bicubic.json")).unwrap();
    let grids: Vec<Grid> = serde_json::from_slice(&grids).unwrap();
    for grid in grids {
        let found = positions::resample(&grid.values, grid.from, grid.to, grid.width);
        assert_eq!(found.len(), grid.expected.len());
        for (found, expected) in found.iter().zip(&grid.expected) {
            assert!((found - expected).abs() < 5e-6, "{found} is not {expected}");
        }
    }
}

#[derive(Deserialize)]
struct Salesforce {
    names: Vec<String>,
}

#[test]
fn a_salesforce_checkpoint_has_hugging_faces_names() {
    let expected = fs::read(fixture("salesforce/expected.json")).unwrap();
    let expected: Salesforce = serde_json::from_slice(&expected).unwrap();
    let path = fixture("salesforce/model.pth");
    let weights = salesforce::open(&path, "the weights".to_owned(), &Device::Cpu).unwrap();
    for name in &expected.names {
        let shape = weights.shape(name).unwrap();
        weights.root().tensor(name, shape).unwrap();
    }
    weights.finish(ignorable::BLIP_RETRIEVAL).unwrap();
    assert!(weights.finish(&[]).unwrap_err().to_string().contains("image_queue"));
}

#[test]
fn the_configuration_follows_from_the_tensors() {
    let path = fixture("salesforce/model.pth");
    let weights = salesforce::open(&path, "the weights".to_owned(), &Device::Cpu).unwrap();
    let config = salesforce::config(&weights, salesforce::TEXT_ENCODER).unwrap();
    let number = |part: &str, name: &str| config[part][name].as_u64().unwrap();
    assert_eq!(config["image_text_hidden_size"], 24);
    assert_eq!(number("vision_config", "hidden_size"), 64);
    assert_eq!(number("vision_config", "num_attention_heads"), 1);
    assert_eq!(number("vision_config", "num_hidden_layers"), 1);
    assert_eq!(number("vision_config", "image_size"), 384);
    assert_eq!(number("vision_config", "patch_size"), 16);
    assert_eq!(config["vision_config"]["layer_norm_eps"], 1e-6);
    assert_eq!(number("text_config", "hidden_size"), 128);
    assert_eq!(number("text_config", "num_attention_heads"), 2);
    assert_eq!(number("text_config", "num_hidden_layers"), 1);
    assert_eq!(number("text_config", "vocab_size"), 30524);
    assert_eq!(number("text_config", "max_position_embeddings"), 80);
    let error = salesforce::config(&weights, salesforce::TEXT_DECODER).unwrap_err().to_string();
    assert!(error.contains("is a BLIP encoder"), "{error}");
}
