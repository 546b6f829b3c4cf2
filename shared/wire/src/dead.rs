//! Dead letters: deliveries that a worker gave up, with why, and the original message as payload.
//! The facts travel as headers, so that the original can be sent again byte by byte.

/// The pipeline's step that gave up.
pub const STEP: &str = "Weimocir-Step";
pub const REASON: &str = "Weimocir-Reason";
pub const ATTEMPTS: &str = "Weimocir-Attempts";
/// Where the original had been published, and goes again on a retry.
pub const SUBJECT: &str = "Weimocir-Subject";
/// The original's sequence in the work stream.
pub const SEQUENCE: &str = "Weimocir-Sequence";
/// The image's id, where the original could be read that far.
pub const IMAGE: &str = "Weimocir-Image";
