//! Every worker replaced, one after the other, while people search.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use weimocir_catalogue::Split;
use weimocir_runtime::{Bus, CancellationToken};
use weimocir_tests::{Kind, Pipeline, Worker, render, until};
use weimocir_wire::{
    search::{Refusal, SearchAnswer, SearchRequest},
    subjects,
};

/// Between two searches.
const PACE: Duration = Duration::from_millis(20);

/// Two workers of each kind, and the pictures that they hold.
struct Pairs {
    pipeline: Pipeline,
    workers: Vec<Worker>,
    /// Stores started so far, each with a disk of its own.
    stores: usize,
}

impl Pairs {
    async fn start() -> anyhow::Result<Self> {
        let mut pairs = Self { pipeline: Pipeline::bare().await?, workers: Vec::new(), stores: 0 };
        for kind in Kind::ALL {
            pairs.add(kind)?;
            pairs.add(kind)?;
            pairs.pipeline.until_alive(kind, 2).await?;
        }
        Ok(pairs)
    }

    fn add(&mut self, kind: Kind) -> anyhow::Result<()> {
        self.stores += usize::from(kind == Kind::Store);
        let disk = self.pipeline.folder().join(format!("disk-{}", self.stores));
        let environment = [("WEIMOCIR_STORE_DATA".to_owned(), disk.display().to_string())];
        let worker = self.pipeline.start_with(kind, &[], &environment)?;
        self.workers.push(worker);
        Ok(())
    }

    /// The next one is ready before the last one is told to stop.
    async fn replace(&mut self, kind: Kind) -> anyhow::Result<()> {
        self.add(kind)?;
        self.pipeline.until_alive(kind, 3).await?;
        if kind == Kind::Store {
            until("the new store's shard", || async {
                Ok(self.pipeline.log(kind).matches("shard serves").count() == self.stores)
            })
            .await?;
        }
        let oldest = self.workers.iter().position(|worker| worker.kind() == kind);
        let oldest = self.workers.remove(oldest.unwrap_or_default());
        assert_eq!(oldest.stop().await?, 0, "{}", self.pipeline.log(kind));
        self.pipeline.until_alive(kind, 2).await
    }
}

/// 50 searches a second until told to stop; those that failed, of all.
async fn search(bus: Bus, stop: CancellationToken) -> (Vec<String>, usize) {
    let mut clock = interval(PACE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut searches: JoinSet<Result<SearchAnswer, Refusal>> = JoinSet::new();
    while !stop.is_cancelled() {
        clock.tick().await;
        let bus = bus.clone();
        searches.spawn(async move {
            let modifier = Some("a red dress".to_owned());
            let request = SearchRequest { modifier, k: Some(3), ..SearchRequest::default() };
            bus.ask(subjects::SEARCH, &request, Duration::from_secs(6)).await
        });
    }
    let (mut failed, mut all) = (Vec::new(), 0);
    while let Some(search) = searches.join_next().await {
        all += 1;
        match search {
            Ok(Ok(answer)) if !answer.partial && answer.candidates.len() == 3 => {}
            Ok(Ok(answer)) => failed.push(format!("partial: {:?}", answer.missing_shards)),
            Ok(Err(refusal)) => failed.push(refusal.to_string()),
            Err(error) => failed.push(error.to_string()),
        }
    }
    (failed, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_search_fails_while_every_worker_is_replaced() -> anyhow::Result<()> {
    let mut pairs = Pairs::start().await?;
    let pictures = pairs.pipeline.folder().join("pictures");
    render(Split::Test, 30, 96, &pictures)?;
    let path = pictures.display().to_string();
    assert_eq!(pairs.pipeline.weimocir(&["ingest", &path, "--wait"]).await?.code, 0);
    until("both stores' shards", || async {
        Ok(pairs.pipeline.log(Kind::Store).matches("shard serves").count() == 2)
    })
    .await?;

    let stop = CancellationToken::new();
    let searching = tokio::spawn(search(pairs.pipeline.bus().await?, stop.clone()));
    for kind in Kind::ALL {
        pairs.replace(kind).await?;
        pairs.replace(kind).await?;
    }
    stop.cancel();
    let (failed, all) = searching.await?;
    assert!(failed.is_empty(), "{} of {all} searches failed: {failed:?}", failed.len());
    assert!(all > 100, "only {all} searches");
    Ok(())
}
