//! What feeds remember between their runs.

use serde::{Deserialize, Serialize};
use weimocir_domain::ImageId;

use crate::Message;

/// An object that a feed has taken, in the key-value bucket of feeds as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedMark {
    /// Names the object in its place.
    pub key: String,
    /// Another one once the object has changed.
    pub state: String,
    /// The image that it is.
    pub image: ImageId,
}

impl Message for FeedMark {
    const NAME: &'static str = "feed-mark";
}
