//! Captions and metadata that come in files of their own, by the names of the pictures.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, bail};
use serde_json::Value;
use weimocir_wire::work::Metadata;

#[derive(Debug, Default)]
pub(crate) struct Tables {
    captions: HashMap<String, Vec<String>>,
    metadata: HashMap<String, Metadata>,
}

impl Tables {
    /// # Errors
    /// A file that cannot be read, or an entry that is not what the file is for, by its name.
    pub(crate) fn read(captions: Option<&Path>, metadata: Option<&Path>) -> anyhow::Result<Self> {
        let mut tables = Self::default();
        for (name, value) in captions.map(entries).transpose()?.unwrap_or_default() {
            let list = match value {
                Value::Object(mut entry) => entry.remove("captions").unwrap_or(Value::Null),
                list => list,
            };
            let sentences = serde_json::from_value::<Vec<String>>(list)
                .with_context(|| format!("the captions of `{name}` are no list of sentences"))?;
            tables.captions.insert(name, sentences);
        }
        for (name, value) in metadata.map(entries).transpose()?.unwrap_or_default() {
            let Value::Object(facts) = value else {
                bail!("the metadata of `{name}` are no JSON object")
            };
            tables.metadata.insert(name, facts);
        }
        Ok(tables)
    }

    /// Captions for a picture, by its whole name, its file's name, or that without the extension.
    pub(crate) fn captions(&self, source: &str) -> Option<&Vec<String>> {
        look_up(&self.captions, source)
    }

    pub(crate) fn metadata(&self, source: &str) -> Option<&Metadata> {
        look_up(&self.metadata, source)
    }
}

fn look_up<'a, T>(table: &'a HashMap<String, T>, source: &str) -> Option<&'a T> {
    let file = source.rsplit('/').next().unwrap_or(source);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    [source, file, stem].iter().find_map(|name| table.get(*name))
}

/// Name and value of each entry: one object by names, a list of objects, or one object a line.
fn entries(path: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let named = |value: Value| named(value).with_context(|| format!("in {}", path.display()));
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Array(list)) => list.into_iter().map(named).collect(),
        // because: a list of one line is one JSON object as well
        Ok(Value::Object(by_name)) if !names_an_image(&by_name) => {
            Ok(by_name.into_iter().collect())
        }
        _ => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            lines
                .map(|(number, line)| {
                    let value = serde_json::from_str(line).with_context(|| {
                        format!("{}:{} is no JSON object", path.display(), number + 1)
                    })?;
                    named(value)
                })
                .collect()
        }
    }
}

fn names_an_image(entry: &Metadata) -> bool {
    entry.get("image").or_else(|| entry.get("candidate")).is_some_and(Value::is_string)
}

/// An object that says which picture it is about: "image", or "candidate" as published captions do.
fn named(value: Value) -> anyhow::Result<(String, Value)> {
    let Value::Object(mut entry) = value else { bail!("an entry is no JSON object") };
    match entry.remove("image").or_else(|| entry.remove("candidate")) {
        Some(Value::String(name)) => Ok((name, Value::Object(entry))),
        _ => bail!("an entry has no \"image\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions(text: &str) -> anyhow::Result<Tables> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Tables::read(Some(file.path()), None)
    }

    #[test]
    fn every_form_of_a_caption_file_says_the_same() {
        for text in [
            r#"{"a.png": ["one", "two"]}"#,
            r#"[{"candidate": "a", "captions": ["one", "two"]}]"#,
            r#"{"image": "a.png", "captions": ["one", "two"]}"#,
            "{\"image\": \"x\", \"captions\": []}\n\n{\"image\": \"a\", \"captions\": [\"one\", \"two\"]}\n",
        ] {
            let tables = captions(text).unwrap();
            assert_eq!(tables.captions("some/folder/a.png").unwrap(), &["one", "two"], "{text}");
            assert_eq!(tables.captions("some/folder/b.png"), None);
        }
    }

    #[test]
    fn a_wrong_entry_is_named() {
        for (text, named) in [
            (r#"{"a.png": "one"}"#, "a.png"),
            (r#"[{"captions": ["one"]}]"#, "image"),
            ("{\"image\": \"a\", \"captions\": []}\nnonsense", ":2"),
        ] {
            let error = format!("{:#}", captions(text).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
