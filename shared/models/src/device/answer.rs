//! Answers a batch: smaller passes when memory runs out, jobs one at a time when the batch fails.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    Budget, Cost, DeviceError, Lane, Timed,
    budget::Allowance,
    queue::{Answer, Waiting},
};
use crate::error::ModelError;

/// Jobs that are answered together.
pub(super) struct Batch<J, R> {
    lane: Lane,
    jobs: Vec<J>,
    callers: Vec<Caller<R>>,
    cost: Cost,
    begun: Instant,
}

struct Caller<R> {
    reply: oneshot::Sender<Answer<R>>,
    cost: Cost,
    queued: Duration,
}

impl<J, R> Batch<J, R> {
    pub(super) fn new(lane: Lane, begun: Instant) -> Self {
        Self { lane, jobs: vec![], callers: vec![], cost: Cost::default(), begun }
    }

    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    pub(super) fn push(&mut self, waiting: Waiting<J, R>) {
        let Waiting { job, reply, cost, since, .. } = waiting;
        self.jobs.push(job);
        self.callers.push(Caller { reply, cost, queued: self.begun.duration_since(since) });
        self.cost = self.cost.plus(cost);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn cost(&self) -> Cost {
        self.cost
    }
}

/// Answers every job of a batch. If the batch fails, its jobs run one at a time, so that the one
/// at fault fails alone.
pub(super) fn answer<J, R, W>(batch: Batch<J, R>, work: &mut W, allowance: &mut Allowance)
where
    W: FnMut(&[J], Budget) -> Result<Vec<R>, ModelError>,
{
    let Batch { jobs, mut callers, cost, begun, .. } = batch;
    match (attempt(&jobs, cost, work, allowance), callers.len()) {
        (Ok(answers), _) => {
            for (caller, answer) in callers.into_iter().zip(answers) {
                caller.tell(Ok(answer), begun);
            }
        }
        (Err(error), 1) => callers.remove(0).tell(Err(error), begun),
        (Err(error), _) => {
            tracing::warn!(jobs = jobs.len(), %error, "batch failed, trying its jobs one at a time");
            for (job, caller) in jobs.iter().zip(callers).filter(|(_, caller)| caller.waits()) {
                let outcome = attempt(std::slice::from_ref(job), caller.cost, work, allowance);
                let outcome = outcome.and_then(|mut one| one.pop().ok_or(DeviceError::Stopped));
                caller.tell(outcome, begun);
            }
        }
    }
}

/// Runs jobs, again with half the budget each time that the device's memory does not suffice.
fn attempt<J, R, W>(
    jobs: &[J],
    cost: Cost,
    work: &mut W,
    allowance: &mut Allowance,
) -> Result<Vec<R>, DeviceError>
where
    W: FnMut(&[J], Budget) -> Result<Vec<R>, ModelError>,
{
    loop {
        match run(jobs, allowance.now(), work) {
            Err(DeviceError::Model(ModelError::OutOfMemory { reason }))
                if allowance.shrink(cost) =>
            {
                tracing::warn!(reason, budget = ?allowance.now(), "out of memory, trying smaller passes");
            }
            Ok(answers) => {
                allowance.succeeded();
                return Ok(answers);
            }
            Err(error) => return Err(error),
        }
    }
}

fn run<J, R, W>(jobs: &[J], budget: Budget, work: &mut W) -> Result<Vec<R>, DeviceError>
where
    W: FnMut(&[J], Budget) -> Result<Vec<R>, ModelError>,
{
    // Models hold no state between calls that a panic could leave half-changed.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let answers = work(jobs, budget)?;
        assert_eq!(answers.len(), jobs.len(), "one answer for each job");
        Ok(answers)
    }));
    outcome
        .unwrap_or_else(|panic| Err(DeviceError::Panicked { reason: crate::panic_text(&*panic) }))
}

impl<R> Caller<R> {
    fn waits(&self) -> bool {
        !self.reply.is_closed()
    }

    fn tell(self, outcome: Result<R, DeviceError>, begun: Instant) {
        let (queued, inference) = (self.queued, begun.elapsed());
        let answer = outcome.map(|value| Timed { value, queued, inference });
        if self.reply.send(answer).is_err() {
            tracing::debug!("the caller left before its answer was ready");
        }
    }
}
