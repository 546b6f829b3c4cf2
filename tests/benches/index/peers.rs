//! The other side of `index_peers.py`: one process that stays while our own searches alternate with
//! its.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Case;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/index_peers.py");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Flat,
    FlatHalves,
    Quantized,
    Hnsw64,
    Hnsw256,
    Published,
    UsearchExact,
    UsearchHnsw,
}

impl Peer {
    /// As `index_peers.py` reads it.
    fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::FlatHalves => "flat-halves",
            Self::Quantized => "sq8",
            Self::Hnsw64 => "hnsw-64",
            Self::Hnsw256 => "hnsw-256",
            Self::Published => "published",
            Self::UsearchExact => "usearch-exact",
            Self::UsearchHnsw => "usearch-hnsw",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Flat => "FAISS Flat",
            Self::FlatHalves => "FAISS Flat, a half per thread",
            Self::Quantized => "FAISS SQ8",
            Self::Hnsw64 => "FAISS HNSW, efSearch 64",
            Self::Hnsw256 => "FAISS HNSW, efSearch 256",
            Self::Published => "published way (torch)",
            Self::UsearchExact => "usearch exact",
            Self::UsearchHnsw => "usearch HNSW",
        }
    }

    /// Whether it reads every image for a query, so that bytes per second mean something.
    pub(crate) fn scans(self) -> bool {
        !matches!(self, Self::Hnsw64 | Self::Hnsw256 | Self::UsearchHnsw)
    }

    /// Whether the case says anything of it.
    pub(crate) fn fits(self, case: Case) -> bool {
        self != Self::FlatHalves || (case.threads == 2 && case.batch == 1)
    }
}

/// `index_peers.py`, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Peers {
    process: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Peers {
    pub(crate) fn start(python: &Path, folder: &Path, dim: usize) -> anyhow::Result<Self> {
        let mut process = Command::new(python)
            .arg(SCRIPT)
            .arg(folder)
            .arg(dim.to_string())
            // because: they get huge pages as our own index does
            .env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", python.display()))?;
        let say = process.stdin.take().context("no pipe")?;
        let hear = BufReader::new(process.stdout.take().context("no pipe")?);
        let mut peers = Self { process, say, hear };
        eprintln!("peers: {}", peers.line()?);
        Ok(peers)
    }

    /// Bytes per image.
    pub(crate) fn load(&mut self, peer: Peer, rows: usize) -> anyhow::Result<f64> {
        let loaded = self.ask(json!({"do": "load", "peer": peer.name(), "rows": rows}))?;
        let seconds: f64 = field(&loaded, "seconds")?;
        eprintln!("{} over {rows} images: built in {seconds:.1} s", peer.title());
        field(&loaded, "bytes_per_image")
    }

    /// Milliseconds of each call made within `seconds`, at least one.
    pub(crate) fn time(
        &mut self,
        peer: Peer,
        case: Case,
        first: usize,
        seconds: f64,
    ) -> anyhow::Result<Vec<f64>> {
        let Case { threads, k, batch } = case;
        let asked = json!({
            "do": "time", "peer": peer.name(), "threads": threads, "k": k, "batch": batch,
            "first": first, "seconds": seconds,
        });
        field(&self.ask(asked)?, "ms")
    }

    /// The K nearest of every query, best first.
    pub(crate) fn answers(&mut self, peer: Peer, k: usize) -> anyhow::Result<Vec<Vec<u32>>> {
        field(&self.ask(json!({"do": "answers", "peer": peer.name(), "k": k}))?, "ids")
    }

    pub(crate) fn drop(&mut self, peer: Peer) -> anyhow::Result<()> {
        self.ask(json!({"do": "drop", "peer": peer.name()})).map(drop)
    }

    fn ask(&mut self, asked: Value) -> anyhow::Result<Value> {
        writeln!(self.say, "{asked}")?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the peers said \"{line}\""))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.hear.read_line(&mut line)? == 0 {
            bail!("the peers stopped: {}", self.process.wait()?);
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("the peers could not be stopped: {error}");
        }
    }
}

fn field<T: DeserializeOwned>(answer: &Value, name: &str) -> anyhow::Result<T> {
    T::deserialize(&answer[name]).with_context(|| format!("no {name} in {answer}"))
}
