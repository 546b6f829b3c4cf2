//! config.json of Hugging Face's BLIP models.

use serde::Deserialize;

use crate::{
    error::ModelError,
    layers::{Activation, check_patches, check_sizes, check_width},
};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct BlipConfig {
    pub(crate) text_config: TextConfig,
    pub(crate) vision_config: VisionConfig,
    /// The dimension of a dual encoder's features.
    pub(crate) image_text_hidden_size: usize,
    tie_word_embeddings: bool,
}

impl BlipConfig {
    /// Whether the language head's matrix is the word embeddings.
    pub(crate) fn ties_embeddings(&self) -> bool {
        self.tie_word_embeddings && self.text_config.tie_word_embeddings
    }

    /// That the numbers fit each other; `file` names the config in errors.
    pub(crate) fn check(&self, file: &str) -> Result<(), ModelError> {
        let (text, vision) = (&self.text_config, &self.vision_config);
        check_width(file, text.hidden_size, text.num_attention_heads)?;
        check_width(file, vision.hidden_size, vision.num_attention_heads)?;
        check_patches(file, vision.image_size, vision.patch_size)?;
        check_sizes(
            file,
            &[
                ("image_text_hidden_size", self.image_text_hidden_size),
                ("the text's num_hidden_layers", text.num_hidden_layers),
                ("the text's intermediate_size", text.intermediate_size),
                ("the text's max_position_embeddings", text.max_position_embeddings),
                ("the picture's num_hidden_layers", vision.num_hidden_layers),
                ("the picture's intermediate_size", vision.intermediate_size),
            ],
        )
    }

    /// That a captioner's frame is among its words.
    pub(crate) fn check_frame(&self, file: &str) -> Result<(), ModelError> {
        let text = &self.text_config;
        if (text.bos_token_id.max(text.sep_token_id) as usize) < text.vocab_size {
            return Ok(());
        }
        let reason = format!(
            "tokens {} and {} are not among the {} of the vocabulary",
            text.bos_token_id, text.sep_token_id, text.vocab_size
        );
        Err(ModelError::InvalidFile { file: file.to_owned(), reason })
    }
}

impl Default for BlipConfig {
    fn default() -> Self {
        Self {
            text_config: TextConfig::default(),
            vision_config: VisionConfig::default(),
            image_text_hidden_size: 256,
            tie_word_embeddings: true,
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
    /// The token that starts every sentence.
    pub(crate) bos_token_id: u32,
    /// The token that ends a sentence; BLIP's `eos_token_id` is not used.
    pub(crate) sep_token_id: u32,
    tie_word_embeddings: bool,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30524,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            bos_token_id: 30522,
            sep_token_id: 102,
            tie_word_embeddings: true,
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
            image_size: 384,
            patch_size: 16,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
        }
    }
}
