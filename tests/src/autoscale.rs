//! How many workers KEDA and the HPA would run for a queue's lag, by their published rules, on a clock
//! of one's own.
//!
//! Left out is what never happens here: scaling to none, and its cooldown (there is always one worker),
//! and KEDA's fallback.

use std::collections::VecDeque;

/// A ScaledObject with one queue.
#[derive(Debug, Clone)]
pub struct Rules {
    pub least: usize,
    pub most: usize,
    /// Lag for each worker (`lagThreshold`).
    pub target: u64,
    /// Growth within a period: the greater of a share of what runs, and a number.
    pub up: Growth,
    /// Decrease within a period, as a share of what runs.
    pub down: Share,
    /// Seconds for which the greatest wish holds against a lesser one.
    pub window: f64,
}

#[derive(Debug, Clone, Copy)]
pub struct Growth {
    pub share: f64,
    pub pods: usize,
    pub period: f64,
}

#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub share: f64,
    pub period: f64,
}

/// Changes within which the HPA leaves everything as it is.
const TOLERANCE: f64 = 0.1;

#[derive(Debug)]
pub struct Autoscaler {
    rules: Rules,
    /// Wishes of the window, with their time.
    wishes: VecDeque<(f64, usize)>,
    /// Replicas from a time on.
    ran: VecDeque<(f64, usize)>,
}

impl Autoscaler {
    pub fn new(rules: Rules) -> Self {
        let ran = VecDeque::from([(f64::NEG_INFINITY, rules.least)]);
        Self { rules, wishes: VecDeque::new(), ran }
    }

    /// How many workers there should be now, at so many seconds, for this lag.
    pub fn replicas(&mut self, now: f64, lag: u64) -> usize {
        let current = self.ran.back().map_or(self.rules.least, |(_, count)| *count);
        let wish = self.wish(lag, current);
        self.wishes.push_back((now, wish));
        while self.wishes.front().is_some_and(|(at, _)| *at < now - self.rules.window) {
            self.wishes.pop_front();
        }
        let held = self.wishes.iter().map(|(_, wish)| *wish).max().unwrap_or(wish);
        // because: the window is of decreases alone
        let stable = if wish > current { wish } else { held.min(current) };
        let next = stable.clamp(self.lowest(now), self.highest(now));
        let next = next.clamp(self.rules.least, self.rules.most);
        if next != current {
            self.ran.push_back((now, next));
        }
        next
    }

    /// What the lag asks for: a worker for each `target` of it.
    fn wish(&self, lag: u64, current: usize) -> usize {
        let ratio = lag as f64 / (self.rules.target as f64 * current.max(1) as f64);
        if (ratio - 1.0).abs() <= TOLERANCE {
            return current;
        }
        let wish = lag.div_ceil(self.rules.target.max(1)) as usize;
        wish.clamp(self.rules.least, self.rules.most)
    }

    fn highest(&self, now: f64) -> usize {
        let Growth { share, pods, period } = self.rules.up;
        let before = self.at(now - period);
        let by_share = (before as f64 * (1.0 + share)).ceil() as usize;
        by_share.max(before + pods)
    }

    fn lowest(&self, now: f64) -> usize {
        let Share { share, period } = self.rules.down;
        (self.at(now - period) as f64 * (1.0 - share)).floor() as usize
    }

    /// What ran at a time.
    fn at(&self, time: f64) -> usize {
        let ran = self.ran.iter().rev().find(|(from, _)| *from <= time);
        ran.map_or(self.rules.least, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler() -> Autoscaler {
        Autoscaler::new(Rules {
            least: 1,
            most: 16,
            target: 2_000,
            up: Growth { share: 1.0, pods: 4, period: 30.0 },
            down: Share { share: 0.5, period: 60.0 },
            window: 300.0,
        })
    }

    #[test]
    fn the_lag_decides_within_the_least_and_the_most() {
        let wish = |lag| scaler().wish(lag, 1);
        assert_eq!([0, 2_000, 2_199, 2_201, 4_001].map(wish), [1, 1, 1, 2, 3]);
        assert_eq!([31_000, 32_001, 1_000_000].map(wish), [16, 16, 16]);
        // a tenth more or less changes nothing
        assert_eq!([7_201, 8_799, 8_801].map(|lag| scaler().wish(lag, 4)), [4, 4, 5]);
    }

    #[test]
    fn it_grows_by_four_or_twice_in_half_a_minute() {
        let mut scaler = scaler();
        let told: Vec<usize> =
            [0.0, 15.0, 30.0, 45.0, 60.0].map(|now| scaler.replicas(now, 1_000_000)).into();
        assert_eq!(told, [5, 5, 10, 10, 16]);
    }

    #[test]
    fn it_shrinks_after_five_minutes_and_by_half_a_minute_at_most() {
        let mut scaler = scaler();
        for now in [0.0, 30.0, 60.0] {
            scaler.replicas(now, 1_000_000);
        }
        assert_eq!(scaler.replicas(75.0, 0), 16);
        assert_eq!(scaler.replicas(360.0, 0), 16);
        assert_eq!(scaler.replicas(361.0, 0), 8);
        assert_eq!(scaler.replicas(400.0, 0), 8);
        assert_eq!([421.0, 482.0, 543.0, 604.0].map(|now| scaler.replicas(now, 0)), [4, 2, 1, 1]);
        // and grows at once
        assert_eq!(scaler.replicas(605.0, 4_500), 3);
    }
}
