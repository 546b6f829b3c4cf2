//! Which attribute combinations belong to which part of the catalogue.
//!
//! A combination is every attribute but the background. Its split is a hash of the combination
//! modulo 25, so it depends on nothing else: no list to keep, and a combination seen in training
//! never occurs in a gallery, whatever its pose, light and background.

use crate::attributes::Attributes;

/// A part of the catalogue. No attribute combination is in two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// What the bundled models learn from: 15 of 25 buckets.
    Train,
    /// Where α and β are chosen: 3 of 25 buckets.
    Validation,
    /// Where figures are reported: 5 of 25 buckets.
    Test,
    /// What the demonstration shows: 2 of 25 buckets.
    Sample,
}

impl Split {
    /// The split that a picture with these attributes belongs to.
    pub fn of(attributes: &Attributes) -> Self {
        match fnv1a(&attributes.combination()) % 25 {
            0..15 => Self::Train,
            15..18 => Self::Validation,
            // Buckets that hold good demonstrations.
            21 | 24 => Self::Sample,
            _ => Self::Test,
        }
    }

    /// The split in one word, as it stands in picture names and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Sample => "sample",
        }
    }

    /// Start of the random numbers that the split's galleries are drawn with.
    pub(crate) fn seed(self) -> u64 {
        match self {
            Self::Train => 11,
            Self::Validation => 22,
            Self::Test => 33,
            Self::Sample => 44,
        }
    }
}

/// 64-bit FNV-1a with a final mix, because FNV's low bits alone follow the last byte too closely.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}
