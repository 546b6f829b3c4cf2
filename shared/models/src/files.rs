//! The files of a model, from wherever its source says, and the id that their content gives it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use weimocir_domain::ModelId;

use crate::{
    bundled,
    error::ModelError,
    hub::{Hub, Repository},
    source::ModelSource,
    text::TokenizerFiles,
    weights::{Weights, salesforce},
};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const PREPROCESSOR: &str = "preprocessor_config.json";
/// Where newer files of transformers keep what was in preprocessor_config.json.
const PROCESSOR: &str = "processor_config.json";
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
const WEIGHTS_PICKLE: &str = "pytorch_model.bin";
const WEIGHTS_PICKLE_INDEX: &str = "pytorch_model.bin.index.json";

/// Bytes that are hashed at once; because fewer are slower.
const HASHED_AT_ONCE: usize = 1 << 20;

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
    pub(crate) tokenizer: TokenizerFiles,
    pub(crate) preprocessor: Vec<u8>,
    weights: WeightsFiles,
}

#[derive(Debug)]
enum WeightsFiles {
    Bundled(&'static [u8]),
    OnDisk(Vec<PathBuf>),
    Checkpoint(PathBuf),
}

impl ModelFiles {
    /// Finds every file, fetching from the hub what its cache lacks.
    pub(crate) fn find(source: &ModelSource, role: Role) -> Result<Self, ModelError> {
        match source {
            ModelSource::Bundled => Ok(Self::bundled(role)),
            // because: what is around the device is the bundled encoder's
            ModelSource::Simulated(_) if role == Role::Encoder => Ok(Self::bundled(role)),
            ModelSource::Simulated(_) => {
                Err(ModelError::UnknownSource { given: source.to_string() })
            }
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
            ModelSource::Checkpoint(path) => Self::checkpoint(path, role),
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
            tokenizer: TokenizerFiles::Json(files.tokenizer.to_vec()),
            preprocessor: files.preprocessor.to_vec(),
            weights: WeightsFiles::Bundled(files.weights),
        }
    }

    /// A checkpoint of Salesforce's: its configuration follows from its tensors, and the tokenizer
    /// and the preprocessing are BLIP's own.
    fn checkpoint(path: &Path, role: Role) -> Result<Self, ModelError> {
        let place = path.display().to_string();
        let weights = salesforce::open(path, place.clone(), &Device::Cpu)?;
        let text = match role {
            Role::Encoder => salesforce::TEXT_ENCODER,
            Role::Captioner => salesforce::TEXT_DECODER,
        };
        Ok(Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            place,
            config: salesforce::config(&weights, text)?.to_string().into_bytes(),
            tokenizer: TokenizerFiles::Blip,
            preprocessor: salesforce::preprocessor().to_string().into_bytes(),
            weights: WeightsFiles::Checkpoint(path.to_owned()),
        })
    }

    /// `find` gives the path of a file, or none if the place has no such file.
    fn collect(
        name: String,
        place: String,
        find: impl Fn(&str) -> Result<Option<PathBuf>, ModelError>,
    ) -> Result<Self, ModelError> {
        let missing = |file: String| ModelError::MissingFile { place: place.clone(), file };
        let required = |file: &str| find(file)?.ok_or_else(|| missing(file.to_owned()));
        let text = |file: &str| read(&required(file)?);
        Ok(Self {
            config: text(CONFIG)?,
            tokenizer: TokenizerFiles::find(|file| {
                find(file)?.map(|path| read(&path)).transpose()
            })?
            .ok_or_else(|| missing(TokenizerFiles::expected()))?,
            preprocessor: match find(PREPROCESSOR)? {
                Some(path) => read(&path)?,
                None => match find(PROCESSOR)? {
                    Some(path) => image_processor(&path)?,
                    None => return Err(missing(PREPROCESSOR.to_owned())),
                },
            },
            weights: WeightsFiles::OnDisk(find_weights(&find, &required)?),
            name,
            place,
        })
    }

