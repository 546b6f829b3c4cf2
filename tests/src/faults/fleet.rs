//! Workers under a supervisor that starts again whatever ended, as an orchestrator would.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;

use crate::pipeline::{Kind, Pipeline, Worker};

/// Work that a dead worker held comes again after so many seconds; because rounds shall be short.
const ACK_WAIT: &str = "4";

#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) pipeline: Pipeline,
    workers: Vec<Worker>,
    /// What all workers are started with.
    environment: Vec<(String, String)>,
    /// Workers that ended by themselves and were started again.
    pub(super) revived: usize,
}

impl Fleet {
    /// Two encode and two query workers, a store and a captioner, which all answer.
    pub(super) async fn start(
        pipeline: Pipeline,
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        let mut fleet = Self { pipeline, workers: Vec::new(), environment, revived: 0 };
        let kinds =
            [Kind::Store, Kind::Encode, Kind::Encode, Kind::Caption, Kind::Query, Kind::Query];
        for kind in kinds {
            fleet.add(kind)?;
        }
        for (kind, count) in
            [(Kind::Store, 1), (Kind::Encode, 2), (Kind::Caption, 1), (Kind::Query, 2)]
        {
            fleet.pipeline.until_alive(kind, count).await?;
        }
        Ok(fleet)
    }

    pub(super) fn add(&mut self, kind: Kind) -> anyhow::Result<()> {
        let args: &[&str] = match kind {
            Kind::Encode => &["--encode-ack-wait", ACK_WAIT],
            Kind::Caption => &["--caption-ack-wait", ACK_WAIT],
            Kind::Store | Kind::Query | Kind::Gateway => &[],
        };
        let worker = self.pipeline.start_with(kind, args, &self.environment)?;
        self.workers.push(worker);
        Ok(())
    }

    /// SIGKILL for one of a kind, which is not started again.
    pub(super) async fn kill(&mut self, kind: Kind, rng: &mut ChaCha8Rng) -> anyhow::Result<()> {
        let one = self.one(kind, rng)?;
        self.workers.swap_remove(one).kill().await
    }

    /// SIGSTOP for one of a kind, and SIGCONT after a while.
    pub(super) async fn freeze(
        &mut self,
        kind: Kind,
        away: Duration,
        rng: &mut ChaCha8Rng,
    ) -> anyhow::Result<()> {
        let one = self.one(kind, rng)?;
        let id = self.workers[one].id().context("it has ended")?;
        signal(id, "STOP").await?;
        sleep(away).await;
        signal(id, "CONT").await
    }

    /// A store whose disk is full after so many blocks of 512 bytes; runs until it ends or some seconds
    /// are over, and is then replaced by one that has room.
    pub(super) async fn fill_the_disk(&mut self, blocks: u32) -> anyhow::Result<()> {
        let full = self.pipeline.start_with_full_disk(Kind::Store, blocks)?;
        // because: one that never ends is killed when it is dropped, at the latest then
        drop(tokio::time::timeout(Duration::from_secs(4), full.ended()).await);
        self.add(Kind::Store)
    }

    fn one(&self, kind: Kind, rng: &mut ChaCha8Rng) -> anyhow::Result<usize> {
        let own: Vec<usize> =
            (0..self.workers.len()).filter(|&n| self.workers[n].kind() == kind).collect();
        ensure!(!own.is_empty(), "there is no {}", kind.name());
        Ok(own[rng.random_range(0..own.len())])
    }

    /// Starts again what ended, for ever.
    pub(super) async fn supervise(&mut self) -> anyhow::Error {
        loop {
            sleep(Duration::from_millis(100)).await;
            if let Err(error) = self.revive() {
                return error;
            }
        }
    }

    fn revive(&mut self) -> anyhow::Result<()> {
        for n in (0..self.workers.len()).rev() {
            if !self.workers[n].is_running()? {
                let kind = self.workers.swap_remove(n).kind();
                self.add(kind)?;
                self.revived += 1;
            }
        }
        Ok(())
    }

    /// Where the stores keep what they have.
    pub(super) fn disk(&self) -> PathBuf {
        self.pipeline.folder().join("store")
    }
}

async fn signal(id: u32, name: &str) -> anyhow::Result<()> {
    let name = format!("-{name}");
    let status =
        tokio::process::Command::new("kill").args([&name, &id.to_string()]).status().await?;
    ensure!(status.success(), "kill {name} {id} failed");
    Ok(())
}
