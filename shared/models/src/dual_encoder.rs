//! The architectures that put pictures and texts into one space.

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use weimocir_domain::ModelId;

use crate::{
    blip::{BlipConfig, BlipRetrieval},
    clip::{Clip, ClipConfig},
    error::ModelError,
    files::{CONFIG, ModelFiles, PREPROCESSOR},
    image::Preprocessor,
    options::PixelRecipe,
    simulated::{self, Simulated},
};

/// Weights (α, β) of the paper for CLIP.
pub(crate) const CLIP_WEIGHTS: (f32, f32) = (0.80, 0.10);
/// Weights (α, β) of the paper for BLIP.
pub(crate) const BLIP_WEIGHTS: (f32, f32) = (0.95, 0.20);

/// Tokens of a text that the published code lets BLIP read, fewer than it could.
const BLIP_CONTEXT: usize = 77;

#[derive(Debug)]
pub(crate) enum DualEncoder {
    Clip(Box<Clip>),
    Blip(Box<BlipRetrieval>),
    Simulated(Simulated),
}

/// A loaded model and what its files say of it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) model: DualEncoder,
    pub(crate) id: ModelId,
    pub(crate) dim: usize,
    /// Tokens of a text that it reads at most.
    pub(crate) context: usize,
    pub(crate) preprocessor: Preprocessor,
}

impl Loaded {
    /// The same with another device in the model's place.
    pub(crate) fn simulated(self, device: Simulated) -> Self {
        tracing::warn!(%device, "this is no model but a device for measurements: its vectors say nothing");
        let (model, id) = (DualEncoder::Simulated(device), ModelId::new(simulated::ID));
        Self { model, id, dim: simulated::DIM, ..self }
    }
}

impl DualEncoder {
    /// Whichever architecture config.json names.
    pub(crate) fn load(
        files: &ModelFiles,
        (device, dtype): (&Device, DType),
        pixels: PixelRecipe,
    ) -> Result<Loaded, ModelError> {
        // The id of a model that runs as its files say is that of its files.
        let pixel_recipe = match pixels {
            PixelRecipe::Declared => "",
            PixelRecipe::Published => "published",
        };
        let recipe = match dtype {
            DType::F32 => pixel_recipe.to_owned(),
            other => format!("{pixel_recipe} {}", other.as_str()),
        };
        let declared = |side: usize| {
            let file = files.path(PREPROCESSOR);
            let preprocessor = Preprocessor::from_json(&files.preprocessor, &file)?;
            preprocessor.check_size((side, side), &file)?;
            Ok::<_, ModelError>(preprocessor)
        };
        match files.model_type(&["clip", "blip"])? {
            "blip" => {
                let config: BlipConfig = files.config("blip")?;
                config.check(&files.path(CONFIG))?;
                let side = config.vision_config.image_size;
                let preprocessor = match pixels {
                    PixelRecipe::Declared => declared(side)?,
                    PixelRecipe::Published => Preprocessor::published_blip(side as u32),
                };
                let (blip, id) = files.load((device, dtype), &recipe, |weights| {
                    BlipRetrieval::load(weights, &config)
                })?;
                Ok(Loaded {
                    model: Self::Blip(Box::new(blip)),
                    id,
                    dim: config.image_text_hidden_size,
                    context: BLIP_CONTEXT.min(config.text_config.max_position_embeddings),
                    preprocessor,
                })
            }
            _ => {
                let config: ClipConfig = files.config("clip")?;
                config.check(&files.path(CONFIG))?;
                let side = config.vision().image_size;
                let preprocessor = match pixels {
                    PixelRecipe::Declared => declared(side)?,
                    PixelRecipe::Published => Preprocessor::published_clip(side as u32),
                };
                let (clip, id) =
                    files.load((device, dtype), &recipe, |weights| Clip::load(weights, &config))?;
                Ok(Loaded {
                    model: Self::Clip(Box::new(clip)),
                    id,
                    dim: config.projection_dim,
                    context: config.text().max_position_embeddings,
                    preprocessor,
                })
            }
        }
    }

    pub(crate) fn default_weights(&self) -> (f32, f32) {
        match self {
            Self::Clip(_) | Self::Simulated(_) => CLIP_WEIGHTS,
            Self::Blip(_) => BLIP_WEIGHTS,
        }
    }

    /// `[B, 3, S, S] → [B, dim]`, not normalised.
    pub(crate) fn image_features(&self, pixels: &Tensor) -> CandleResult<Tensor> {
        match self {
            Self::Clip(clip) => clip.image_features(pixels),
            Self::Blip(blip) => blip.image_features(pixels),
            Self::Simulated(device) => device.image_features(pixels),
        }
    }

    /// B lists of token ids → `[B, dim]`, not normalised.
    pub(crate) fn text_features(&self, texts: &[Vec<u32>]) -> CandleResult<Tensor> {
        match self {
            Self::Clip(clip) => clip.text_features(texts),
            Self::Blip(blip) => blip.text_features(texts),
            Self::Simulated(device) => device.text_features(texts),
        }
    }
}
