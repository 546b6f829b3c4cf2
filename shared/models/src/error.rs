//! What loading and running a model can fail with. Picture errors are `image`'s.

use weimocir_domain::{EmbeddingError, ModelId};

/// Text that no encoder can place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("text {index} is empty or only white space")]
    Empty { index: usize },
    #[error(
        "text {index} has {tokens} tokens, and the model reads {limit}: shorten it, or let its end \
         be cut off (\"truncate\")"
    )]
    TooLong { index: usize, tokens: usize, limit: usize },
    #[error(
        "text {index} has {bytes} bytes, and no more than {limit} are read: shorten it, or let its end \
         be cut off (\"truncate\")"
    )]
    TooManyBytes { index: usize, bytes: usize, limit: usize },
}

/// Every text fits after "failed to load the model: " or "failed to run the model: ".
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "model source \"{given}\" is neither \"bundled\", an existing folder or .pth file, nor \"organisation/name[@revision]\""
    )]
    UnknownSource { given: String },
    #[error("cannot read {file}")]
    Read { file: String, source: std::io::Error },
    #[error("{place} has no {file}")]
    MissingFile { place: String, file: String },
    #[error("cannot fetch {file} of {repository} from the hub: {reason}")]
    Hub { repository: String, file: String, reason: String },
    #[error(
        "{file} of {repository} is not in the cache {cache}, and {reason}: run `hf download` where \
         there is a network, set HF_HOME to a cache that has it, or give the path of a folder"
    )]
    NotCached { repository: String, file: String, cache: String, reason: String },
    #[error("there is no place for the cache of models: set HF_HOME to a folder")]
    NoCache,
    #[error("{file} is not valid: {reason}")]
    InvalidFile { file: String, reason: String },
    #[error("{file} describes a model of type \"{found}\", expected \"{expected}\"")]
    ModelType { file: String, found: String, expected: String },
    #[error(
        "{file} is a BLIP captioner, with a text decoder and no text encoder; BLIP's encoders are the \
         retrieval models (blip-itm-…)"
    )]
    CaptionerNotEncoder { file: String },
    #[error(
        "{file} is a BLIP encoder, with no text decoder; BLIP's captioners are the captioning models \
         (blip-image-captioning-…)"
    )]
    EncoderNotCaptioner { file: String },
    #[error("{file} asks for {setting} = {value}, which is not supported")]
    Unsupported { file: String, setting: &'static str, value: String },
    #[error("{file} has no tensor \"{name}\"")]
    MissingTensor { file: String, name: String },
    #[error("tensor \"{name}\" of {file} has shape {found:?}, expected {expected:?}")]
    TensorShape { file: String, name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{file} and {other} both have a tensor \"{name}\"")]
    DuplicateTensor { file: String, other: String, name: String },
    #[error(
        "{file} has tensors that the model does not use: {}; the configuration is another model's",
        listed(names)
    )]
    ExtraTensors { file: String, names: Vec<String> },
    #[error(
        "tensor \"{name}\" of {file} has values of type {found}, expected floating-point numbers"
    )]
    TensorType { file: String, name: String, found: String },
    #[error("tensor \"{name}\" of {file} has values that are infinite or not a number")]
    NotFinite { file: String, name: String },
    #[error("device {device} is not available: {reason}")]
    Device { device: String, reason: String },
    #[error(
        "picture {index} is {found:?} (height, width) after preprocessing, the model takes {expected:?}"
    )]
    PixelSize { index: usize, found: (usize, usize), expected: (usize, usize) },
    #[error("{model} has no image-text matching head, only BLIP has one")]
    NoMatchingHead { model: ModelId },
    #[error("{pictures} pictures and {texts} texts cannot be paired")]
    Unpaired { pictures: usize, texts: usize },
    #[error("captioning takes at least one caption per image, {asked} were asked for")]
    CaptionCount { asked: usize },
    #[error("the captioner wrote no words for picture {index}")]
    NoCaption { index: usize },
    #[error("cannot tokenise text {index}: {reason}")]
    Tokenize { index: usize, reason: String },
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("the encoder made an unusable embedding")]
    Embedding(#[from] EmbeddingError),
    #[error(
        "the device's memory does not suffice ({reason}): stop other programs that use it, or run a \
         smaller model"
    )]
    OutOfMemory { reason: String },
    #[error("the tensor library failed")]
    Compute(#[source] Box<candle_core::Error>),
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        let reason = error.to_string();
        if OUT_OF_MEMORY.iter().any(|code| reason.contains(code)) {
            return Self::OutOfMemory { reason };
        }
        Self::Compute(Box::new(error))
    }
}

/// The first names and the number of the others.
fn listed(names: &[String]) -> String {
    let (shown, others) = names.split_at(names.len().min(3));
    let shown: Vec<String> = shown.iter().map(|name| format!("\"{name}\"")).collect();
    let shown = shown.join(", ");
    if others.is_empty() { shown } else { format!("{shown} and {} more", others.len()) }
}

/// How the CUDA driver and cuBLAS name it. candle boxes their errors, so that the name is all there
/// is to go by.
const OUT_OF_MEMORY: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

#[cfg(test)]
mod tests {
    use super::ModelError;

    // The texts are those of cudarc 0.19's `DriverError` and `CublasError`.
    #[test]
    fn memory_that_does_not_suffice_is_told_from_other_failures() {
        let full = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        let cublas = "CublasError(CUBLAS_STATUS_ALLOC_FAILED)";
        for text in [full, cublas] {
            let boxed = candle_core::Error::Cuda(text.into());
            for error in [boxed, candle_core::Error::wrap(text).context("in layer 3")] {
                let error = ModelError::from(error);
                assert!(matches!(error, ModelError::OutOfMemory { .. }), "{error:?}");
                assert!(error.to_string().contains(text), "{error}");
            }
        }
        let other = "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access\")";
        let error = ModelError::from(candle_core::Error::Cuda(other.into()));
        assert!(matches!(error, ModelError::Compute(_)), "{error:?}");
    }
}
