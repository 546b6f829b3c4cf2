//! What jobs cost the device, and how much one forward pass may hold: a fixed budget, halved while
//! the device's memory does not suffice.

use std::time::Duration;

use super::Lane;

/// What a job asks of the device. Costs of a batch add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    pub images: usize,
    /// Number of texts times the tokens of the longest, which the others are padded to.
    pub tokens: usize,
    /// Tokens of the longest text: no pass can hold fewer.
    pub longest: usize,
}

impl Cost {
    pub const IMAGE: Self = Self { images: 1, tokens: 0, longest: 0 };

    /// The cost of a picture and a text of so many tokens that is held against it.
    pub fn pair(tokens: usize) -> Self {
        Self { images: 1, tokens, longest: tokens }
    }

    /// The cost of texts with these numbers of tokens.
    pub fn texts(lengths: impl ExactSizeIterator<Item = usize>) -> Self {
        let texts = lengths.len();
        let longest = lengths.max().unwrap_or(0);
        Self { images: 0, tokens: texts * longest, longest }
    }

    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            images: self.images + other.images,
            tokens: self.tokens + other.tokens,
            longest: self.longest.max(other.longest),
        }
    }
}

/// How much a batch may cost, and how much one forward pass may hold. A job above it is a batch
/// of its own, in several passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub images: usize,
    /// Texts times the longest one's tokens.
    pub tokens: usize,
}

impl Default for Budget {
    fn default() -> Self {
        // Because on a CPU larger batches gain nothing (measured from 1 to 32 pictures and from 32
        // to 4,096 tokens), and these two take about as long as each other. A GPU may want more.
        Self { images: 8, tokens: 512 }
    }
}

impl Budget {
    pub(super) fn holds(self, cost: Cost) -> bool {
        cost.images <= self.images && cost.tokens <= self.tokens
    }
}

/// Less than this nobody feels.
const UNFELT: Duration = Duration::from_millis(2);

/// How long batches take, learned from those that ran.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// One of ingest work that fills its budget.
    full: Option<Duration>,
    /// One of queries.
    queries: Option<Duration>,
}

impl Pace {
    pub(super) fn learn(&mut self, lane: Lane, cost: Cost, budget: Budget, took: Duration) {
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        let filled = share(cost.images, budget.images).max(share(cost.tokens, budget.tokens));
        match lane {
            Lane::Query => blend(&mut self.queries, took),
            Lane::Ingest if filled > 0.0 => blend(&mut self.full, took.div_f64(filled.min(1.0))),
            Lane::Ingest => {}
        }
    }

    /// The part of a budget that takes no longer than two batches of queries, at least one image and one token.
    // because: a device may take as long for one job as for several, and with the time of one batch of
    // queries would be given one job for ever
    pub(super) fn beside_queries(&self, budget: Budget) -> Budget {
        let time = (self.queries.unwrap_or_default() * 2).max(UNFELT);
        let Some(full) = self.full.filter(|full| *full > time) else { return budget };
        let part = |of: usize| ((of as f64 * time.div_duration_f64(full)) as usize).max(1);
        Budget { images: part(budget.images), tokens: part(budget.tokens) }
    }
}

// because: one slow batch says little, and a busier machine shows within a few
fn blend(known: &mut Option<Duration>, new: Duration) {
    *known = Some(known.map_or(new, |known| (known * 3 + new) / 4));
}

/// Batches in a row that must succeed before a reduced budget doubles.
// because: an attempt too many costs one failed batch, so that at most one in a hundred is lost
const GOOD_BATCHES: u32 = 100;

/// The budget that holds now.
#[derive(Debug)]
pub(super) struct Allowance {
    full: Budget,
    now: Budget,
    good: u32,
}

impl Allowance {
    pub(super) fn new(full: Budget) -> Self {
        // Because a budget of nothing would let nothing through.
        let full = Budget { images: full.images.max(1), tokens: full.tokens.max(1) };
        Self { full, now: full, good: 0 }
    }

    pub(super) fn now(&self) -> Budget {
        self.now
    }

    /// Halves the budget below what a batch of this cost needed. False if its passes cannot be
    /// smaller than they were.
    pub(super) fn shrink(&mut self, cost: Cost) -> bool {
        let smaller = Budget {
            images: halved(self.now.images, cost.images, 1),
            tokens: halved(self.now.tokens, cost.tokens, cost.longest),
        };
        let shrunk = smaller != self.now;
        self.now = smaller;
        self.good = 0;
        shrunk
    }

    /// Lets a reduced budget grow back after enough batches went well.
    pub(super) fn succeeded(&mut self) {
        if self.now == self.full {
            return;
        }
        self.good += 1;
        if self.good == GOOD_BATCHES {
            self.good = 0;
            self.now = Budget {
                images: self.full.images.min(self.now.images * 2),
                tokens: self.full.tokens.min(self.now.tokens * 2),
            };
            tracing::info!(budget = ?self.now, "batches went well, trying larger ones");
        }
    }
}

/// Half of what was used of a limit, at least `least`, and never more than the limit.
fn halved(limit: usize, used: usize, least: usize) -> usize {
    if limit.min(used) <= least {
        return limit;
    }
    (limit.min(used) / 2).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingest_work_takes_no_longer_than_two_batches_of_queries() {
        let (budget, ms) = (Budget { images: 8, tokens: 512 }, Duration::from_millis);
        let mut pace = Pace::default();
        assert_eq!(pace.beside_queries(budget), budget);
        // four images in 20 ms: eight would take 40
        let four = Cost { images: 4, tokens: 0, longest: 0 };
        pace.learn(Lane::Ingest, four, budget, ms(20));
        assert_eq!(pace.beside_queries(budget), Budget { images: 1, tokens: 25 });
        let text = Cost { images: 0, tokens: 16, longest: 16 };
        pace.learn(Lane::Query, text, budget, ms(5));
        assert_eq!(pace.beside_queries(budget), Budget { images: 2, tokens: 128 });
        // 5, 5, 5 and 25
        pace.learn(Lane::Query, text, budget, ms(25));
        assert_eq!(pace.beside_queries(budget), Budget { images: 4, tokens: 256 });
        // a job above the budget counts as one that fills it
        let long = Cost { images: 0, tokens: 5_000, longest: 500 };
        pace.learn(Lane::Ingest, long, budget, ms(120));
        assert_eq!(pace.beside_queries(budget).images, 2);
    }
}
