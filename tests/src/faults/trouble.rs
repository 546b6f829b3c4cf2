//! What goes wrong in a round, at random moments while pictures are submitted.

use std::{
    fmt, fs,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;
use weimocir_domain::{Collection, Shard};
use weimocir_wire::names;

use super::{
    cluster::Cluster,
    fleet::Fleet,
    proxy::{Proxy, Weather},
};
use crate::pipeline::{Kind, Pipeline};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, three times.
    Killed(Kind),
    /// SIGSTOP for a while, often longer than work may stay unacknowledged.
    Frozen(Kind),
    /// SIGKILL of the only nats-server.
    ServerKilled,
    /// SIGKILL of the server that leads a stream, twice, in a cluster of three.
    LeaderKilled,
    /// Up to 300 ms between workers and NATS.
    SlowNetwork,
    /// All connections closed, four times.
    CutNetwork,
    /// Ten seconds in which nothing arrives, and nobody is told.
    SilentNetwork,
    /// All work three times, late and in any order.
    Repeated,
    DiskDeleted,
    DiskTruncated,
    DiskFlipped,
    DiskFull,
    /// The workers' wall clocks an hour ahead, then an hour behind.
    ClockStepped,
}

impl Fault {
    pub const ALL: [Self; 19] = [
        Self::Killed(Kind::Encode),
        Self::Killed(Kind::Caption),
        Self::Killed(Kind::Store),
        Self::Killed(Kind::Query),
        Self::Frozen(Kind::Encode),
        Self::Frozen(Kind::Caption),
        Self::Frozen(Kind::Store),
        Self::Frozen(Kind::Query),
        Self::ServerKilled,
        Self::LeaderKilled,
        Self::SlowNetwork,
        Self::CutNetwork,
        Self::SilentNetwork,
        Self::Repeated,
        Self::DiskDeleted,
        Self::DiskTruncated,
        Self::DiskFlipped,
        Self::DiskFull,
        Self::ClockStepped,
    ];

    /// Whether workers reach NATS by a network that can fail.
    pub(super) fn needs_proxy(self) -> bool {
        matches!(self, Self::SlowNetwork | Self::CutNetwork | Self::SilentNetwork)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(kind) => write!(f, "{} killed", kind.name()),
            Self::Frozen(kind) => write!(f, "{} frozen", kind.name()),
            Self::ServerKilled => f.write_str("nats-server killed"),
            Self::LeaderKilled => f.write_str("stream leader killed twice, of three servers"),
            Self::SlowNetwork => f.write_str("network slow"),
            Self::CutNetwork => f.write_str("connections cut"),
            Self::SilentNetwork => f.write_str("network silent for 10 s"),
            Self::Repeated => f.write_str("all work three times, in any order"),
            Self::DiskDeleted => f.write_str("store's disk deleted"),
            Self::DiskTruncated => f.write_str("store's disk truncated"),
            Self::DiskFlipped => f.write_str("bits flipped on the store's disk"),
            Self::DiskFull => f.write_str("store's disk full"),
            Self::ClockStepped => f.write_str("clocks stepped by an hour"),
        }
    }
}

/// What a fault can strike.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) fleet: Fleet,
    pub(super) proxy: Option<Proxy>,
    pub(super) cluster: Option<Cluster>,
}

