//! Every worker replaced, one after the other, while people search.

use weimocir_catalogue::Split;
use weimocir_tests::{Kind, Pipeline, Searching, Worker, render, until};
use weimocir_wire::search::SearchRequest;

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

    let modifier = Some("a red dress".to_owned());
    let request = SearchRequest { modifier, k: Some(3), ..SearchRequest::default() };
    let searching = Searching::start(pairs.pipeline.bus().await?, request);
    for kind in Kind::ALL {
        pairs.replace(kind).await?;
        pairs.replace(kind).await?;
    }
    let all = searching.stop().await?;
    assert!(all > 100, "only {all} searches");
    Ok(())
}
