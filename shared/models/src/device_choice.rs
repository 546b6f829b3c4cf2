//! Which processor runs a model, as a user writes it.

use std::{fmt, str::FromStr};

use candle_core::Device;

use crate::error::ModelError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    #[default]
    Cpu,
    /// A CUDA device by its number; needs a build with the feature `cuda`.
    Cuda(usize),
}

impl DeviceChoice {
    pub(crate) fn open(self) -> Result<Device, ModelError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number).map_err(|e| ModelError::Device {
                device: self.to_string(),
                reason: e.to_string(),
            }),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = ModelError;

    /// `cpu`, `cuda` or `cuda:1`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let cuda = |number: &str| number.parse().ok().map(Self::Cuda);
        let choice = match text {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            other => other.strip_prefix("cuda:").and_then(cuda),
        };
        choice.ok_or_else(|| ModelError::Device {
            device: text.to_owned(),
            reason: "devices are called \"cpu\", \"cuda\" and \"cuda:NUMBER\"".to_owned(),
        })
    }
}
