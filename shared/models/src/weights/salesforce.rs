//! Salesforce's original BLIP checkpoints, `.pth`: their tensors under the names of Hugging Face's
//! `BlipForImageTextRetrieval` and `BlipForConditionalGeneration`, and the configuration, which is
//! not in the file.

use std::path::Path;

use candle_core::Device;
use serde_json::{Value, json};

use super::{Source, Weights, positions};
use crate::error::ModelError;

/// Pixels on a side of the pictures. The published code runs every checkpoint at this size, those
/// too that were trained on smaller pictures.
pub(crate) const IMAGE_SIZE: usize = 384;

/// What each attention head reads, in both towers of every published checkpoint.
const HEAD_WIDTH: usize = 64;

const POSITIONS: &str = "vision_model.embeddings.position_embedding";

/// What the text tower of a model is called.
pub(crate) const TEXT_ENCODER: &str = "text_encoder";
pub(crate) const TEXT_DECODER: &str = "text_decoder.bert";

/// Opens a checkpoint; positions of another grid are resampled for pictures of `IMAGE_SIZE`.
pub(crate) fn open(path: &Path, name: String, device: &Device) -> Result<Weights, ModelError> {
    let mut weights = Weights::open(&[path.to_owned()], name, device)?;
    let renamed = std::mem::take(&mut weights.tensors).into_iter();
    weights.tensors = renamed.map(|(name, source)| (hugging_face_name(&name), source)).collect();
    weights.unread =
        weights.tensors.keys().cloned().collect::<std::collections::BTreeSet<_>>().into();
    resample_positions(&mut weights)?;
    Ok(weights)
}

/// A tensor of the text towers, the projections and the matching head has the same name in both.
fn hugging_face_name(name: &str) -> String {
    let Some(vision) = name.strip_prefix("visual_encoder.") else { return name.to_owned() };
    let renamed = match vision {
        "cls_token" => "embeddings.class_embedding".to_owned(),
        "pos_embed" => "embeddings.position_embedding".to_owned(),
        _ => {
            if let Some(rest) = vision.strip_prefix("patch_embed.proj.") {
                format!("embeddings.patch_embedding.{rest}")
            } else if let Some(rest) = vision.strip_prefix("norm.") {
                format!("post_layernorm.{rest}")
            } else {
                vision
                    .replace("blocks.", "encoder.layers.")
                    .replace(".norm", ".layer_norm")
                    .replace(".attn.proj.", ".self_attn.projection.")
                    .replace(".attn.qkv.", ".self_attn.qkv.")
            }
        }
    };
    format!("vision_model.{renamed}")
}

fn resample_positions(weights: &mut Weights) -> Result<(), ModelError> {
    let [rows, tokens, width] = dimensions(weights, POSITIONS)?;
    let grid = IMAGE_SIZE / patch_size(weights)?;
    if tokens == grid * grid + 1 {
        return Ok(());
    }
    let from = tokens.saturating_sub(1).isqrt();
    if rows != 1 || width == 0 || from == 0 || from * from + 1 != tokens {
        let reason = format!(
            "tensor \"{POSITIONS}\" has the shape [{rows}, {tokens}, {width}], which is no square of positions"
        );
        return Err(ModelError::InvalidFile { file: weights.name.clone(), reason });
    }
    let stored = weights.values(POSITIONS)?;
    let (class, patches) = stored.split_at(width);
    let mut values = class.to_vec();
    values.extend(positions::resample(patches, from, grid, width));
    let made = Source::Made { shape: vec![1, grid * grid + 1, width], values };
    weights.tensors.insert(POSITIONS.to_owned(), made);
    Ok(())
}

/// The configuration as a config.json says it, with the text tower of this name.
pub(crate) fn config(weights: &Weights, text: &str) -> Result<Value, ModelError> {
    let other = if text == TEXT_ENCODER { "text_decoder" } else { "text_encoder" };
    if !weights.root().has(text) && weights.root().has(other) {
        let file = weights.name.clone();
        return Err(match other {
            "text_decoder" => ModelError::CaptionerNotEncoder { file },
            _ => ModelError::EncoderNotCaptioner { file },
        });
    }
    let text_part = |name: &str| format!("{text}.{name}");
    let [words, text_width] = dimensions(weights, &text_part("embeddings.word_embeddings.weight"))?;
    let [text_positions, _] =
        dimensions(weights, &text_part("embeddings.position_embeddings.weight"))?;
    let [text_inner, _] =
        dimensions(weights, &text_part("encoder.layer.0.intermediate.dense.weight"))?;
    let [_, _, width] = dimensions(weights, POSITIONS)?;
    let [inner, _] = dimensions(weights, "vision_model.encoder.layers.0.mlp.fc1.weight")?;
    let mut config = json!({
        "model_type": "blip",
        "text_config": {
            "vocab_size": words,
            "hidden_size": text_width,
            "intermediate_size": text_inner,
            "num_hidden_layers": layers(weights, &text_part("encoder.layer")),
            "num_attention_heads": heads(weights, text_width)?,
            "max_position_embeddings": text_positions,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "bos_token_id": 30522,
            "sep_token_id": 102,
            "pad_token_id": 0,
        },
        "vision_config": {
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers(weights, "vision_model.encoder.layers"),
            "num_attention_heads": heads(weights, width)?,
            "image_size": IMAGE_SIZE,
            "patch_size": patch_size(weights)?,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
        },
    });
    if text == TEXT_ENCODER {
        let [dim, _] = dimensions(weights, "vision_proj.weight")?;
        config["image_text_hidden_size"] = dim.into();
    }
    Ok(config)
}

/// A preprocessor_config.json of what BLIP's captioner was trained on.
pub(crate) fn preprocessor() -> Value {
    json!({
        "image_processor_type": "BlipImageProcessor",
        "size": { "height": IMAGE_SIZE, "width": IMAGE_SIZE },
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    })
}

fn patch_size(weights: &Weights) -> Result<usize, ModelError> {
    let name = "vision_model.embeddings.patch_embedding.weight";
    let [_, _, _, side] = dimensions(weights, name)?;
    if side > 0 && IMAGE_SIZE.is_multiple_of(side) {
        return Ok(side);
    }
    let reason = format!("patches of {side} pixels do not fill a picture of {IMAGE_SIZE}");
    Err(ModelError::InvalidFile { file: weights.name.clone(), reason })
}

fn heads(weights: &Weights, width: usize) -> Result<usize, ModelError> {
    if width > 0 && width.is_multiple_of(HEAD_WIDTH) {
        return Ok(width / HEAD_WIDTH);
    }
    let reason = format!("a width of {width} cannot be split into heads of {HEAD_WIDTH}");
    Err(ModelError::InvalidFile { file: weights.name.clone(), reason })
}

/// The number of layers below `prefix`, which are numbered from 0.
fn layers(weights: &Weights, prefix: &str) -> usize {
    let exists = |layer: &usize| {
        let prefix = format!("{prefix}.{layer}.");
        weights
            .tensors
            .range(prefix.clone()..)
            .next()
            .is_some_and(|(name, _)| name.starts_with(&prefix))
    };
    (0..).take_while(exists).count()
}

fn dimensions<const RANK: usize>(
    weights: &Weights,
    name: &str,
) -> Result<[usize; RANK], ModelError> {
    let shape = weights.shape(name)?;
    shape.try_into().map_err(|_| ModelError::InvalidFile {
        file: weights.name.clone(),
        reason: format!("tensor \"{name}\" has shape {shape:?}, expected {RANK} dimensions"),
    })
}
