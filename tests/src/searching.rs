//! People who search while a test does something else.

use std::time::Duration;

use anyhow::ensure;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};
use weimocir_runtime::{Bus, CancellationToken};
use weimocir_wire::{
    search::{Refusal, SearchAnswer, SearchRequest},
    subjects,
};

/// Between two searches.
const PACE: Duration = Duration::from_millis(20);

/// 50 searches a second, whatever becomes of those before.
#[derive(Debug)]
pub struct Searching {
    stop: CancellationToken,
    task: JoinHandle<(Vec<String>, usize)>,
}

impl Searching {
    /// Each is this request, and is to find as many candidates as it names.
    pub fn start(bus: Bus, request: SearchRequest) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(search(bus, request, stop.clone()));
        Self { stop, task }
    }

    /// Ends it, and says how many searches there were.
    ///
    /// # Errors
    /// One of them failed.
    pub async fn stop(self) -> anyhow::Result<usize> {
        self.stop.cancel();
        let (failed, all) = self.task.await?;
        ensure!(failed.is_empty(), "{} of {all} searches failed: {failed:?}", failed.len());
        Ok(all)
    }
}

/// Those that failed, of all.
async fn search(bus: Bus, request: SearchRequest, stop: CancellationToken) -> (Vec<String>, usize) {
    let mut clock = interval(PACE);
    // because: a machine that was held up is not to be asked for all that it missed at once
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut searches: JoinSet<Result<SearchAnswer, Refusal>> = JoinSet::new();
    while !stop.is_cancelled() {
        clock.tick().await;
        let (bus, request) = (bus.clone(), request.clone());
        searches.spawn(
            async move { bus.ask(subjects::SEARCH, &request, Duration::from_secs(6)).await },
        );
    }
    let (mut failed, mut all) = (Vec::new(), 0);
    while let Some(search) = searches.join_next().await {
        all += 1;
        match search {
            Ok(Ok(answer)) if !answer.partial && Some(answer.candidates.len()) == request.k => {}
            Ok(Ok(answer)) if answer.partial => {
                failed.push(format!("partial: {:?}", answer.missing_shards));
            }
            Ok(Ok(answer)) => failed.push(format!("{} candidates", answer.candidates.len())),
            Ok(Err(refusal)) => failed.push(refusal.to_string()),
            Err(error) => failed.push(error.to_string()),
        }
    }
    (failed, all)
}
