//! Tensors that published checkpoints hold and that a model of ours does without. A `*` at the
//! start or end of a pattern stands for anything.

/// Hugging Face's `CLIPModel`; until 2023 it kept its position numbers in the file.
pub(crate) const CLIP: &[&str] = &["logit_scale", "*.position_ids"];

/// Hugging Face's `BlipForConditionalGeneration`, and Salesforce's captioning and pretraining
/// checkpoints. The language head is stored beside the word embeddings that it is tied to.
pub(crate) const BLIP_CAPTIONER: &[&str] = &[
    "*.position_ids",
    "text_decoder.cls.predictions.bias",
    "text_decoder.cls.predictions.decoder.*",
    "text_encoder.*",
    "text_encoder_m.*",
    "visual_encoder_m.*",
    "vision_proj.*",
    "vision_proj_m.*",
    "text_proj.*",
    "text_proj_m.*",
    "itm_head.*",
    "combine_vision_proj*",
    "combine_text_proj*",
    "temp",
    "image_queue",
    "text_queue",
    "idx_queue",
    "ptr_queue",
    "queue_ptr",
];

/// Hugging Face's `BlipForImageTextRetrieval`, and Salesforce's retrieval and pretraining
/// checkpoints with their momentum encoders (`_m`), queues and decoder.
pub(crate) const BLIP_RETRIEVAL: &[&str] = &[
    "*.position_ids",
    "logit_scale",
    "text_decoder.*",
    "text_encoder_m.*",
    "visual_encoder_m.*",
    "vision_proj_m.*",
    "text_proj_m.*",
    "combine_vision_proj*",
    "combine_text_proj*",
    "temp",
    "image_queue",
    "text_queue",
    "idx_queue",
    "ptr_queue",
    "queue_ptr",
];

pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (after, pattern) =
        pattern.strip_suffix('*').map_or((false, pattern), |pattern| (true, pattern));
    let (before, pattern) =
        pattern.strip_prefix('*').map_or((false, pattern), |pattern| (true, pattern));
    match (before, after) {
        (false, false) => name == pattern,
        (false, true) => name.starts_with(pattern),
        (true, false) => name.ends_with(pattern),
        (true, true) => name.contains(pattern),
    }
}
