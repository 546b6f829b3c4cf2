//! `weimocir eval` as a user runs it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use weimocir_catalogue::{Split, gallery, write_gallery};

fn fixture(name: &str) -> PathBuf {
    let evaluation = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/evaluation");
    evaluation.join("tests/fixtures").join(name)
}

fn eval(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weimocir"));
    command.arg("eval").args(args).current_dir(folder);
    command.output().expect("weimocir runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it complains of, with its exit code.
fn complaint(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = eval(folder, args);
    (output.status.code().expect("an exit code"), text(&output.stderr))
}

#[test]
fn results_are_those_of_numpy() {
    let folder = tempfile::tempdir().unwrap();
    for set in ["cirr", "fashioniq"] {
        let data = fixture(set);
        let features = data.join("features.safetensors").display().to_string();
        let data_text = data.display().to_string();
        let args = [set, "--data", &data_text, "--features", &features, "--sweep", "0.05"];
        let output = eval(folder.path(), &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found = fs::read_to_string(folder.path().join("eval/results.csv")).unwrap();
        assert_eq!(found, fs::read_to_string(data.join("expected.csv")).unwrap());
    }
}

#[test]
fn a_submission_is_what_the_server_takes() {
    // the answers of test1 are secret, so that its entries have no target
    let (folder, data) = (tempfile::tempdir().unwrap(), fixture("cirr"));
    let read = |file: &str| fs::read_to_string(data.join(file)).unwrap();
    let mut entries: Vec<Value> = serde_json::from_str(&read("captions/cap.rc2.val.json")).unwrap();
    for entry in &mut entries {
        entry.as_object_mut().unwrap().retain(|name, _| !name.starts_with("target"));
    }
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
    write("cap.rc2.test1.json", &serde_json::to_string(&entries).unwrap());
    write("split.rc2.test1.json", &read("image_splits/split.rc2.val.json"));
    let features = data.join("features.safetensors").display().to_string();
    let args = ["cirr", "--split", "test1", "--data", ".", "--features", &features];
    let (code, error) = complaint(folder.path(), &args);
    assert!(code == 1 && error.contains("only --submission written"), "{error}");
    let output = eval(folder.path(), &[&args[..], &["--submission"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (metric, wanted) in [("recall", 50), ("recall_subset", 3)] {
        let file = folder.path().join(format!("eval/{metric}.json"));
        let written = fs::read_to_string(file).unwrap();
        let submission: BTreeMap<String, Value> = serde_json::from_str(&written).unwrap();
        assert_eq!(submission["version"], "rc2");
        assert_eq!(submission["metric"], metric);
        assert_eq!(submission.len(), entries.len() + 2);
        for entry in &entries {
            let names = submission[&entry["pairid"].to_string()].as_array().unwrap();
            assert_eq!(names.len(), wanted);
            assert!(!names.contains(&entry["reference"]));
            let members = entry["img_set"]["members"].as_array().unwrap();
            assert!(wanted == 50 || names.iter().all(|name| members.contains(name)));
        }
    }
}

#[test]
fn pictures_are_encoded_once_and_a_corrupt_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("garments");
    write_gallery(&gallery(Split::Test, 12), &data, 64, |_| ()).unwrap();
    fs::write(data.join("test-00011.png"), "no picture").unwrap();
    let saved = ["--save-features", "saved.safetensors"];
    let args = ["triplets", "--data", "garments", "--cache", "cache", "--json"];
    let first = eval(folder.path(), &[&args[..], &saved].concat());
    assert_eq!(first.status.code(), Some(3), "{}", text(&first.stderr));
    let answer: Value = serde_json::from_slice(&first.stdout).unwrap();
    let unreadable = answer["unreadable"].as_object().unwrap();
    assert_eq!(unreadable.keys().collect::<Vec<_>>(), ["test-00011.png"]);
    let results = || fs::read_to_string(folder.path().join("eval/results.csv")).unwrap();
    let (csv, size) = (results(), cache_size(folder.path()));

    // an interruption that left half of the cache, in the middle of a record
    let file = fs::read_dir(folder.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(eval(folder.path(), &args).status.code(), Some(3));
    assert_eq!((results(), cache_size(folder.path())), (csv, size));

    // what was saved lacks the picture, by name
    let args = ["triplets", "--data", "garments", "--features", "saved.safetensors"];
    let (code, error) = complaint(folder.path(), &args);
    assert!(code == 1 && error.contains("lacks images of garments: test-00011.png"), "{error}");
}

fn cache_size(folder: &Path) -> u64 {
    let files = fs::read_dir(folder.join("cache")).expect("a cache");
    files.map(|file| file.expect("a file").metadata().expect("its size").len()).sum()
}

#[test]
fn wrong_usage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = fixture("cirr").display().to_string();
    let features = fixture("cirr/features.safetensors").display().to_string();
    let base = ["cirr", "--data", &data, "--features", &features];
    for (more, code, why) in [
        (&["--alpha", "1.5"][..], 2, "alpha is 1.5, which is not between 0 and 1"),
        (&["--sweep", "0.3"], 2, "does not reach from 0 to 1"),
        (&["--sweep", "a tenth"], 2, "invalid float literal"),
        (&["--sweep", "0.1", "--beta", "0.5"], 2, "cannot be used with"),
        (&["--tune", "1"], 2, "--sweep"),
        (&["--split", "test2"], 2, "\"val\" and \"test1\""),
        (&["--features", &features], 1, "2 files of features for 1 test sets"),
        (&["--model", "bundled"], 2, "cannot be used with"),
        (&["--submission", "--sweep", "0.1"], 2, "cannot be used with"),
    ] {
        let (found, error) = complaint(folder.path(), &[&base[..], more].concat());
        assert!(found == code && error.contains(why), "{more:?}: {found} {error}");
    }
    let (code, error) = complaint(folder.path(), &["cirr", "--data", &data]);
    assert!(code == 1 && error.contains("none of the pictures of cirr-val can be read"), "{error}");
}
