//! Which attribute values a text rules out. Two pictures can fit one text, so training treats a
//! text as matching every picture that it does not contradict.

use crate::attributes::{Attributes, Facet};

/// A set of attribute values, one bit each: bit `offset(facet) + code`, facets in the order of
/// [`Facet::ALL`], 52 bits in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contradictions(u64);

impl Contradictions {
    /// The set as a bit mask.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether the picture shows a value of the set.
    pub fn contradict(self, attributes: &Attributes) -> bool {
        Facet::ALL.iter().any(|&facet| self.0 & bit(facet, attributes.code(facet)) != 0)
    }

    /// Whether a value of this facet is in the set.
    pub fn concern(self, facet: Facet) -> bool {
        (0..facet.size() as u8).any(|code| self.0 & bit(facet, code) != 0)
    }

    /// The text says that the facet has one of these values: all others are ruled out.
    pub(crate) fn allow_only(&mut self, facet: Facet, allowed: &[u8]) {
        for code in 0..facet.size() as u8 {
            if !allowed.contains(&code) {
                self.forbid(facet, code);
            }
        }
    }

    /// The text says that the facet does not have this value.
    pub(crate) fn forbid(&mut self, facet: Facet, code: u8) {
        self.0 |= bit(facet, code);
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

fn bit(facet: Facet, code: u8) -> u64 {
    1 << (facet.offset() + usize::from(code))
}
