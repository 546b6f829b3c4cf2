//! The files of a model, from wherever its source says, and the id that their content gives it.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use candle_core::Device;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use weimocir_domain::ModelId;

use crate::{
    bundled,
    error::ModelError,
    hub::{Hub, Repository},
    source::ModelSource,
    weights::Weights,
};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const PREPROCESSOR: &str = "preprocessor_config.json";
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
const WEIGHTS_PICKLE: &str = "pytorch_model.bin";

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Encoder,
    Captioner,
}

#[derive(Debug)]
pub(crate) struct ModelFiles {
    /// The short name that starts the model's id.
    name: String,
    /// What error texts call the place.
    place: String,
    pub(crate) config: Vec<u8>,
    pub(crate) tokenizer: Vec<u8>,
    pub(crate) preprocessor: Vec<u8>,
    weights: WeightsFiles,
}

#[derive(Debug)]
enum WeightsFiles {
    Bundled(&'static [u8]),
    OnDisk(Vec<PathBuf>),
}

impl ModelFiles {
    /// Finds every file, fetching from the hub what its cache lacks.
    pub(crate) fn find(source: &ModelSource, role: Role) -> Result<Self, ModelError> {
        match source {
            ModelSource::Bundled => Ok(Self::bundled(role)),
            ModelSource::Folder(folder) => {
                let name = folder
                    .file_name()
                    .map_or_else(|| "folder".into(), |name| name.to_string_lossy());
                Self::collect(name.into_owned(), folder.display().to_string(), |file| {
                    Ok(Some(folder.join(file)).filter(|path| path.is_file()))
                })
            }
            ModelSource::Hub { repository, revision } => {
                Self::of_hub(&Hub::from_env()?, repository, revision)
            }
        }
    }

    pub(crate) fn of_hub(hub: &Hub, repository: &str, revision: &str) -> Result<Self, ModelError> {
        let remote = Repository::open(hub, repository, revision)?;
        let name = repository.rsplit('/').next().unwrap_or(repository);
        let place = format!("{repository}@{revision}");
        Self::collect(name.to_owned(), place, |file| remote.fetch(file))
            .map_err(|error| remote.explain(error))
    }

    fn bundled(role: Role) -> Self {
        let (name, files) = match role {
            Role::Encoder => ("bundled-clip", bundled::CLIP),
            Role::Captioner => ("bundled-captioner", bundled::CAPTIONER),
        };
        Self {
            name: name.to_owned(),
            place: name.to_owned(),
            config: files.config.to_vec(),
            tokenizer: files.tokenizer.to_vec(),
            preprocessor: files.preprocessor.to_vec(),
            weights: WeightsFiles::Bundled(files.weights),
        }
    }

    /// `find` gives the path of a file, or none if the place has no such file.
    fn collect(
        name: String,
        place: String,
        find: impl Fn(&str) -> Result<Option<PathBuf>, ModelError>,
    ) -> Result<Self, ModelError> {
        let required = |file: &str| {
            find(file)?.ok_or_else(|| ModelError::MissingFile {
                place: place.clone(),
                file: file.to_owned(),
            })
        };
        let text = |file: &str| read(&required(file)?);
        Ok(Self {
            config: text(CONFIG)?,
            tokenizer: text(TOKENIZER)?,
            preprocessor: text(PREPROCESSOR)?,
            weights: WeightsFiles::OnDisk(find_weights(&find, &required)?),
            name,
            place,
        })
    }

    /// `file` with the place it is in, for error texts.
    pub(crate) fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.place)
    }

    /// config.json, if it describes a model of type `model_type`.
    pub(crate) fn config<T: DeserializeOwned>(
        &self,
        model_type: &'static str,
    ) -> Result<T, ModelError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            model_type: String,
        }
        let invalid = |e: serde_json::Error| ModelError::InvalidFile {
            file: self.path(CONFIG),
            reason: e.to_string(),
        };
        let head: Head = serde_json::from_slice(&self.config).map_err(invalid)?;
        if head.model_type != model_type {
            return Err(ModelError::ModelType {
                file: self.path(CONFIG),
                found: head.model_type,
                expected: model_type,
            });
        }
        serde_json::from_slice(&self.config).map_err(invalid)
    }

    pub(crate) fn weights(&self, device: &Device) -> Result<Weights, ModelError> {
        match &self.weights {
            WeightsFiles::Bundled(bytes) => Weights::from_static(bytes, self.path(WEIGHTS), device),
            WeightsFiles::OnDisk(paths) => {
                let first = paths.first().and_then(|path| path.file_name()).unwrap_or_default();
                Weights::open(paths, self.path(&first.to_string_lossy()), device)
            }
        }
    }

    /// The short name and the first 12 hexadecimal digits of SHA-256 over every file: what changes
    /// an embedding changes the id.
    pub(crate) fn id(&self) -> Result<ModelId, ModelError> {
        let mut hash = Sha256::new();
        match &self.weights {
            WeightsFiles::Bundled(bytes) => hash.update(bytes),
            WeightsFiles::OnDisk(paths) => {
                for path in paths {
                    let copied =
                        File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
                    copied.map_err(|source| unreadable(path, source))?;
                }
            }
        }
        for part in [&self.config, &self.preprocessor, &self.tokenizer] {
            hash.update(part);
        }
        let digits: String =
            hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(ModelId::new(format!("{}:{digits}", self.name)))
    }
}

/// One safetensors file, the shards that an index names, or a PyTorch pickle.
fn find_weights(
    find: &impl Fn(&str) -> Result<Option<PathBuf>, ModelError>,
    required: &impl Fn(&str) -> Result<PathBuf, ModelError>,
) -> Result<Vec<PathBuf>, ModelError> {
    if let Some(path) = find(WEIGHTS)? {
        return Ok(vec![path]);
    }
    if let Some(path) = find(WEIGHTS_INDEX)? {
        return shards(&path)?.iter().map(|shard| required(shard)).collect();
    }
    if let Some(path) = find(WEIGHTS_PICKLE)? {
        return Ok(vec![path]);
    }
    required(WEIGHTS).map(|path| vec![path])
}

/// The file names of a sharded model, in order.
fn shards(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::HashMap<String, String>,
    }
    let invalid =
        |reason: String| ModelError::InvalidFile { file: index.display().to_string(), reason };
    let parsed: Index =
        serde_json::from_slice(&read(index)?).map_err(|e| invalid(e.to_string()))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match names.iter().find(|name| name.contains(['/', '\\']) || name.starts_with('.')) {
        Some(name) => Err(invalid(format!("shard \"{name}\" is not a plain file name"))),
        None if names.is_empty() => Err(invalid("it names no shard".to_owned())),
        None => Ok(names),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> ModelError {
    ModelError::Read { file: path.display().to_string(), source }
}
