//! Fetching against a hub on the loopback that fails as told, with and without a cache.

mod fake;

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use candle_core::Device;
use tempfile::TempDir;

use self::fake::{COMMIT, FakeHub, FaultKind, REPOSITORY};
use super::Hub;
use crate::{
    files::{ModelFiles, Role},
    known::{Cached, KNOWN_MODELS, KnownModel},
    source::ModelSource,
};

const FILES: [&str; 4] =
    ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"];

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clip_gelu")
}

fn files() -> BTreeMap<String, Vec<u8>> {
    FILES.map(|file| (file.to_owned(), fs::read(fixture().join(file)).unwrap())).into()
}

/// The digits of the id, which depend on the content alone.
fn digits(files: &ModelFiles) -> String {
    files.id("").unwrap().as_str().split_once(':').unwrap().1.to_owned()
}

fn original() -> String {
    digits(&ModelFiles::find(&ModelSource::Folder(fixture()), Role::Encoder).unwrap())
}

struct Scene {
    fake: FakeHub,
    hub: Hub,
    _cache: TempDir,
}

impl Scene {
    fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let (fake, cache) = (FakeHub::start(files), tempfile::tempdir().unwrap());
        let hub = Hub {
            endpoint: fake.endpoint.clone(),
            cache: cache.path().to_owned(),
            token: None,
            offline: false,
            pause: Duration::from_millis(1),
        };
        Self { fake, hub, _cache: cache }
    }

    fn fetch(&self, revision: &str) -> Result<ModelFiles, String> {
        ModelFiles::of_hub(&self.hub, REPOSITORY, revision).map_err(|error| error.to_string())
    }

    fn check_refused(&self, revision: &str, expected: &[&str]) {
        let error = self.fetch(revision).unwrap_err();
        for part in expected {
            assert!(error.contains(part), "\"{error}\" does not say \"{part}\"");
        }
    }

    /// The same cache, and a hub that nobody listens at.
    fn unplugged(mut self) -> Self {
        self.hub.endpoint = "http://127.0.0.1:9".to_owned();
        self
    }
}

