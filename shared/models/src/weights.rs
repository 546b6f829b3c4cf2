//! Tensors by name, as f32 on the model's device. A missing or misshapen tensor is an error that
//! names it. Where the files lie is `files`' matter.

use std::path::PathBuf;

use candle_core::{
    DType, Device, Tensor,
    pickle::PthTensors,
    safetensors::{MmapedSafetensors, SliceSafetensors},
};

use crate::error::ModelError;

enum Store {
    Files(MmapedSafetensors),
    Bytes(SliceSafetensors<'static>),
    Pickle(PthTensors),
}

/// An opened weights file. Tensors are converted and copied as they are read.
pub(crate) struct Weights {
    store: Store,
    file: String,
    device: Device,
}

impl Weights {
    /// Maps one or several safetensors files, or opens one PyTorch pickle.
    pub(crate) fn open(
        paths: &[PathBuf],
        file: String,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let invalid = |e: candle_core::Error| ModelError::InvalidFile {
            file: file.clone(),
            reason: e.to_string(),
        };
        let is_pickle = paths.iter().all(|path| path.extension().is_some_and(|ext| ext == "bin"));
        let store = if let (true, [path]) = (is_pickle, paths) {
            Store::Pickle(PthTensors::new(path, None).map_err(invalid)?)
        } else {
            // SAFETY: the mapping lives only while the model loads; a file that is rewritten during
            // that time gives wrong weights, as it would if it were read.
            Store::Files(unsafe { MmapedSafetensors::multi(paths) }.map_err(invalid)?)
        };
        Ok(Self { store, file, device: device.clone() })
    }

    pub(crate) fn from_static(
        bytes: &'static [u8],
        file: String,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let store = SliceSafetensors::new(bytes)
            .map_err(|e| ModelError::InvalidFile { file: file.clone(), reason: e.to_string() })?;
        Ok(Self { store: Store::Bytes(store), file, device: device.clone() })
    }

    pub(crate) fn root(&self) -> Scope<'_> {
        Scope { weights: self, prefix: String::new() }
    }

    fn contains(&self, name: &str) -> bool {
        match &self.store {
            Store::Files(store) => store.get(name).is_ok(),
            Store::Bytes(store) => store.get(name).is_ok(),
            Store::Pickle(store) => store.tensor_infos().contains_key(name),
        }
    }

    fn read(&self, name: &str) -> Result<Tensor, ModelError> {
        if !self.contains(name) {
            return Err(ModelError::MissingTensor {
                file: self.file.clone(),
                name: name.to_owned(),
            });
        }
        let tensor = match &self.store {
            Store::Files(store) => store.load(name, &self.device)?,
            Store::Bytes(store) => store.load(name, &self.device)?,
            Store::Pickle(store) => match store.get(name)? {
                Some(tensor) => tensor.to_device(&self.device)?,
                None => {
                    return Err(ModelError::MissingTensor {
                        file: self.file.clone(),
                        name: name.to_owned(),
                    });
                }
            },
        };
        Ok(tensor.to_dtype(DType::F32)?.contiguous()?)
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
        self.weights.contains(&self.path(name))
    }

    /// The tensor `name` below this place, f32, contiguous, of exactly this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let path = self.path(name);
        let tensor = self.weights.read(&path)?;
        if tensor.dims() == shape {
            return Ok(tensor);
        }
        Err(ModelError::TensorShape {
            file: self.weights.file.clone(),
            name: path,
            found: tensor.dims().to_vec(),
            expected: shape.to_vec(),
        })
    }

    fn path(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }
}
