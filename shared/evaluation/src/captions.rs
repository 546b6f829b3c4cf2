//! Which of an image's captions count: all of them, or a choice for the ablation.

use std::fmt;

/// A set of caption slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaptionChoice(u32);

impl CaptionChoice {
    /// Slots that a choice can be made of.
    pub const MOST: usize = 32;

    /// All of `slots` captions.
    pub fn all(slots: usize) -> Self {
        (0..slots.min(Self::MOST)).fold(Self(0), |all, slot| Self(all.0 | 1 << slot))
    }

    pub fn of(slots: &[usize]) -> Self {
        slots.iter().fold(Self(0), |choice, &slot| Self(choice.0 | 1 << slot))
    }

    /// Each caption alone, each pair, and all: what the paper's ablation compares.
    pub fn ablation(slots: usize) -> Vec<Self> {
        let alone = (0..slots).map(|r| Self::of(&[r]));
        let pairs = (0..slots).flat_map(|r| (r + 1..slots).map(move |other| Self::of(&[r, other])));
        let mut choices: Vec<Self> = alone.chain(pairs).collect();
        if !choices.contains(&Self::all(slots)) {
            choices.push(Self::all(slots));
        }
        choices
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, slot: usize) -> bool {
        self.0 >> slot & 1 == 1
    }

    /// Its slots, in order.
    pub fn slots(self) -> impl Iterator<Item = usize> {
        (0..Self::MOST).filter(move |&slot| self.contains(slot))
    }

    /// The slots of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// Counted from 1: `1+3`.
impl fmt::Display for CaptionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let slots: Vec<String> = self.slots().map(|slot| (slot + 1).to_string()).collect();
        f.write_str(&slots.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ablation_is_each_alone_each_pair_and_all() {
        let names = |slots| {
            let choices = CaptionChoice::ablation(slots);
            choices.iter().map(CaptionChoice::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(3), ["1", "2", "3", "1+2", "1+3", "2+3", "1+2+3"]);
        assert_eq!(names(2), ["1", "2", "1+2"]);
        assert_eq!(names(1), ["1"]);
        assert_eq!(names(0), ["none"]);
    }
}
