//! Why bytes are not a picture that a model can see.

/// Each text says what was wrong and, for a limit, what the limit is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("the picture is empty (0 bytes)")]
    Empty,
    #[error("the picture has {bytes} bytes, more than the limit of {limit}")]
    TooManyBytes { bytes: usize, limit: usize },
    #[error("the bytes are not a picture in a known format (JPEG, PNG, WebP, GIF, BMP, TIFF)")]
    UnknownFormat,
    #[error("the picture is {width}×{height}, its sides may be at most {limit}")]
    TooWide { width: u32, height: u32, limit: u32 },
    #[error("the picture is {width}×{height}, {pixels} pixels, more than the limit of {limit}", pixels = u64::from(*width) * u64::from(*height))]
    TooManyPixels { width: u32, height: u32, limit: u64 },
    #[error("the picture has no pixels ({width}×{height})")]
    NoPixels { width: u32, height: u32 },
    #[error("the picture needs more than {limit} bytes of memory to decode")]
    TooMuchMemory { limit: u64 },
    #[error("the picture is cut off: {reason}")]
    Truncated { reason: String },
    #[error("the picture uses a feature of its format that is not supported: {reason}")]
    Unsupported { reason: String },
    #[error("the picture is damaged: {reason}")]
    Damaged { reason: String },
    #[error("the picture was not decoded within {seconds} seconds")]
    TooSlow { seconds: u64 },
    #[error("the picture made its decoder fail: {reason}")]
    DecoderPanicked { reason: String },
}
