//! The latest looks at a pipeline: how fast its numbers move.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Status;

/// Looks that are kept, and what a rate is taken over, or two looks that are further apart.
const KEPT: usize = 60;
const RECENT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<(Instant, Status)>,
}

impl History {
    pub(super) fn add(&mut self, at: Instant, status: Status) {
        self.samples.push_back((at, status));
        if self.samples.len() > KEPT {
            self.samples.pop_front();
        }
    }

    pub(super) fn latest(&self) -> Option<&Status> {
        self.samples.back().map(|(_, status)| status)
    }

    /// Change a second, nothing before there are two numbers.
    pub(super) fn rate(&self, number: impl Fn(&Status) -> Option<u64>) -> Option<f64> {
        let (end, last) = self.samples.back()?;
        let last = number(last)?;
        let recent = |at: &Instant| end.duration_since(*at) <= RECENT;
        let before = self.samples.iter().rev().skip(1).enumerate();
        let recent = before.take_while(|(n, (at, _))| *n == 0 || recent(at));
        let numbers = recent.filter_map(|(_, (at, status))| Some((at, number(status)?)));
        let (begin, first) = numbers.last()?;
        let seconds = end.duration_since(*begin).as_secs_f64();
        Some((last as f64 - first as f64) / seconds)
    }

    /// The number at each of the last `width` times as the height of a bar.
    pub(super) fn bars(&self, width: usize, number: impl Fn(&Status) -> Option<u64>) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let skipped = self.samples.len().saturating_sub(width);
        let numbers: Vec<Option<u64>> =
            self.samples.iter().skip(skipped).map(|(_, status)| number(status)).collect();
        let top = numbers.iter().flatten().max().copied().unwrap_or(0).max(1);
        let bar = |n: Option<u64>| n.map_or(' ', |n| BARS[(n * 7).div_ceil(top) as usize]);
        numbers.into_iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(dead_letters: &[u64]) -> History {
        let (begin, mut history) = (Instant::now(), History::default());
        for (second, &dead_letters) in (0..).zip(dead_letters) {
            let status = Status { dead_letters, ..Status::default() };
            history.add(begin + Duration::from_secs(second), status);
        }
        history
    }

    fn letters(status: &Status) -> Option<u64> {
        Some(status.dead_letters)
    }

    #[test]
    fn a_rate_is_of_the_last_ten_seconds() {
        assert_eq!(history(&[]).rate(letters), None);
        assert_eq!(history(&[7]).rate(letters), None);
        assert_eq!(history(&[7, 10]).rate(letters), Some(3.0));
        assert_eq!(history(&[10, 7]).rate(letters), Some(-3.0));
        let mut numbers = vec![1_000; 50];
        numbers.extend((0..=10).map(|n| 1_000 + 5 * n));
        assert_eq!(history(&numbers).rate(letters), Some(5.0));
    }

    #[test]
    fn looks_far_apart_have_a_rate() {
        let (begin, mut history) = (Instant::now(), History::default());
        for (minute, dead_letters) in [(0, 0), (1, 60), (2, 180)] {
            let status = Status { dead_letters, ..Status::default() };
            history.add(begin + Duration::from_secs(60 * minute), status);
        }
        assert_eq!(history.rate(letters), Some(2.0));
    }

    #[test]
    fn the_latest_are_kept() {
        let history = history(&(0..100).collect::<Vec<_>>());
        assert_eq!(history.samples.len(), 60);
        assert_eq!(history.latest().map(|status| status.dead_letters), Some(99));
    }

    #[test]
    fn bars_reach_from_nothing_to_the_greatest() {
        assert_eq!(history(&[0, 1, 7, 14]).bars(10, letters), "▁▂▅█");
        assert_eq!(history(&[0, 1, 7, 14]).bars(2, letters), "▅█");
        assert_eq!(history(&[0, 0]).bars(10, letters), "▁▁");
        assert_eq!(history(&[1]).bars(10, |_| None), " ");
    }
}
