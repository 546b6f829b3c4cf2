//! Names of things: gallery images, collections, shards and revisions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::ModelId;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("`{0}` is no image id: expected 32 hexadecimal digits")]
    Image(String),
    #[error(
        "`{0}` is no collection name: expected 1 to 32 characters of a-z, 0-9, `-`, starting with a letter"
    )]
    Collection(String),
}

/// A stored picture, named by its content: the first 128 bits of the SHA-256 of its bytes, written
/// as 32 hexadecimal digits. The same file is the same image, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId([u8; 16]);

impl ImageId {
    pub fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The part of the gallery, of `count` parts, that this image belongs to.
    pub fn shard(&self, count: u16) -> Shard {
        // because: the id is a uniform hash already, so its leading bits need no second one
        Shard((self.seed() % u64::from(count.max(1))) as u16)
    }

    /// A number that depends on the picture alone, for whatever must be random and repeatable.
    pub fn seed(&self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|i| self.0[i]))
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageId({self})")
    }
}

impl FromStr for ImageId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Image(s.to_owned());
        if s.len() != 32 || !s.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let value = u128::from_str_radix(s, 16).map_err(|_| wrong())?;
        Ok(Self(value.to_be_bytes()))
    }
}

/// The name of a gallery, or of one of its generations. It is a token of NATS subjects and stream names,
/// hence its alphabet.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Collection(String);

/// What stands between a collection's name and a generation's lane.
const OF: &str = "--";
const LONGEST: usize = 32;

impl Collection {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its generation of a model, which no other model can have.
    pub fn generation(&self, model: &ModelId) -> Self {
        Self(format!("{self}{OF}{}", model.lane()))
    }

    /// Whether a generation could have this name, so that no new collection may.
    pub fn is_reserved(&self) -> bool {
        self.0.contains(OF)
    }
}

impl Default for Collection {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for Collection {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let starts = s.starts_with(|c: char| c.is_ascii_lowercase());
        let longest = LONGEST + if s.contains(OF) { OF.len() + ModelId::LANE } else { 0 };
        if starts && s.len() <= longest && s.bytes().all(allowed) {
            Ok(Self(s.to_owned()))
        } else {
            Err(IdError::Collection(s.to_owned()))
        }
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collection({})", self.0)
    }
}

/// Ids are text on every wire and disk: readable in a dead letter, and the same in JSON.
macro_rules! serde_as_text {
    ($($t:ty),*) => {$(
        impl Serialize for $t {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(ImageId, Collection);

/// One part of a collection's gallery, 0-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u16);

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a submission or deletion in the order in which the work stream took them. Of two
/// statements about one image, the one with the greater revision holds, in whatever order they come.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_id_is_the_head_of_the_sha256_of_the_bytes() {
        // `printf abc | sha256sum`
        assert_eq!(ImageId::of(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223");
    }

    #[test]
    fn ids_that_are_not_32_hex_digits_are_refused() {
        for wrong in
            ["", "ba78", "+a7816bf8f01cfea414140de5dae2223", "zz7816bf8f01cfea414140de5dae2223"]
        {
            assert_eq!(wrong.parse::<ImageId>(), Err(IdError::Image(wrong.into())));
        }
        let id = "ba7816bf8f01cfea414140de5dae2223";
        assert_eq!(id.parse::<ImageId>().unwrap().to_string(), id);
    }

    #[test]
    fn a_collection_name_is_a_subject_token() {
        for wrong in ["", "Main", "a.b", "a b", "*", "9a", "-a", &"a".repeat(33)] {
            assert!(wrong.parse::<Collection>().is_err(), "{wrong} was taken");
        }
        for right in ["default", "shoes-2026", &"a".repeat(32)] {
            assert_eq!(right.parse::<Collection>().unwrap().as_str(), right);
        }
    }

    #[test]
    fn a_generation_has_a_name_of_its_own_that_is_read_back() {
        let longest: Collection = "a".repeat(LONGEST).parse().unwrap();
        let (one, other) = (ModelId::new("one"), ModelId::new("other"));
        let name = longest.generation(&one);
        assert_eq!(name.as_str().parse(), Ok(name.clone()));
        assert_ne!(name, longest.generation(&other));
        assert!(name.is_reserved() && !longest.is_reserved());
        assert!(format!("{name}0").parse::<Collection>().is_err());
        assert!("x--2".parse::<Collection>().unwrap().is_reserved());
    }

    #[test]
    fn images_spread_evenly_over_shards() {
        let mut counts = [0; 8];
        for i in 0..8000_u32 {
            counts[usize::from(ImageId::of(&i.to_be_bytes()).shard(8).0)] += 1;
        }
        // because: the standard deviation of a fair share is 30
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
    }
}
