//! config.json of Hugging Face's `CLIPModel`.

use serde::Deserialize;

use crate::{
    error::ModelError,
    layers::{Activation, check_patches, check_sizes, check_width},
};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ClipConfig {
    text_config: TextConfig,
    vision_config: VisionConfig,
    /// Older files carry the values that count here; the fields without `_dict` are then stale.
    text_config_dict: Option<TextConfig>,
    vision_config_dict: Option<VisionConfig>,
    pub(crate) projection_dim: usize,
}

impl ClipConfig {
    pub(crate) fn text(&self) -> &TextConfig {
        self.text_config_dict.as_ref().unwrap_or(&self.text_config)
    }

    pub(crate) fn vision(&self) -> &VisionConfig {
        self.vision_config_dict.as_ref().unwrap_or(&self.vision_config)
    }

    /// That the numbers fit each other; `file` names the config in errors.
    pub(crate) fn check(&self, file: &str) -> Result<(), ModelError> {
        let (text, vision) = (self.text(), self.vision());
        check_width(file, text.hidden_size, text.num_attention_heads)?;
        check_width(file, vision.hidden_size, vision.num_attention_heads)?;
        check_patches(file, vision.image_size, vision.patch_size)?;
        check_sizes(
            file,
            &[
                ("projection_dim", self.projection_dim),
                ("the text's num_hidden_layers", text.num_hidden_layers),
                ("the text's intermediate_size", text.intermediate_size),
                ("the text's max_position_embeddings", text.max_position_embeddings),
                ("the picture's num_hidden_layers", vision.num_hidden_layers),
                ("the picture's intermediate_size", vision.intermediate_size),
            ],
        )
    }
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            text_config: TextConfig::default(),
            vision_config: VisionConfig::default(),
            text_config_dict: None,
            vision_config_dict: None,
            projection_dim: 512,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TextConfig {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) max_position_embeddings: usize,
    pub(crate) hidden_act: Activation,
    pub(crate) layer_norm_eps: f64,
    pub(crate) eos_token_id: u32,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct VisionConfig {
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) image_size: usize,
    pub(crate) patch_size: usize,
    pub(crate) hidden_act: Activation,
    pub(crate) layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}