    /// `file` with the place it is in, for error texts.
    pub(crate) fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.place)
    }

    /// Which of these types of model config.json describes.
    pub(crate) fn model_type<'a>(&self, types: &[&'a str]) -> Result<&'a str, ModelError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            model_type: String,
        }
        let head: Head = self.parse_config()?;
        let found = types.iter().copied().find(|name| *name == head.model_type);
        found.ok_or_else(|| ModelError::ModelType {
            file: self.path(CONFIG),
            found: head.model_type,
            expected: types.join("\" or \""),
        })
    }

    /// config.json, if it describes a model of this type.
    pub(crate) fn config<T: DeserializeOwned>(&self, model_type: &str) -> Result<T, ModelError> {
        self.model_type(&[model_type])?;
        self.parse_config()
    }

    fn parse_config<T: DeserializeOwned>(&self) -> Result<T, ModelError> {
        serde_json::from_slice(&self.config)
            .map_err(|e| ModelError::InvalidFile { file: self.path(CONFIG), reason: e.to_string() })
    }

    /// What `load` makes of the weights, and the model's id.
    ///
    /// The id takes a second pass over the files, which another thread makes meanwhile.
    pub(crate) fn load<T>(
        &self,
        (device, dtype): (&Device, DType),
        recipe: &str,
        load: impl FnOnce(&Weights) -> Result<T, ModelError>,
    ) -> Result<(T, ModelId), ModelError> {
        let weights = self.weights(device)?.in_dtype(dtype);
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let id = threads.spawn(|| self.id_unless(&stop, recipe));
            let model = load(&weights).inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            let id = id.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((model, id))
        })
    }

    pub(crate) fn weights(&self, device: &Device) -> Result<Weights, ModelError> {
        match &self.weights {
            WeightsFiles::Bundled(bytes) => Weights::from_static(bytes, self.path(WEIGHTS), device),
            WeightsFiles::OnDisk(paths) => Weights::open(paths, self.weights_name(paths), device),
            WeightsFiles::Checkpoint(path) => salesforce::open(path, self.place.clone(), device),
        }
    }

    fn weights_name(&self, paths: &[PathBuf]) -> String {
        let name =
            |path: &PathBuf| self.path(&path.file_name().unwrap_or_default().to_string_lossy());
        match paths {
            [first, .., last] => format!("{} to {}", name(first), name(last)),
            _ => paths.first().map_or_else(|| self.place.clone(), name),
        }
    }

    /// The short name and the first 12 hexadecimal digits of SHA-256 over every file and the
    /// recipe by which pictures become pixels, empty where the files say it: what changes an
    /// embedding changes the id.
    fn id_unless(&self, stop: &AtomicBool, recipe: &str) -> Result<ModelId, ModelError> {
        let mut hash = Sha256::new();
        match &self.weights {
            WeightsFiles::Bundled(bytes) => hash.update(bytes),
            WeightsFiles::OnDisk(paths) => {
                paths.iter().try_for_each(|path| hash_file(path, &mut hash, stop))?;
            }
            WeightsFiles::Checkpoint(path) => hash_file(path, &mut hash, stop)?,
        }
        hash.update(&self.config);
        hash.update(&self.preprocessor);
        for part in self.tokenizer.contents() {
            hash.update(part);
        }
        hash.update(recipe);
        let digits: String =
            hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(ModelId::new(format!("{}:{digits}", self.name)))
    }
}

/// The part of a processor_config.json that is about pictures.
fn image_processor(path: &Path) -> Result<Vec<u8>, ModelError> {
    #[derive(Deserialize)]
    struct Processor {
        image_processor: serde_json::Value,
    }
    let parsed: Processor = serde_json::from_slice(&read(path)?).map_err(|e| {
        ModelError::InvalidFile { file: path.display().to_string(), reason: e.to_string() }
    })?;
    Ok(parsed.image_processor.to_string().into_bytes())
}

/// Leaves off at once when nobody wants the result any more.
fn hash_file(path: &Path, hash: &mut Sha256, stop: &AtomicBool) -> Result<(), ModelError> {
    let failed = |source| unreadable(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut part = vec![0; HASHED_AT_ONCE];
    while !stop.load(Ordering::Relaxed) {
        match file.read(&mut part).map_err(failed)? {
            0 => break,
            read => hash.update(&part[..read]),
        }
    }
    Ok(())
}

/// The first that is there of: a safetensors file, the shards that an index names, and the same as
/// PyTorch saves them.
fn find_weights(
    find: &impl Fn(&str) -> Result<Option<PathBuf>, ModelError>,
    required: &impl Fn(&str) -> Result<PathBuf, ModelError>,
) -> Result<Vec<PathBuf>, ModelError> {
    for (whole, index) in [(WEIGHTS, WEIGHTS_INDEX), (WEIGHTS_PICKLE, WEIGHTS_PICKLE_INDEX)] {
        if let Some(path) = find(whole)? {
            return Ok(vec![path]);
        }
        if let Some(path) = find(index)? {
            return shards(&path)?.iter().map(|shard| required(shard)).collect();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    impl ModelFiles {
        pub(crate) fn id(&self, recipe: &str) -> Result<ModelId, ModelError> {
            self.id_unless(&AtomicBool::new(false), recipe)
        }
    }

    #[test]
    fn the_id_depends_on_the_recipe_of_the_pixels() {
        let files = ModelFiles::find(&ModelSource::Bundled, Role::Encoder).unwrap();
        let id = files.id("").unwrap();
        assert!(id.as_str().starts_with("bundled-clip:"));
        assert_ne!(files.id("published").unwrap(), id);
        assert_eq!(files.load((&Device::Cpu, DType::F32), "", |_| Ok(())).unwrap().1, id);
    }
}
