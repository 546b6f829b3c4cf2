//! How a model is loaded, as a user chooses it.

use std::{fmt, str::FromStr};

use candle_core::{DType, Device};

use crate::{device_choice::DeviceChoice, error::ModelError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelOptions {
    pub device: DeviceChoice,
    pub precision: Precision,
    /// An encoder's; captioners have only the one that their files declare.
    pub pixels: PixelRecipe,
}

impl From<DeviceChoice> for ModelOptions {
    fn from(device: DeviceChoice) -> Self {
        Self { device, ..Self::default() }
    }
}

/// What the model calculates in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    F32,
    /// On a GPU only.
    F16,
    /// On a GPU only.
    Bf16,
}

impl Precision {
    pub(crate) fn on(self, device: &Device) -> Result<DType, ModelError> {
        match self {
            Self::F32 => Ok(DType::F32),
            Self::F16 | Self::Bf16 if device.is_cpu() => Err(ModelError::Device {
                device: "cpu".to_owned(),
                reason: format!("it calculates in f32 only, {self} needs a GPU"),
            }),
            Self::F16 => Ok(DType::F16),
            Self::Bf16 => Ok(DType::BF16),
        }
    }
}

/// How a picture becomes what the model sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PixelRecipe {
    /// As the model's own preprocessor_config.json says.
    #[default]
    Declared,
    /// As the paper's published code does, whatever the file says.
    Published,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::F32, Self::F16, Self::Bf16];
        let found = all.into_iter().find(|precision| precision.to_string() == text);
        found.ok_or_else(|| format!("precisions are \"f32\", \"f16\" and \"bf16\", not \"{text}\""))
    }
}

impl fmt::Display for PixelRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Declared => "declared",
            Self::Published => "published",
        })
    }
}

impl FromStr for PixelRecipe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Declared, Self::Published];
        let found = all.into_iter().find(|recipe| recipe.to_string() == text);
        found.ok_or_else(|| {
            format!("pixel recipes are \"declared\" and \"published\", not \"{text}\"")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        for recipe in [PixelRecipe::Declared, PixelRecipe::Published] {
            assert_eq!(recipe.to_string().parse(), Ok(recipe));
        }
        assert!("f64".parse::<Precision>().unwrap_err().contains("bf16"));
        assert!("own".parse::<PixelRecipe>().unwrap_err().contains("published"));
    }

    #[test]
    fn the_cpu_calculates_in_f32() {
        assert_eq!(Precision::F32.on(&Device::Cpu).unwrap(), DType::F32);
        let error = Precision::Bf16.on(&Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("bf16 needs a GPU"), "{error}");
    }
}
