//! What a JSON file says about pictures, by their names.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Entries of a file, found by a picture's whole name, its file's name, or that without extension.
#[derive(Debug, Clone)]
pub struct ByName<T> {
    entries: HashMap<String, T>,
}

#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line} is no JSON object: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
    #[error("an entry of {} has no \"image\" or \"candidate\" that names a picture", path.display())]
    Unnamed { path: PathBuf },
    #[error("in {}, the {what} of `{name}` are no {expected}", path.display())]
    Entry { path: PathBuf, what: &'static str, name: String, expected: &'static str },
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<T> ByName<T> {
    pub fn get(&self, source: &str) -> Option<&T> {
        let file = source.rsplit(['/', '\\']).next().unwrap_or(source);
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        [source, file, stem].iter().find_map(|name| self.entries.get(*name))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl ByName<Vec<String>> {
    /// Captions: `{"name": ["…"]}`, or objects with "image" (or "candidate", as the published
    /// captions have it) and "captions", in a list or one a line.
    ///
    /// # Errors
    /// A file that cannot be read, or an entry that is no list of sentences, by its name.
    pub fn captions(path: &Path) -> Result<Self, TableError> {
        Self::read(path, "captions", "list of sentences", |value| match value {
            Value::Object(mut entry) => entry.remove("captions").unwrap_or(Value::Null),
            list => list,
        })
    }
}

impl ByName<Map<String, Value>> {
    /// Metadata: `{"name": {…}}`, or objects with "image" and whatever else.
    ///
    /// # Errors
    /// A file that cannot be read, or an entry that is no object, by its name.
    pub fn metadata(path: &Path) -> Result<Self, TableError> {
        Self::read(path, "metadata", "JSON object", |value| value)
    }
}

impl<T: DeserializeOwned> ByName<T> {
    fn read(
        path: &Path,
        what: &'static str,
        expected: &'static str,
        of: fn(Value) -> Value,
    ) -> Result<Self, TableError> {
        let mut table = Self::default();
        for (name, value) in entries(path)? {
            let Ok(value) = serde_json::from_value(of(value)) else {
                return Err(TableError::Entry { path: path.to_owned(), what, name, expected });
            };
            table.entries.insert(name, value);
        }
        Ok(table)
    }
}

/// Name and value of each entry: one object by names, a list of objects, or one object a line.
fn entries(path: &Path) -> Result<Vec<(String, Value)>, TableError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TableError::Read { path: path.to_owned(), source })?;
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Array(list)) => list.into_iter().map(|value| named(value, path)).collect(),
        // because: a list of one line is one JSON object as well
        Ok(Value::Object(by_name)) if !names_an_image(&by_name) => {
            Ok(by_name.into_iter().collect())
        }
        _ => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            lines.map(|(number, line)| named(parse(line, number + 1, path)?, path)).collect()
        }
    }
}

fn parse(text: &str, line: usize, path: &Path) -> Result<Value, TableError> {
    serde_json::from_str(text).map_err(|error| TableError::Line {
        path: path.to_owned(),
        line,
        reason: error.to_string(),
    })
}

fn names_an_image(entry: &Map<String, Value>) -> bool {
    entry.get("image").or_else(|| entry.get("candidate")).is_some_and(Value::is_string)
}

/// An object that says which picture it is about, and what it says.
fn named(value: Value, path: &Path) -> Result<(String, Value), TableError> {
    if let Value::Object(mut entry) = value
        && let Some(Value::String(name)) =
            entry.remove("image").or_else(|| entry.remove("candidate"))
    {
        return Ok((name, Value::Object(entry)));
    }
    Err(TableError::Unnamed { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions(text: &str) -> Result<ByName<Vec<String>>, TableError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        ByName::captions(file.path())
    }

    #[test]
    fn every_form_of_a_caption_file_says_the_same() {
        for text in [
            r#"{"a.png": ["one", "two"]}"#,
            r#"{"some/folder/a.png": ["one", "two"], "a": ["stem"]}"#,
            r#"[{"candidate": "a", "captions": ["one", "two"]}]"#,
            r#"{"image": "a.png", "captions": ["one", "two"]}"#,
            "{\"image\": \"x\", \"captions\": []}\n\n{\"image\": \"a\", \"captions\": [\"one\", \"two\"]}\n",
        ] {
            let table = captions(text).unwrap();
            assert_eq!(table.get("some/folder/a.png").unwrap(), &["one", "two"], "{text}");
            assert_eq!(table.get("some/folder/b.png"), None);
        }
    }

    #[test]
    fn a_wrong_entry_is_named() {
        for (text, named) in [
            (r#"{"a.png": "one"}"#, "`a.png`"),
            (r#"{"a.png": [1, 2]}"#, "`a.png`"),
            (r#"[{"captions": ["one"]}]"#, "\"image\""),
            (r#"["one"]"#, "\"image\""),
            ("{\"image\": \"a\", \"captions\": []}\nnonsense", ":2"),
            ("", ""),
        ] {
            let outcome = captions(text);
            if text.is_empty() {
                assert!(outcome.unwrap().is_empty());
                continue;
            }
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"a.png": {"shop": "x"}, "b.png": 7}"#).unwrap();
        let error = ByName::metadata(file.path()).unwrap_err().to_string();
        assert!(error.contains("metadata of `b.png`"), "{error}");
        let missing = ByName::captions(Path::new("/missing/c.json")).unwrap_err().to_string();
        assert!(missing.contains("/missing/c.json"), "{missing}");
    }
}