/// The weights in two files, with their index.
fn sharded() -> BTreeMap<String, Vec<u8>> {
    let mut files = files();
    let bytes = files.remove("model.safetensors").unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut parts = [const { Vec::new() }; 2];
    let mut map = BTreeMap::new();
    for (n, (name, tensor)) in BTreeMap::from_iter(tensors).into_iter().enumerate() {
        map.insert(name.clone(), names[n % 2]);
        parts[n % 2].push((name, tensor));
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, part) in names.into_iter().zip(parts) {
        let path = folder.path().join(name);
        candle_core::safetensors::save(&part.into_iter().collect(), &path).unwrap();
        files.insert(name.to_owned(), fs::read(path).unwrap());
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    files
}

#[test]
fn a_model_is_fetched_once_and_needs_no_network_then() {
    let scene = Scene::new(files());
    assert_eq!(digits(&scene.fetch("main").unwrap()), original());
    assert!(!scene.fake.requests().is_empty());
    scene.fetch("main").unwrap();
    assert_eq!(scene.fake.requests(), [""; 0]);
    let scene = scene.unplugged();
    assert_eq!(digits(&scene.fetch("main").unwrap()), original());
    scene.fetch(COMMIT).unwrap();
}

#[test]
fn shards_are_fetched_once_too() {
    let scene = Scene::new(sharded());
    let fetched = scene.fetch("main").unwrap();
    assert!(fetched.weights(&Device::Cpu).is_ok());
    scene.fake.requests();
    let scene = scene.unplugged();
    assert_eq!(digits(&scene.fetch("main").unwrap()), digits(&fetched));
}

#[test]
fn a_cache_that_knows_nothing_of_absent_files_serves_too() {
    let scene = Scene::new(sharded());
    scene.fetch("main").unwrap();
    // As huggingface_hub's snapshot_download leaves it.
    fs::remove_dir_all(scene.hub.folder(REPOSITORY).join(".no_exist")).unwrap();
    let mut scene = scene.unplugged();
    scene.fetch("main").unwrap();
    scene.hub.offline = true;
    scene.fetch("main").unwrap();
}

#[test]
fn a_commit_needs_no_ref() {
    let scene = Scene::new(files());
    scene.fetch(COMMIT).unwrap();
    let refs = scene.hub.folder(REPOSITORY).join("refs");
    fs::remove_dir_all(refs).unwrap();
    scene.unplugged().fetch(COMMIT).unwrap();
}

#[test]
fn a_branch_that_moves_never_mixes_with_what_is_cached() {
    let scene = Scene::new(files());
    let path = scene.hub.folder(REPOSITORY).join("snapshots").join(COMMIT);
    scene.fetch("main").unwrap();
    fs::remove_file(path.join("tokenizer.json")).unwrap();
    scene.fake.push(&"f".repeat(40), "config.json", b"{}");
    // The hub has forgotten the old commit: an error, and no file of the new one.
    scene.check_refused("main", &["list of files", "no revision"]);
    assert!(!path.join("tokenizer.json").exists());
}

#[test]
fn offline_says_what_is_missing() {
    let mut scene = Scene::new(files());
    scene.hub.offline = true;
    scene.check_refused("main", &["revision main of laion/tiny@main", "HF_HUB_OFFLINE", "HF_HOME"]);
    scene.check_refused(COMMIT, &["config.json", "HF_HUB_OFFLINE"]);
    assert_eq!(scene.fake.requests(), [""; 0]);
    scene.hub.offline = false;
    scene.fetch("v1").unwrap();
    let snapshot = scene.hub.folder(REPOSITORY).join("snapshots").join(COMMIT);
    fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
    scene.hub.offline = true;
    scene.check_refused("v1", &["tokenizer.json (or", "hf download"]);
    scene.hub.offline = false;
    scene.unplugged().check_refused("v1", &["tokenizer.json", "does not answer"]);
}

#[test]
fn without_cache_or_network_the_hub_is_named() {
    let scene = Scene::new(files()).unplugged();
    scene.check_refused("main", &["http://127.0.0.1:9 does not answer", "HF_ENDPOINT"]);
}

#[test]
fn a_file_that_the_repository_lacks_is_named() {
    let mut without = files();
    without.remove("tokenizer.json");
    let scene = Scene::new(without);
    scene.check_refused("main", &["laion/tiny@main has no tokenizer.json"]);
    scene.unplugged().check_refused("main", &["laion/tiny@main has no tokenizer.json"]);
}

#[test]
fn refusals_say_what_to_do() {
    let cases: [(u16, &str, &[&str]); 5] = [
        (401, "GatedRepo", &["gated", "licence at http", "laion/tiny", "HF_TOKEN"]),
        (401, "", &["no such repository, or it is private", "HF_TOKEN"]),
        (403, "GatedRepo", &["403", "licence", "HF_TOKEN"]),
        (404, "RepoNotFound", &["no repository \"laion/tiny\"", "check the name"]),
        (404, "RevisionNotFound", &["no revision \"main\""]),
    ];
    for (status, code, expected) in cases {
        let scene = Scene::new(files());
        scene.fake.fail("/api/models", FaultKind::Status(status, code));
        scene.check_refused("main", expected);
        assert_eq!(scene.fake.requests().len(), 1, "{status} {code} was repeated");
    }
    let scene = Scene::new(files());
    scene.fake.fail("config.json", FaultKind::Status(403, ""));
    scene.check_refused("main", &["config.json", "licence"]);
}

#[test]
fn the_token_is_shown_to_the_hub() {
    let mut scene = Scene::new(files());
    scene.fake.require_token("sesame");
    scene.check_refused("main", &["401"]);
    scene.hub.token = Some("wrong".to_owned());
    scene.check_refused("main", &["does not take the token"]);
    scene.hub.token = Some("sesame".to_owned());
    scene.fetch("main").unwrap();
}

#[test]
fn what_passes_is_repeated() {
    let scene = Scene::new(files());
    for status in [429, 500, 503] {
        scene.fake.fail("/api/models", FaultKind::Status(status, ""));
        scene.fake.fail("tokenizer.json", FaultKind::Status(status, ""));
    }
    scene.fetch("main").unwrap();
    let scene = Scene::new(files());
    for _ in 0..9 {
        scene.fake.fail("/api/models", FaultKind::Status(503, ""));
    }
    scene.check_refused("main", &["503", "again and again"]);
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let scene = Scene::new(files());
    scene.fake.fail("/cdn/", FaultKind::Cut(100_000));
    assert_eq!(digits(&scene.fetch("main").unwrap()), original());
    let requests = scene.fake.requests();
    assert!(requests.contains(&"/cdn/model.safetensors 100000-".to_owned()), "{requests:?}");
}

#[test]
fn a_cut_download_leaves_no_file() {
    let scene = Scene::new(files());
    for _ in 0..9 {
        scene.fake.fail("/cdn/", FaultKind::Cut(10_000));
    }
    scene.check_refused("main", &["model.safetensors", "connection broke", "is kept"]);
    let snapshot = scene.hub.folder(REPOSITORY).join("snapshots").join(COMMIT);
    assert!(!snapshot.join("model.safetensors").exists());
    assert_eq!(digits(&scene.fetch("main").unwrap()), original());
}

#[test]
fn damaged_bytes_are_fetched_again() {
    let scene = Scene::new(files());
    scene.fake.fail("/cdn/", FaultKind::Damage);
    assert_eq!(digits(&scene.fetch("main").unwrap()), original());
}

#[test]
fn a_part_that_is_whole_or_too_long_is_fetched_again() {
    for extra in [0, 10] {
        let scene = Scene::new(files());
        for _ in 0..9 {
            scene.fake.fail("/cdn/", FaultKind::Cut(1_000));
        }
        scene.fetch("main").unwrap_err();
        let blobs = scene.hub.folder(REPOSITORY).join("blobs");
        let part = fs::read_dir(blobs)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|e| e == "part"))
            .unwrap();
        let size = fs::metadata(fixture().join("model.safetensors")).unwrap().len();
        fs::write(part, vec![0; size as usize + extra]).unwrap();
        assert_eq!(digits(&scene.fetch("main").unwrap()), original());
    }
}

