//! Every subject, built and read in this file alone.

use weimocir_domain::{Collection, ImageId, Shard};

pub const ENCODE_IMAGE: &str = "weimocir.work.encode.image";
pub const ENCODE_CAPTIONS: &str = "weimocir.work.encode.captions";
pub const CAPTION: &str = "weimocir.work.caption";
pub const DELETE: &str = "weimocir.work.delete";

pub const DEAD: &str = "weimocir.dead.>";

pub const SEARCH: &str = "weimocir.search";
pub const ENCODE_QUERY: &str = "weimocir.encode.query";
pub const CAPTION_QUERY: &str = "weimocir.caption.query";

pub fn dead(step: &str) -> String {
    format!("weimocir.dead.{step}")
}

/// Everything that one shard's log keeps.
pub fn vectors_of_shard(collection: &Collection, shard: Shard) -> String {
    format!("weimocir.vectors.{collection}.{shard}.>")
}

pub fn vectors(collection: &Collection, shard: Shard, image: ImageId, part: Part) -> String {
    format!("weimocir.vectors.{collection}.{shard}.{image}.{}", part.token())
}

pub fn candidates(collection: &Collection, shard: Shard) -> String {
    format!("weimocir.candidates.{collection}.{shard}")
}

/// Asks one shard what it holds of a list of images.
pub fn lookup(collection: &Collection, shard: Shard) -> String {
    format!("weimocir.lookup.{collection}.{shard}")
}

/// Asks one shard for images, those submitted last first.
pub fn list(collection: &Collection, shard: Shard) -> String {
    format!("weimocir.list.{collection}.{shard}")
}

/// Asks one shard for everything about one image.
pub fn record(collection: &Collection, shard: Shard) -> String {
    format!("weimocir.record.{collection}.{shard}")
}

/// What a message of a shard's log says about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Image,
    Captions,
    Tombstone,
}

impl Part {
    /// The part that a subject of the log ends in.
    pub fn of_subject(subject: &str) -> Option<Self> {
        match subject.rsplit('.').next()? {
            "image" => Some(Self::Image),
            "captions" => Some(Self::Captions),
            "tombstone" => Some(Self::Tombstone),
            _ => None,
        }
    }

    fn token(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Captions => "captions",
            Self::Tombstone => "tombstone",
        }
    }
}
