//! A layer of either tower of CLIP, by its published names.

use super::config::{TextConfig, VisionConfig};
use crate::{
    error::ModelError,
    layers::{Activation, FeedForward, LayerNorm, Linear},
    pre_norm::PreNormLayer,
    weights::Scope,
};

#[derive(Debug, Clone, Copy)]
pub(super) struct LayerShape {
    width: usize,
    inner: usize,
    heads: usize,
    activation: Activation,
    epsilon: f64,
}

impl From<&TextConfig> for LayerShape {
    fn from(config: &TextConfig) -> Self {
        Self {
            width: config.hidden_size,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        }
    }
}

impl From<&VisionConfig> for LayerShape {
    fn from(config: &VisionConfig) -> Self {
        Self {
            width: config.hidden_size,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        }
    }
}

pub(super) fn load(at: &Scope<'_>, shape: LayerShape) -> Result<PreNormLayer, ModelError> {
    let LayerShape { width, inner, heads, activation, epsilon } = shape;
    let own = |name: &str| at.at("self_attn").at(name);
    let first = Linear::load(&at.at("mlp.fc1"), width, inner)?;
    let second = Linear::load(&at.at("mlp.fc2"), inner, width)?;
    Ok(PreNormLayer {
        norm_1: LayerNorm::load(&at.at("layer_norm1"), width, epsilon)?,
        query_key_value: Linear::load_side_by_side(
            &[own("q_proj"), own("k_proj"), own("v_proj")],
            width,
            width,
        )?,
        output: Linear::load(&own("out_proj"), width, width)?,
        norm_2: LayerNorm::load(&at.at("layer_norm2"), width, epsilon)?,
        feed_forward: FeedForward::new(first, activation, second),
        heads,
    })
}
