//! Where a model comes from, as a user writes it. Opening it is `files`' matter.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::{error::ModelError, simulated::Simulated};

/// The bundled model, a folder, a checkpoint, or a repository of the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The small model inside this program.
    Bundled,
    /// A folder with a model's configuration, tokenizer, preprocessing and weights.
    Folder(PathBuf),
    /// A BLIP checkpoint as Salesforce published it: one .pth file, and nothing beside it.
    Checkpoint(PathBuf),
    /// `organisation/name`, at a branch, tag or commit.
    Hub { repository: String, revision: String },
    /// No model, but a device for measurements; written `simulated:TIME,N`.
    Simulated(Simulated),
}

impl ModelSource {
    /// Reads `bundled`, the path of an existing folder or .pth file, or
    /// `organisation/name[@revision]`.
    ///
    /// # Errors
    /// The text is none of them.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        if text == "bundled" {
            return Ok(Self::Bundled);
        }
        if let Some(device) = text.strip_prefix("simulated:") {
            let unknown = |()| ModelError::UnknownSource { given: text.to_owned() };
            return device.parse().map(Self::Simulated).map_err(unknown);
        }
        let path = PathBuf::from(text);
        if path.is_dir() {
            return Ok(Self::Folder(path));
        }
        if path.extension().is_some_and(|extension| extension == "pth") {
            return match path.is_file() {
                true => Ok(Self::Checkpoint(path)),
                false => Err(ModelError::UnknownSource { given: text.to_owned() }),
            };
        }
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        if is_repository(repository) && is_revision(revision) {
            return Ok(Self::Hub {
                repository: repository.to_owned(),
                revision: revision.to_owned(),
            });
        }
        Err(ModelError::UnknownSource { given: text.to_owned() })
    }
}

impl FromStr for ModelSource {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled => f.write_str("bundled"),
            Self::Folder(path) | Self::Checkpoint(path) => write!(f, "{}", path.display()),
            Self::Hub { repository, revision } => write!(f, "{repository}@{revision}"),
            Self::Simulated(device) => write!(f, "{device}"),
        }
    }
}

/// Two names of letters, digits, `-`, `_` and `.`, neither of them a relative path's.
fn is_repository(text: &str) -> bool {
    let named = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    text.split_once('/').is_some_and(|(organisation, name)| named(organisation) && named(name))
}

/// What may name a branch, tag or commit, and no path out of a folder.
fn is_revision(text: &str) -> bool {
    let named = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
    };
    text.split('/').all(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let hub = |repository: &str, revision: &str| ModelSource::Hub {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
        };
        assert_eq!(ModelSource::parse("bundled").unwrap(), ModelSource::Bundled);
        assert_eq!(
            ModelSource::parse("openai/clip-vit-base-patch32").unwrap(),
            hub("openai/clip-vit-base-patch32", "main")
        );
        assert_eq!(ModelSource::parse("laion/x@refs/pr/3").unwrap(), hub("laion/x", "refs/pr/3"));
        let folder = std::env::temp_dir();
        assert_eq!(
            ModelSource::parse(&folder.to_string_lossy()).unwrap(),
            ModelSource::Folder(folder)
        );
        let file = tempfile::NamedTempFile::with_suffix(".pth").unwrap();
        assert_eq!(
            ModelSource::parse(&file.path().to_string_lossy()).unwrap(),
            ModelSource::Checkpoint(file.path().to_owned())
        );
    }

    #[test]
    fn anything_else_is_refused_with_the_forms_named() {
        let none = ["", "clip", "./missing/folder", "/missing", "a/b/c", "../x", "a/b.pth"];
        for text in none.into_iter().chain([
            "a/b@",
            "a/b@../x",
            "a/b@/x",
            "a/b@x?y",
            "simulated",
            "simulated:1s",
        ]) {
            let error = ModelSource::parse(text).unwrap_err().to_string();
            assert!(
                error.contains("bundled") && error.contains("organisation/name"),
                "{text}: {error}"
            );
        }
    }
}
