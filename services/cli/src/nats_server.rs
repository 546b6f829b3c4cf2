//! A nats-server of one's own: started for `up`, `demo` and tests, stopped with them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// What the server may send in one message.
// because: a reference picture travels inside a search request, and 8 MB is NATS's advised maximum
const MAX_PAYLOAD: &str = "8MB";

#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    url: String,
    /// Where it tells how it does, if its configuration says so.
    monitor: Option<String>,
}

impl NatsServer {
    /// Starts the program at `path` with its streams in `folder`, on `port` of the loopback
    /// address, or on a free one.
    ///
    /// # Errors
    /// No such program, a folder that cannot be written, or a port that is taken.
    pub async fn start(path: &Path, folder: &Path, port: Option<u16>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let config = folder.join("nats.conf");
        std::fs::write(&config, configuration(&folder, port)).context("cannot write nats.conf")?;
        let mut command = Command::new(path);
        command.arg("--config").arg(&config);
        Self::run(command, &folder).await
    }

    /// As `start`, on a free port, by a configuration of one's own.
    ///
    /// # Errors
    /// As for `start`.
    pub async fn start_by(path: &Path, config: &Path, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let mut command = Command::new(path);
        // because: files that a configuration names are found from where the server starts
        command.current_dir(config.parent().context("a configuration lies in a folder")?);
        command.arg("--config").arg(config).args(["--addr", "127.0.0.1", "--port", "-1"]);
        command.arg("--store_dir").arg(folder.join("jetstream"));
        Self::run(command, &folder).await
    }

    async fn run(mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let ports = folder.join("ports");
        std::fs::create_dir_all(&ports)?;
        let log =
            std::fs::File::create(folder.join("nats.log")).context("cannot write nats.log")?;
        let child = command
            .arg("--ports_file_dir")
            .arg(&ports)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // because: a Ctrl-C is for this program, which then stops the server last
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the nats-server")?;
        let mut server = Self { child, url: String::new(), monitor: None };
        let Ports { nats, monitoring } = server.wait_until_ready(folder, &ports).await?;
        (server.url, server.monitor) = (nats, monitoring);
        Ok(server)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn monitor(&self) -> Option<&str> {
        self.monitor.as_deref()
    }

    /// The process id, for as long as it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    async fn wait_until_ready(&mut self, folder: &Path, ports: &Path) -> anyhow::Result<Ports> {
        let until = Instant::now() + Duration::from_secs(20);
        let file = self.child.id().map(|id| ports.join(format!("nats-server_{id}.ports")));
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(folder.join("nats.log"))
                    .unwrap_or_else(|e| e.to_string());
                let last =
                    log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no log");
                bail!("nats-server ended at once ({status}): {last}");
            }
            if let Some(ports) = file.as_deref().and_then(Ports::read) {
                return Ok(ports);
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("nats-server did not get ready within 20 seconds; see {}/nats.log", folder.display())
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            let asked = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await;
            if !asked.is_ok_and(|status| status.success()) {
                self.child.start_kill()?;
            }
        }
        self.child.wait().await.context("nats-server did not end")?;
        Ok(())
    }
}

fn configuration(folder: &Path, port: Option<u16>) -> String {
    let port = port.map_or(-1, i32::from);
    // because: with one copy of the streams, an acknowledgement must mean that the disk has it
    format!(
        "listen: \"127.0.0.1:{port}\"\nmax_payload: {MAX_PAYLOAD}\njetstream {{\n  store_dir: {:?}\n  sync_interval: always\n}}\n",
        folder.join("jetstream").display().to_string()
    )
}

/// The addresses in the file that the server writes when it listens.
struct Ports {
    nats: String,
    monitoring: Option<String>,
}

impl Ports {
    fn read(file: &Path) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Written {
            nats: Vec<String>,
            #[serde(default)]
            monitoring: Vec<String>,
        }
        let text = std::fs::read(file).ok()?;
        let Written { nats, monitoring } = serde_json::from_slice(&text).ok()?;
        Some(Self { nats: nats.into_iter().next()?, monitoring: monitoring.into_iter().next() })
    }
}

/// The nats-server to use: the one named, or the first on PATH.
pub(crate) fn find(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("nats-server"))
        .find(|candidate| candidate.is_file())
        .context("there is no nats-server on PATH: `make setup` fetches one, or name it with --nats-server")
}
