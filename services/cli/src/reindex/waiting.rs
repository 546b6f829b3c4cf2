//! Waiting for workers to settle what they have from before. `--give-up` ends a wait that makes no progress.

use std::time::Duration;

use anyhow::bail;
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};
use weimocir_domain::ModelId;
use weimocir_runtime::{BusError, HANDLING, LATELY, Pull, WorkerInfo};
use weimocir_wire::names::{ENCODE_SERVICE, LANES_STREAM};

use super::Run;
use crate::provision::ACK_WAIT;

/// After so long without progress the user is told.
pub(super) const STALL: Duration = Duration::from_secs(10);
/// By so much a worker's clock may be late when it cuts a delivery off.
const SLACK: Duration = Duration::from_secs(10);

/// What was reached last, and when.
#[derive(Debug)]
pub(super) struct Progress {
    reached: u64,
    at: Instant,
}

/// Queues whose workers are awaited, each up to a message.
struct Awaited<'a> {
    queues: Vec<(Pull, u64)>,
    /// Whose lane they are; none of those that all models share.
    model: Option<&'a ModelId>,
    /// When nothing that they have can be from before any more.
    until: Option<Instant>,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self { reached: 0, at: Instant::now() }
    }

    /// Whether nothing more was reached for longer than `patience`.
    pub(super) fn has_stalled(&mut self, reached: u64, now: Instant, patience: Duration) -> bool {
        if reached > self.reached {
            (self.reached, self.at) = (reached, now);
        }
        now.duration_since(self.at) > patience
    }
}

impl Awaited<'_> {
    fn name(&self, left: u64) -> String {
        match self.model {
            Some(model) => format!("{left} parts that wait for {model}"),
            None => "what workers have at hand from before".to_owned(),
        }
    }
}

impl Run {
    /// Waits until every delivery is settled that may have been meant for the former generation. False if that
    /// was given up.
    pub(super) async fn until_settled(
        &self,
        former: &ModelId,
        bar: &ProgressBar,
    ) -> anyhow::Result<bool> {
        // because: workers know for as long what served before; twice, as clocks differ
        sleep(2 * LATELY).await;
        let [images, captions] = weimocir_encode::queues(1, ACK_WAIT);
        let mut queues = Vec::new();
        for queue in [images, captions, weimocir_store::deletions()] {
            let up_to = self.bus.reached(queue.stream, &queue.durable).await?.handed_out;
            queues.push((queue, up_to));
        }
        // because: whoever asked before the change is cut off by then, and what is kept for later, perhaps of
        // another collection and for ever, or comes again asks anew what serves
        let until = Some(Instant::now() + HANDLING + SLACK);
        let shared = Awaited { queues, model: None, until };
        let is_shared_settled = self.until_reached(&shared, bar).await?;
        // because: what workers had at hand may have been passed on
        let up_to = self.bus.last_sequence(LANES_STREAM).await?;
        let queues = weimocir_encode::lane(former, 1, ACK_WAIT).map(|queue| (queue, up_to)).into();
        let lane = Awaited { queues, model: Some(former), until: None };
        let is_lane_settled = self.until_reached(&lane, bar).await?;
        bar.set_message("");
        Ok(is_shared_settled && is_lane_settled)
    }

    async fn until_reached(
        &self,
        awaited: &Awaited<'_>,
        bar: &ProgressBar,
    ) -> anyhow::Result<bool> {
        let (mut progress, mut next_word, mut pause) =
            (Progress::begin(), Instant::now() + STALL, STALL);
        loop {
            let (reached, left) = self.reached(&awaited.queues).await?;
            let now = Instant::now();
            if left == 0 || awaited.until.is_some_and(|until| now > until) {
                return Ok(true);
            }
            let name = awaited.name(left);
            bar.set_message(format!(", waiting for {name}"));
            let has_stalled = |patience| progress.has_stalled(reached, now, patience);
            if self.patience().is_some_and(has_stalled) {
                tracing::warn!("not waiting for {name}");
                return Ok(false);
            }
            if now >= next_word {
                pause *= 2;
                next_word = now + pause;
                self.tell(awaited, &name).await?;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Up to which message everything is settled, all queues together, and how much is left where that is not
    /// as far as is awaited.
    async fn reached(&self, queues: &[(Pull, u64)]) -> Result<(u64, u64), BusError> {
        let (mut reached, mut left) = (0, 0);
        for (Pull { stream, durable, .. }, up_to) in queues {
            let now = self.bus.reached(stream, durable).await?;
            reached += now.settled.min(*up_to);
            if now.settled < *up_to {
                left += now.left;
            }
        }
        Ok((reached, left))
    }

    /// # Errors
    /// Nobody is there to do what is awaited, and it would be dropped.
    async fn tell(&self, awaited: &Awaited<'_>, name: &str) -> anyhow::Result<()> {
        if let Some(model) = awaited.model
            && !self.has_worker(model).await?
        {
            let message = format!(
                "there are {name}, and no encode worker of it is alive. Start one: `weimocir-encode --model ...`"
            );
            if self.args.drop_old && !self.args.give_up {
                bail!("{message}; --drop-old --give-up drops all the same");
            }
            tracing::warn!("{message}");
            return Ok(());
        }
        match (self.args.give_up, awaited.until) {
            (true, _) => tracing::warn!("still waiting for {name}"),
            (false, None) => {
                tracing::warn!(
                    "still waiting for {name}; --give-up ends that when nothing goes on"
                );
            }
            (false, Some(until)) => {
                let seconds = until.duration_since(Instant::now()).as_secs();
                tracing::warn!(
                    "still waiting for {name}, {seconds} s at most; --give-up ends that when nothing goes on"
                );
            }
        }
        Ok(())
    }

    async fn has_worker(&self, model: &ModelId) -> anyhow::Result<bool> {
        let workers = self.bus.workers().await?;
        let has_it = |worker: &WorkerInfo| {
            worker.name == ENCODE_SERVICE
                && worker.facts.get("model").is_some_and(|its| its == model.as_str())
        };
        Ok(workers.iter().any(has_it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_has_not_stalled() {
        let patience = Duration::from_secs(30);
        let mut progress = Progress::begin();
        let mut now = progress.at;
        for (reached, expected) in [(7, false), (8, false), (8, true), (7, true), (9, false)] {
            now += patience + Duration::from_secs(1);
            assert_eq!(progress.has_stalled(reached, now, patience), expected, "{reached}");
        }
    }
}
