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

/// How far queues had moved when they last did, and when that was; nothing before the first look.
#[derive(Debug, Default)]
pub(super) struct Progress(Option<(u64, Instant)>);

/// Queues whose workers are awaited, each up to a message.
struct Awaited<'a> {
    queues: Vec<(Pull, u64)>,
    /// Whose lane they are; none of those that all models share.
    model: Option<&'a ModelId>,
    /// When nothing that they have can be from before any more.
    until: Option<Instant>,
}

impl Progress {
    /// Whether they have not moved for longer than `patience`, by `Reached::moved` of all of them.
    pub(super) fn has_stalled(&mut self, moved: u64, now: Instant, patience: Duration) -> bool {
        match self.0 {
            Some((before, since)) if moved <= before => now.duration_since(since) > patience,
            _ => {
                self.0 = Some((moved, now));
                false
            }
        }
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
        // because: what workers have at hand there is the same, whichever generation is asked about
        let shared = self.shared_settled.get_or_try_init(|| self.until_shared_settled(bar));
        let is_shared_settled = *shared.await?;
        // because: what workers had at hand may have been passed on
        let up_to = self.bus.last_sequence(LANES_STREAM).await?;
        let queues = weimocir_encode::lane(former, 1, ACK_WAIT).map(|queue| (queue, up_to)).into();
        let lane = Awaited { queues, model: Some(former), until: None };
        let is_lane_settled = self.until_reached(&lane, bar).await?;
        bar.set_message("");
        Ok(is_shared_settled && is_lane_settled)
    }

    /// As `until_settled`, of the queues that all models share.
    async fn until_shared_settled(&self, bar: &ProgressBar) -> anyhow::Result<bool> {
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
        self.until_reached(&Awaited { queues, model: None, until }, bar).await
    }

    async fn until_reached(
        &self,
        awaited: &Awaited<'_>,
        bar: &ProgressBar,
    ) -> anyhow::Result<bool> {
        let (mut progress, mut next_word, mut pause) =
            (Progress::default(), Instant::now() + STALL, STALL);
        loop {
            let (moved, left) = self.reached(&awaited.queues).await?;
            let now = Instant::now();
            if left == 0 || awaited.until.is_some_and(|until| now > until) {
                return Ok(true);
            }
            let name = awaited.name(left);
            bar.set_message(format!(", waiting for {name}"));
            let has_stalled = |patience| progress.has_stalled(moved, now, patience);
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

    /// How far the queues have moved, all together, and how much is left where not everything is settled that
    /// is awaited.
    async fn reached(&self, queues: &[(Pull, u64)]) -> Result<(u64, u64), BusError> {
        let (mut moved, mut left) = (0, 0);
        for (Pull { stream, durable, .. }, up_to) in queues {
            let now = self.bus.reached(stream, durable).await?;
            moved += now.moved();
            if now.settled < *up_to {
                left += now.left;
            }
        }
        Ok((moved, left))
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
    use weimocir_runtime::Reached;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn what_goes_on_has_not_stalled() {
        let mut progress = Progress::default();
        let mut now = Instant::now();
        for (moved, expected) in [(7, false), (8, false), (8, true), (7, true), (9, false)] {
            now += PATIENCE + Duration::from_secs(1);
            assert_eq!(progress.has_stalled(moved, now, PATIENCE), expected, "{moved}");
        }
    }

    #[test]
    fn a_delivery_that_is_never_settled_is_no_standstill_of_the_others() {
        let reached = |handed_out, in_work, left| Reached { handed_out, settled: 7, in_work, left };
        let before = reached(500, 100, 300);
        for (what, after, expected) in [
            ("nothing", before, true),
            ("more is submitted", reached(500, 100, 900), true),
            ("one is settled", reached(500, 99, 299), false),
            ("one is handed out", reached(501, 101, 300), false),
            ("as many are settled as are handed out", reached(600, 100, 200), false),
            ("all but one are settled", reached(700, 1, 1), false),
        ] {
            let (mut progress, now) = (Progress::default(), Instant::now());
            assert!(!progress.has_stalled(before.moved(), now, PATIENCE), "{what}");
            assert!(!progress.has_stalled(before.moved(), now + PATIENCE, PATIENCE), "{what}");
            let later = now + PATIENCE + Duration::from_secs(1);
            assert_eq!(progress.has_stalled(after.moved(), later, PATIENCE), expected, "{what}");
        }
    }
}
