//! Data sets in their published layouts, or with the annotation files flat in one folder.
//! A file says what it holds; whatever does not fit is an error that names it.

pub mod circo;
pub mod cirr;
pub mod fashioniq;
pub mod genecis;
pub mod jsonl;
mod modifier;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::error::DataError;

/// The first of these files below the root that is there.
fn find(root: &Path, candidates: &[String]) -> Result<PathBuf, DataError> {
    let found = candidates.iter().map(|file| root.join(file)).find(|path| path.is_file());
    found.ok_or_else(|| DataError::Missing { root: root.to_owned(), tried: candidates.to_vec() })
}

fn read_json<T: DeserializeOwned>(file: &Path, expected: &'static str) -> Result<T, DataError> {
    serde_json::from_str(&read_text(file)?).map_err(|error| DataError::Malformed {
        file: file.to_owned(),
        expected,
        reason: error.to_string(),
    })
}

fn read_text(file: &Path) -> Result<String, DataError> {
    fs::read_to_string(file).map_err(|source| DataError::Read { file: file.to_owned(), source })
}
