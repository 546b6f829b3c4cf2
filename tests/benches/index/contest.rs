//! Rounds in which the contestants take turns, so that a slow moment of the machine meets them all:
//! ratios are taken within a round, and their median counts.

use std::time::{Duration, Instant};
use weimocir_tests::mixture::Query;

use crate::{
    Case,
    gallery::Gallery,
    median,
    ours::{Mode, Ours},
    peers::{Peer, Peers},
    probe::Probe,
};

const MOST_CALLS: usize = 8;
/// because: the threads of OpenMP spin for some milliseconds after a call, on our cores
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ours(Mode),
    Peer(Peer),
}

impl Who {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Ours(mode) => mode.title(),
            Self::Peer(peer) => peer.title(),
        }
    }

    fn fits(self, case: Case) -> bool {
        match self {
            Self::Ours(mode) => mode == Mode::Swift || case.batch == 1,
            Self::Peer(peer) => peer.fits(case),
        }
    }
}

/// One contestant in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Milliseconds per query: the median and the least of the calls.
    pub(crate) median: f64,
    pub(crate) least: f64,
    /// GB/s that the machine could read just before and after, on as many threads.
    pub(crate) probed: f64,
}

/// One contestant in one case.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) who: Who,
    pub(crate) case: Case,
    pub(crate) turns: Vec<Turn>,
}

impl Outcome {
    pub(crate) fn milliseconds(&self) -> f64 {
        median(self.turns.iter().map(|turn| turn.median))
    }

    pub(crate) fn least(&self) -> f64 {
        self.turns.iter().map(|turn| turn.least).fold(f64::INFINITY, f64::min)
    }

    /// How many times as long as `other` it takes.
    pub(crate) fn times(&self, other: &Self) -> f64 {
        median(self.turns.iter().zip(&other.turns).map(|(a, b)| a.median / b.median))
    }

    /// GB/s where a query reads so many bytes, and the share of what was probed.
    pub(crate) fn bandwidth(&self, bytes: f64) -> (f64, f64) {
        let rate = |turn: &Turn| bytes / turn.median / 1e6;
        let share = self.turns.iter().map(|turn| rate(turn) / turn.probed);
        (median(self.turns.iter().map(rate)), median(share))
    }
}

#[derive(Debug)]
pub(crate) struct Contest<'a> {
    pub(crate) gallery: &'a Gallery,
    pub(crate) ours: &'a Ours<'a>,
    pub(crate) peers: Option<Peers>,
    pub(crate) probe: &'a Probe,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
}

impl Contest<'_> {
    /// All that fit the case, in rounds of which the first is discarded.
    pub(crate) fn run(&mut self, field: &[Who], case: Case) -> anyhow::Result<Vec<Outcome>> {
        let fit = field.iter().copied().filter(|who| who.fits(case));
        let mut outcomes: Vec<Outcome> =
            fit.map(|who| Outcome { who, case, turns: Vec::new() }).collect();
        for round in 0..=self.rounds {
            let mut before = self.probe.gigabytes_per_s(case.threads);
            for outcome in &mut outcomes {
                let times = self.calls(outcome.who, case, round * case.batch)?;
                std::thread::sleep(PAUSE);
                let after = self.probe.gigabytes_per_s(case.threads);
                let times = times.into_iter().map(|time| time / case.batch as f64);
                if round > 0 {
                    outcome.turns.push(Turn {
                        median: median(times.clone()),
                        least: times.fold(f64::INFINITY, f64::min),
                        probed: f64::midpoint(before, after),
                    });
                }
                before = after;
            }
            // because: whoever comes after a given neighbour must not always do so
            outcomes.reverse();
        }
        outcomes.sort_by_key(|outcome| field.iter().position(|who| *who == outcome.who));
        Ok(outcomes)
    }

    fn calls(&mut self, who: Who, case: Case, first: usize) -> anyhow::Result<Vec<f64>> {
        match (who, &mut self.peers) {
            (Who::Ours(mode), _) => self.own_calls(mode, case, first),
            (Who::Peer(peer), Some(peers)) => peers.time(peer, case, first, self.seconds),
            _ => anyhow::bail!("{} is not here", who.title()),
        }
    }

    fn own_calls(&self, mode: Mode, case: Case, first: usize) -> anyhow::Result<Vec<f64>> {
        let batches: Vec<&[Query]> = self.gallery.queries.chunks_exact(case.batch).collect();
        let (mut times, begin) = (Vec::new(), Instant::now());
        while times.is_empty()
            || (times.len() < MOST_CALLS && begin.elapsed().as_secs_f64() < self.seconds)
        {
            let batch = batches[(first / case.batch + times.len()) % batches.len()];
            let start = Instant::now();
            (self.ours.search)(mode, batch, case.k, case.threads)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    }
}
