//! Three nats-servers that hold every stream three times.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{Instant, sleep},
};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Node {
    name: String,
    client: u16,
    monitor: u16,
    config: PathBuf,
    child: Option<Child>,
}

#[derive(Debug)]
pub(super) struct Cluster {
    program: PathBuf,
    nodes: Vec<Node>,
    /// Kept until the end.
    _folder: TempDir,
}

impl Cluster {
    pub(super) async fn start(program: PathBuf) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = free_ports(9).await?;
        let routes: Vec<String> =
            ports[6..].iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let mut nodes = Vec::new();
        for n in 0..3 {
            let (name, (client, monitor, route)) =
                (format!("n{n}"), (ports[n], ports[3 + n], ports[6 + n]));
            let config = folder.path().join(format!("{name}.conf"));
            let streams = folder.path().join(&name);
            std::fs::write(
                &config,
                format!(
                    "server_name: {name}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
                     max_payload: 8MB\njetstream {{ store_dir: {:?} }}\n\
                     cluster {{ name: c, listen: \"127.0.0.1:{route}\", routes: {routes:?} }}\n",
                    streams.display().to_string()
                ),
            )?;
            nodes.push(Node { name, client, monitor, config, child: None });
        }
        let mut cluster = Self { program, nodes, _folder: folder };
        (0..3).try_for_each(|n| cluster.run(n))?;
        cluster.until_ready().await?;
        Ok(cluster)
    }

    /// Of all servers.
    pub(super) fn url(&self) -> String {
        let urls: Vec<String> =
            self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.client)).collect();
        urls.join(",")
    }

    fn run(&mut self, n: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[n];
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(node.config.with_extension("log"))?;
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&node.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        node.child = Some(child);
        Ok(())
    }

    /// Kills the server that leads this stream, and starts it again after a while.
    pub(super) async fn kill_leader(&mut self, stream: &str, away: Duration) -> anyhow::Result<()> {
        let leader = self.leader(stream).await?;
        let n = self.nodes.iter().position(|node| node.name == leader);
        let n = n.with_context(|| format!("{leader} leads {stream}, and is no node"))?;
        let child = self.nodes[n].child.as_mut().context("the leader does not run")?;
        child.kill().await?;
        sleep(away).await;
        self.run(n)?;
        self.until_ready().await
    }

    async fn leader(&self, stream: &str) -> anyhow::Result<String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for node in &self.nodes {
                let Ok(told) = get(node.monitor, "/jsz?streams=true").await else { continue };
                let accounts = told["account_details"].as_array().into_iter().flatten();
                let streams =
                    accounts.flat_map(|a| a["stream_detail"].as_array().into_iter().flatten());
                let mut leaders = streams.filter(|detail| detail["name"] == stream);
                if let Some(leader) =
                    leaders.find_map(|detail| detail["cluster"]["leader"].as_str())
                {
                    return Ok(leader.to_owned());
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("nobody leads {stream}")
    }

    /// Waits until every server says that it is well.
    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut well = 0;
        while well < self.nodes.len() {
            ensure!(Instant::now() < until, "the cluster does not get ready: {}", self.logs());
            well = 0;
            for node in &self.nodes {
                let health = get(node.monitor, "/healthz").await;
                well += usize::from(health.is_ok_and(|told| told["status"] == "ok"));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn logs(&self) -> String {
        let last = |path: &Path| {
            let log = std::fs::read_to_string(path.with_extension("log")).unwrap_or_default();
            log.lines().last().unwrap_or("no log").to_owned()
        };
        self.nodes.iter().map(|node| last(&node.config)).collect::<Vec<_>>().join("; ")
    }
}

/// All different: each is taken before any is given back.
async fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    Ok(taken.iter().map(|port| Ok(port.local_addr()?.port())).collect::<std::io::Result<_>>()?)
}

/// What a server's monitoring says, if it says so at once.
async fn get(port: u16, path: &str) -> anyhow::Result<Value> {
    let answer = tokio::time::timeout(Duration::from_secs(2), asked(port, path)).await??;
    Ok(serde_json::from_str(&answer)?)
}

async fn asked(port: u16, path: &str) -> anyhow::Result<String> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    server.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    server.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok(body.to_owned())
}