#[test]
fn processes_that_start_together_fetch_once() {
    let scene = Scene::new(files());
    std::thread::scope(|scope| {
        let fetching: Vec<_> = (0..4).map(|_| scope.spawn(|| scene.fetch("main"))).collect();
        for thread in fetching {
            thread.join().unwrap().unwrap();
        }
    });
    let requests = scene.fake.requests();
    let bodies = requests.iter().filter(|request| request.as_str() == "/cdn/model.safetensors 0-");
    assert_eq!(bodies.count(), 1, "{requests:?}");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let mut scene = Scene::new(files());
    scene.hub.cache = fixture().join("config.json");
    scene.check_refused("main", &["config.json cannot be locked"]);
}

#[test]
fn a_known_model_is_found_whole_or_in_part() {
    let scene = Scene::new(files());
    let model = KnownModel { name: REPOSITORY, ..KNOWN_MODELS[1] };
    assert_eq!(model.cached(&scene.hub), Cached::No);
    scene.fetch("v1").unwrap();
    scene.fake.requests();
    let snapshot = scene.hub.folder(REPOSITORY).join("snapshots").join(COMMIT);
    assert_eq!(model.cached(&scene.hub), Cached::Whole(snapshot.clone()));
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    assert_eq!(model.cached(&scene.hub), Cached::Partly(snapshot));
    assert_eq!(scene.fake.requests(), [""; 0]);
}
