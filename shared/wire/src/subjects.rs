//! Every subject, built and read in this file alone.

use weimocir_domain::{Collection, ImageId, ModelId, Shard};

pub const ENCODE_IMAGE: &str = "weimocir.work.encode.image";
pub const ENCODE_CAPTIONS: &str = "weimocir.work.encode.captions";
pub const CAPTION: &str = "weimocir.work.caption";
pub const DELETE: &str = "weimocir.work.delete";
/// What submissions and deletions are published on: the work stream takes no other.
pub const SUBMISSIONS: [&str; 3] = [ENCODE_IMAGE, CAPTION, DELETE];
/// What single models have to encode.
pub const LANES: [&str; 2] = ["weimocir.work.encode.image.*", "weimocir.work.encode.captions.*"];

pub const DEAD: &str = "weimocir.dead.>";

pub const SEARCH: &str = "weimocir.search";
pub const SUBMIT: &str = "weimocir.submit";
pub const ENCODE_QUERY: &str = "weimocir.encode.query";
pub const CAPTION_QUERY: &str = "weimocir.caption.query";
pub const MATCH_QUERY: &str = "weimocir.match.query";

/// A subject in the lane of one model, which no other model's workers answer or pull.
pub fn in_lane(subject: &str, model: &ModelId) -> String {
    format!("{subject}.{}", model.lane())
}

/// Whether a picture to encode was published there, in a lane or not.
pub fn is_encode_image(subject: &str) -> bool {
    let lane = subject.strip_prefix(ENCODE_IMAGE);
    lane.is_some_and(|lane| lane.is_empty() || lane.starts_with('.'))
}

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

/// Whether a shard's log keeps what is published there.
pub fn is_of_a_log(subject: &str) -> bool {
    subject.starts_with("weimocir.vectors.")
}

/// What a subject of a shard's log stands for.
pub fn read_vectors(subject: &str) -> Option<(Collection, Shard, ImageId, Part)> {
    let mut tokens = subject.strip_prefix("weimocir.vectors.")?.split('.');
    let collection = tokens.next()?.parse().ok()?;
    let shard = Shard(tokens.next()?.parse().ok()?);
    let image = tokens.next()?.parse().ok()?;
    let part = Part::of_subject(tokens.next()?)?;
    tokens.next().is_none().then_some((collection, shard, image, part))
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

    /// What its subjects end in.
    pub fn token(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Captions => "captions",
            Self::Tombstone => "tombstone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_below_its_subject() {
        let lane = in_lane(ENCODE_IMAGE, &ModelId::new("bundled"));
        assert_eq!(lane, "weimocir.work.encode.image.4c4164b5039c3606");
        assert!(is_encode_image(&lane) && is_encode_image(ENCODE_IMAGE));
        for other in [ENCODE_CAPTIONS, CAPTION, "weimocir.work.encode.images"] {
            assert!(!is_encode_image(other), "{other}");
        }
    }

    #[test]
    fn subjects_of_the_log_read_back() {
        let (collection, image) = (Collection::default(), ImageId::of(b"x"));
        for part in [Part::Image, Part::Captions, Part::Tombstone] {
            let subject = vectors(&collection, Shard(7), image, part);
            let read = read_vectors(&subject);
            assert_eq!(read, Some((collection.clone(), Shard(7), image, part)), "{subject}");
            assert_eq!(read_vectors(&format!("{subject}.more")), None);
        }
        for other in
            ["weimocir.work.delete", "weimocir.vectors.default.0", "weimocir.vectors.a.b.c.image"]
        {
            assert_eq!(read_vectors(other), None, "{other}");
        }
    }
}
