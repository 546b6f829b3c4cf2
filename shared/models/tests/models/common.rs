//! Fixtures that fixtures/make.py wrote, and how near two features must be.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

pub(crate) fn bytes(path: &str) -> Vec<u8> {
    let path = fixture(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn json<T: DeserializeOwned>(path: &str) -> T {
    serde_json::from_slice(&bytes(path)).unwrap()
}

/// Fails unless the cosine is at least `cosine` and no value is further off than `relative` times
/// the greatest expected one.
pub(crate) fn check_close(found: &[f32], expected: &[f32], relative: f32, cosine: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
    };
    let found_cosine = dot(found, expected) / (dot(found, found) * dot(expected, expected)).sqrt();
    let greatest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let off = found.iter().zip(expected).fold(0f32, |most, (x, y)| most.max((x - y).abs()));
    assert!(found_cosine >= cosine, "{what}: cosine {found_cosine}");
    assert!(off <= relative * greatest, "{what}: off by {off}, the greatest value is {greatest}");
}
