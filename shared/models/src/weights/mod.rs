//! Tensors by name, on the model's device, from every kind of file that holds them.
//! A tensor that is missing, misshapen, unusable or left over is an error that names it.
//! Which files a model consists of is `files`' matter.

mod bytes;
pub(crate) mod ignorable;
mod layout;
mod pickle;
mod positions;
mod pytorch;
mod safetensors;
pub(crate) mod salesforce;
mod state_dict;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};

use self::{bytes::Bytes, layout::Layout};
use crate::error::ModelError;

/// The tensors of one model. Each is copied once, from the mapped file to the device, when it is
/// asked for.
#[derive(Debug)]
pub(crate) struct Weights {
    /// What error texts call the files together.
    name: String,
    files: Vec<File>,
    tensors: BTreeMap<String, Source>,
    unread: RefCell<BTreeSet<String>>,
    device: Device,
    dtype: DType,
}

#[derive(Debug)]
struct File {
    name: String,
    bytes: Bytes,
}

#[derive(Debug)]
enum Source {
    Stored {
        file: usize,
        layout: Layout,
    },
    /// Computed from what is stored.
    Made {
        shape: Vec<usize>,
        values: Vec<f32>,
    },
}

impl Source {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Stored { layout, .. } => &layout.shape,
            Self::Made { shape, .. } => shape,
        }
    }
}

impl Weights {
    /// One file or the shards of a model: safetensors, or what `torch.save` wrote.
    pub(crate) fn open(
        paths: &[PathBuf],
        name: String,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut weights = Self::empty(name, device);
        for path in paths {
            weights.add(path.display().to_string(), Bytes::map(path)?, is_pytorch(path))?;
        }
        Ok(weights)
    }

    pub(crate) fn from_static(
        bytes: &'static [u8],
        name: String,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut weights = Self::empty(name.clone(), device);
        weights.add(name, Bytes::Static(bytes), false)?;
        Ok(weights)
    }

    fn empty(name: String, device: &Device) -> Self {
        Self {
            name,
            files: Vec::new(),
            tensors: BTreeMap::new(),
            unread: RefCell::default(),
            device: device.clone(),
            dtype: DType::F32,
        }
    }

    fn add(&mut self, name: String, bytes: Bytes, is_pytorch: bool) -> Result<(), ModelError> {
        let index = if is_pytorch { pytorch::index } else { safetensors::index };
        let layouts = index(&bytes)
            .map_err(|reason| ModelError::InvalidFile { file: name.clone(), reason })?;
        let file = self.files.len();
        for (tensor, layout) in layouts {
            if let Some(Source::Stored { file: other, .. }) = self.tensors.get(&tensor) {
                let other = self.files.get(*other).map_or(&name, |file| &file.name);
                return Err(ModelError::DuplicateTensor {
                    file: name.clone(),
                    other: other.clone(),
                    name: tensor,
                });
            }
            self.unread.get_mut().insert(tensor.clone());
            self.tensors.insert(tensor, Source::Stored { file, layout });
        }
        self.files.push(File { name, bytes });
        Ok(())
    }

    /// The same, as numbers of another type once they are on the device.
    pub(crate) fn in_dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn root(&self) -> Scope<'_> {
        Scope { weights: self, prefix: String::new() }
    }

    fn source(&self, name: &str) -> Result<&Source, ModelError> {
        self.tensors.get(name).ok_or_else(|| ModelError::MissingTensor {
            file: self.name.clone(),
            name: name.to_owned(),
        })
    }

    fn shape(&self, name: &str) -> Result<&[usize], ModelError> {
        Ok(self.source(name)?.shape())
    }

    /// The values in row-major order, all of them finite.
    fn values(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let (file, layout) = match self.source(name)? {
            Source::Made { values, .. } => return Ok(values.clone()),
            Source::Stored { file, layout } => (&self.files[*file], layout),
        };
        let Some(values) = layout.read(&file.bytes) else {
            return Err(ModelError::TensorType {
                file: file.name.clone(),
                name: name.to_owned(),
                found: layout.dtype.to_string(),
            });
        };
        // Without a branch in it, the loop runs at the speed of memory.
        if values.iter().fold(true, |finite, value| finite & value.is_finite()) {
            return Ok(values);
        }
        Err(ModelError::NotFinite { file: file.name.clone(), name: name.to_owned() })
    }

    /// That nothing is left over, once a model has read all it needs: a tensor that it did not
    /// read, and that matches none of the patterns, belongs to another model.
    pub(crate) fn finish(&self, ignorable: &[&str]) -> Result<(), ModelError> {
        let unread = self.unread.borrow();
        let extra = unread
            .iter()
            .filter(|name| !ignorable.iter().any(|pattern| ignorable::matches(pattern, name)));
        let extra: Vec<String> = extra.cloned().collect();
        if extra.is_empty() {
            return Ok(());
        }
        Err(ModelError::ExtraTensors { file: self.name.clone(), names: extra })
    }
}

/// A place in the tree of tensor names, `"vision_model.encoder.layers.3"`.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl Scope<'_> {
    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { weights: self.weights, prefix: self.path(&name.to_string()) }
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.weights.tensors.contains_key(&self.path(name))
    }

    /// Whether any tensor lies in the part of the tree below `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        let start = format!("{}.", self.path(name));
        let from = self.weights.tensors.range(start.clone()..).next();
        from.is_some_and(|(tensor, _)| tensor.starts_with(&start))
    }

    /// The tensor `name` below this place, contiguous, of exactly this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let path = self.path(name);
        let found = self.weights.shape(&path)?;
        if found != shape {
            return Err(ModelError::TensorShape {
                file: self.weights.name.clone(),
                name: path,
                found: found.to_vec(),
                expected: shape.to_vec(),
            });
        }
        let values = self.weights.values(&path)?;
        self.weights.unread.borrow_mut().remove(&path);
        let tensor = Tensor::from_vec(values, shape, &self.weights.device)?;
        Ok(tensor.to_dtype(self.weights.dtype)?)
    }

    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }
}

fn is_pytorch(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension != "safetensors")
}
