//! Names of streams, buckets, durables, services, and headers.

use weimocir_domain::{Collection, ModelId, Shard};

/// Work queue of submissions and deletions. Its sequences are their revisions.
pub const WORK_STREAM: &str = "WEIMOCIR_WORK";
/// Work queue of captions to encode. A queue of its own, because a caption worker could not finish
/// its work while submissions fill the other one.
pub const CAPTIONS_STREAM: &str = "WEIMOCIR_CAPTIONS";
/// Work queue of what single models have to encode. A queue of its own, as its messages have their
/// revisions already, with a limit for each model.
pub const LANES_STREAM: &str = "WEIMOCIR_LANES";
pub const DEAD_STREAM: &str = "WEIMOCIR_DEAD";
/// Object store of picture files, keyed by image id.
pub const IMAGES_BUCKET: &str = "weimocir-images";
/// Key-value bucket: a collection's name to its record.
pub const COLLECTIONS_BUCKET: &str = "weimocir-collections";
/// Key-value bucket: what feeds have taken, by collection, place and key.
pub const FEEDS_BUCKET: &str = "weimocir-feeds";

pub const ENCODE_DURABLE: &str = "encode";
pub const CAPTION_DURABLE: &str = "caption";
pub const DELETE_DURABLE: &str = "delete";

/// The queue of what one model has to encode of a kind.
pub fn lane_durable(kind: &str, model: &ModelId) -> String {
    format!("{kind}-{}", model.lane())
}

/// The replicated truth about one shard's vectors.
pub fn vectors_stream(collection: &Collection, shard: Shard) -> String {
    format!("WEIMOCIR_VECTORS_{collection}_{shard}")
}

pub const CAPTION_SERVICE: &str = "weimocir-caption";
pub const ENCODE_SERVICE: &str = "weimocir-encode";
pub const STORE_SERVICE: &str = "weimocir-store";
pub const QUERY_SERVICE: &str = "weimocir-query";
/// Every kind of worker that a pipeline needs, in the order in which an image meets them.
pub const SERVICES: [&str; 4] = [CAPTION_SERVICE, ENCODE_SERVICE, STORE_SERVICE, QUERY_SERVICE];
pub const GATEWAY_SERVICE: &str = "weimocir-gateway";

pub const CONTENT_TYPE: &str = "Content-Type";
pub const CONTENT_JSON: &str = "application/json";
pub const CONTENT_MESSAGE_PACK: &str = "application/msgpack";