impl Scene {
    pub(super) async fn strike(
        &mut self,
        fault: Fault,
        collection: &Collection,
        rng: &mut ChaCha8Rng,
    ) -> anyhow::Result<()> {
        sleep(some_milliseconds(rng, 100..800)).await;
        match fault {
            Fault::Killed(kind) => {
                for _ in 0..3 {
                    self.fleet.kill(kind, rng).await?;
                    sleep(some_milliseconds(rng, 0..500)).await;
                    self.fleet.add(kind)?;
                    sleep(some_milliseconds(rng, 100..700)).await;
                }
                Ok(())
            }
            Fault::Frozen(kind) => {
                let away = some_milliseconds(rng, 1_000..8_000);
                self.fleet.freeze(kind, away, rng).await
            }
            Fault::ServerKilled => {
                self.fleet.pipeline.kill_server(some_milliseconds(rng, 100..2_000)).await
            }
            Fault::LeaderKilled => self.kill_leaders(collection, rng).await,
            Fault::SlowNetwork | Fault::CutNetwork | Fault::SilentNetwork => {
                let proxy = self.proxy.as_ref().context("there is no proxy")?;
                disturb(proxy, fault, rng).await;
                Ok(())
            }
            Fault::Repeated => Ok(()),
            Fault::DiskDeleted | Fault::DiskTruncated | Fault::DiskFlipped => {
                self.fleet.kill(Kind::Store, rng).await?;
                damage(&self.fleet.disk(), fault, rng)?;
                self.fleet.add(Kind::Store)
            }
            Fault::DiskFull => {
                self.fleet.kill(Kind::Store, rng).await?;
                self.fleet.fill_the_disk(rng.random_range(64..1_024)).await
            }
            Fault::ClockStepped => {
                for seconds in ["3600", "-3600", "0"] {
                    fs::write(clock(&self.fleet.pipeline), seconds)?;
                    sleep(some_milliseconds(rng, 300..900)).await;
                }
                Ok(())
            }
        }
    }

    async fn kill_leaders(
        &mut self,
        collection: &Collection,
        rng: &mut ChaCha8Rng,
    ) -> anyhow::Result<()> {
        let cluster = self.cluster.as_mut().context("there is no cluster")?;
        let log = names::vectors_stream(collection, Shard(0));
        for stream in [names::WORK_STREAM, &log] {
            cluster.kill_leader(stream, some_milliseconds(rng, 500..3_000)).await?;
        }
        Ok(())
    }
}

/// The file that says how far the workers' clocks are off.
pub(super) fn clock(pipeline: &Pipeline) -> PathBuf {
    pipeline.folder().join("clock")
}

fn some_milliseconds(rng: &mut ChaCha8Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

async fn disturb(proxy: &Proxy, fault: Fault, rng: &mut ChaCha8Rng) {
    match fault {
        Fault::SlowNetwork => {
            for _ in 0..6 {
                proxy.set(Weather::Slow(some_milliseconds(rng, 20..300)));
                sleep(Duration::from_millis(500)).await;
            }
        }
        Fault::CutNetwork => {
            for _ in 0..4 {
                proxy.cut();
                sleep(some_milliseconds(rng, 100..600)).await;
            }
        }
        _ => {
            proxy.set(Weather::Silent);
            sleep(Duration::from_secs(10)).await;
        }
    }
    proxy.set(Weather::Fair);
}

/// Spoils a folder that nobody has open.
fn damage(folder: &Path, fault: Fault, rng: &mut ChaCha8Rng) -> anyhow::Result<()> {
    if fault == Fault::DiskDeleted {
        return Ok(fs::remove_dir_all(folder)?);
    }
    let mut files = Vec::new();
    list(folder, &mut files)?;
    // because: most bytes are in few files, and the others are as interesting
    for _ in 0..3 {
        let (path, length) = &files[rng.random_range(0..files.len())];
        let file = fs::File::options().read(true).write(true).open(path)?;
        match fault {
            Fault::DiskTruncated => file.set_len(rng.random_range(0..*length))?,
            _ => (0..rng.random_range(1..8)).try_for_each(|_| flip(&file, *length, rng))?,
        }
    }
    Ok(())
}

fn flip(mut file: &fs::File, length: u64, rng: &mut ChaCha8Rng) -> std::io::Result<()> {
    let (at, mut byte) = (rng.random_range(0..length), [0]);
    file.seek(SeekFrom::Start(at))?;
    if file.read(&mut byte)? == 0 {
        return Ok(());
    }
    byte[0] ^= 1 << rng.random_range(0..8);
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&byte)
}

/// Files that have something in them, with their lengths.
fn list(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        if facts.is_dir() {
            list(&entry.path(), files)?;
        } else if facts.len() > 0 {
            files.push((entry.path(), facts.len()));
        }
    }
    files.sort_unstable();
    Ok(())
}
