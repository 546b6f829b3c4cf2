//! A nats-server and workers of its own for one test, each a process, all ended with it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::Mutex,
    time::{Instant, sleep},
};
use weimocir_cli::NatsServer;
use weimocir_runtime::{Bus, NatsArgs, Patience};
use weimocir_wire::names;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Caption,
    Encode,
    Store,
    Query,
    Gateway,
}

impl Kind {
    /// Those that a pipeline needs.
    pub const ALL: [Self; 4] = [Self::Store, Self::Encode, Self::Caption, Self::Query];

    /// The program's and the service's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caption => names::CAPTION_SERVICE,
            Self::Encode => names::ENCODE_SERVICE,
            Self::Store => names::STORE_SERVICE,
            Self::Query => names::QUERY_SERVICE,
            Self::Gateway => names::GATEWAY_SERVICE,
        }
    }
}

/// What a gateway's log says before its address.
const READY: &str = "gateway ready url=";

#[derive(Debug)]
pub struct Pipeline {
    server: Mutex<Option<NatsServer>>,
    url: String,
    folder: TempDir,
    /// Whether each program gets the key of its role.
    keys: bool,
}

/// Whom the server knows each program as, where it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Caption,
    Encode,
    Store,
    Query,
    Gateway,
    Client,
    Admin,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Caption => "caption",
            Self::Encode => "encode",
            Self::Store => "store",
            Self::Query => "query",
            Self::Gateway => "gateway",
            Self::Client => "client",
            Self::Admin => "admin",
        }
    }
}

impl From<Kind> for Role {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Caption => Self::Caption,
            Kind::Encode => Self::Encode,
            Kind::Store => Self::Store,
            Kind::Query => Self::Query,
            Kind::Gateway => Self::Gateway,
        }
    }
}

#[derive(Debug)]
pub struct Worker {
    kind: Kind,
    child: Child,
}

/// What a command of the `weimocir` program came to.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// # Errors
    /// An exit code other than 0, or output that is no JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        ensure!(self.code == 0, "exit code {}: {}{}", self.code, self.stdout, self.stderr);
        self.json_of_any()
    }

    /// The JSON printed, whatever the exit code.
    pub fn json_of_any(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("no JSON: {}{}", self.stdout, self.stderr))
    }
}

impl Pipeline {
    /// A nats-server and nothing else.
    pub async fn bare() -> anyhow::Result<Self> {
        Self::bare_in(tempfile::tempdir()?).await
    }

    /// A nats-server and nothing else, with everything in this folder.
    pub async fn bare_in(folder: TempDir) -> anyhow::Result<Self> {
        let server = NatsServer::start(&nats_server()?, &folder.path().join("nats"), None).await?;
        Ok(Self {
            url: server.url().to_owned(),
            server: Mutex::new(Some(server)),
            folder,
            keys: false,
        })
    }

    /// A nats-server and nothing else, which tells how it does over HTTP: at the address beside it.
    pub async fn monitored() -> anyhow::Result<(Self, String)> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("nats.conf");
        std::fs::write(&config, "http: \"127.0.0.1:-1\"\njetstream { sync_interval: always }\n")?;
        let server =
            NatsServer::start_by(&nats_server()?, &config, &folder.path().join("nats")).await?;
        let monitor = server.monitor().context("the server is not monitored")?.to_owned();
        let url = server.url().to_owned();
        Ok((Self { url, server: Mutex::new(Some(server)), folder, keys: false }, monitor))
    }

    /// A nats-server by `deploy/nats`, which knows each role by its key and lets in nobody else.
    pub async fn locked() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats");
        let config = folder.path().join("nats.conf");
        std::fs::copy(deploy.join("nats.conf"), &config)?;
        let mut make = Command::new(deploy.join("make-keys"));
        make.arg("--out").arg(folder.path().join("secrets")).args(["--host", "127.0.0.1"]);
        let made = make.output().await.context("cannot run make-keys")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let server =
            NatsServer::start_by(&nats_server()?, &config, &folder.path().join("nats")).await?;
        let url = server.url().replace("nats://", "tls://");
        Ok(Self { url, server: Mutex::new(Some(server)), folder, keys: true })
    }

    /// Where a role's key and certificate are.
    pub fn secret(&self, file: &str) -> PathBuf {
        self.folder().join("secrets").join(file)
    }

    /// How a role reaches the server.
    pub fn nats(&self, role: Role) -> NatsArgs {
        let args = NatsArgs { url: self.url.clone(), ..NatsArgs::default() };
        if !self.keys {
            return args;
        }
        let name = role.name();
        NatsArgs {
            ca: Some(self.secret("ca.pem")),
            certificate: Some(self.secret(&format!("{name}.pem"))),
            key: Some(self.secret(&format!("{name}-key.pem"))),
            nkey: Some(self.secret(&format!("{name}.nk"))),
            inbox: format!("_INBOX_{name}"),
            ..args
        }
    }

    /// The environment that tells a program so.
    fn environment(&self, role: Role) -> anyhow::Result<Vec<(String, String)>> {
        let mut variables = Vec::new();
        if self.keys {
            let text = std::fs::read_to_string(self.secret(&format!("{}.env", role.name())))?;
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            variables.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        variables.push(("WEIMOCIR_NATS".to_owned(), self.url.clone()));
        Ok(variables)
    }

    /// Servers of somebody else.
    pub(crate) fn at(url: String) -> anyhow::Result<Self> {
        Ok(Self { url, server: Mutex::new(None), folder: tempfile::tempdir()?, keys: false })
    }

    /// A nats-server and one worker of each kind.
    pub async fn complete() -> anyhow::Result<(Self, Vec<Worker>)> {
        let pipeline = Self::bare().await?;
        let workers = pipeline.start_all().await?;
        Ok((pipeline, workers))
    }

    /// Starts one worker of each kind, and waits for them.
    pub async fn start_all(&self) -> anyhow::Result<Vec<Worker>> {
        let workers = Kind::ALL.map(|kind| self.start(kind, &[]));
        let workers = workers.into_iter().collect::<anyhow::Result<_>>()?;
        for kind in Kind::ALL {
            self.until_alive(kind, 1).await?;
        }
        Ok(workers)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn bus(&self) -> anyhow::Result<Bus> {
        self.bus_as(Role::Admin).await
    }

    pub async fn bus_as(&self, role: Role) -> anyhow::Result<Bus> {
        Ok(Bus::connect(&self.nats(role), "test", Patience::Command).await?)
    }

    /// Starts a worker process; its log goes to the folder.
    pub fn start(&self, kind: Kind, args: &[&str]) -> anyhow::Result<Worker> {
        self.start_as(kind, Command::new(program(kind.name())?).args(args))
    }

    /// As `start`, in an environment that goes before the pipeline's own.
    pub fn start_with(
        &self,
        kind: Kind,
        args: &[&str],
        environment: &[(String, String)],
    ) -> anyhow::Result<Worker> {
        let own = environment.iter().map(|(name, value)| (name, value));
        self.start_in(kind, Command::new(program(kind.name())?).args(args), own)
    }

    /// As `start`, on one core alone.
    pub fn start_on(&self, core: usize, kind: Kind, args: &[&str]) -> anyhow::Result<Worker> {
        self.start_as(kind, pinned(core, &program(kind.name())?).args(args))
    }

    /// As `start`, with a disk that is full once a file has so many blocks of 512 bytes.
    pub fn start_with_full_disk(&self, kind: Kind, blocks: u32) -> anyhow::Result<Worker> {
        self.start_as(kind, limited(blocks).arg(program(kind.name())?))
    }

    /// As `weimocir`, with a disk that is full once a file has so many blocks of 512 bytes.
    pub async fn weimocir_with_full_disk(
        &self,
        blocks: u32,
        args: &[&str],
    ) -> anyhow::Result<Outcome> {
        self.run(limited(blocks).arg(program("weimocir")?).args(args)).await
    }

    fn start_as(&self, kind: Kind, command: &mut Command) -> anyhow::Result<Worker> {
        self.start_in(kind, command, std::iter::empty::<(&str, &str)>())
    }

    fn start_in<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &self,
        kind: Kind,
        command: &mut Command,
        environment: impl Iterator<Item = (K, V)>,
    ) -> anyhow::Result<Worker> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder().join(format!("{}.log", kind.name())))?;
        let child = command
            .envs(self.environment(kind.into())?)
            .env("WEIMOCIR_STORE_DATA", self.folder().join("store"))
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Worker { kind, child })
    }

    /// Starts a gateway on a port of its own, and gives its address.
    pub async fn start_gateway(&self, args: &[&str]) -> anyhow::Result<(Worker, String)> {
        self.start_gateway_with(args, &[]).await
    }

    /// As `start_gateway`, in an environment that goes before the pipeline's own.
    pub async fn start_gateway_with(
        &self,
        args: &[&str],
        environment: &[(String, String)],
    ) -> anyhow::Result<(Worker, String)> {
        let started = self.log(Kind::Gateway).matches(READY).count();
        let args = [&["--listen", "127.0.0.1:0"], args].concat();
        let worker = self.start_with(Kind::Gateway, &args, environment)?;
        let address = || {
            let log = self.log(Kind::Gateway);
            let (at, _) = log.match_indices(READY).nth(started)?;
            Some(log[at + READY.len()..].lines().next()?.trim().to_owned())
        };
        until("a gateway", async || Ok(address().is_some())).await?;
        Ok((worker, address().context("the gateway's log lost its address")?))
    }

    /// Waits until `count` workers of a kind answer.
    pub async fn until_alive(&self, kind: Kind, count: usize) -> anyhow::Result<()> {
        let bus = self.bus().await?;
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let alive =
                bus.workers().await?.iter().filter(|worker| worker.name == kind.name()).count();
            if alive == count {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "{alive} of {count} {} are alive: {}",
                kind.name(),
                self.log(kind)
            );
        }
    }

    /// What the workers of a kind have logged.
    pub fn log(&self, kind: Kind) -> String {
        let path = self.folder().join(format!("{}.log", kind.name()));
        std::fs::read_to_string(path).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Runs the `weimocir` program to its end.
    pub async fn weimocir(&self, args: &[&str]) -> anyhow::Result<Outcome> {
        self.run(Command::new(program("weimocir")?).args(args)).await
    }

    /// As `weimocir`, with a role's key. Without keys there are no roles.
    pub async fn weimocir_as(&self, role: Role, args: &[&str]) -> anyhow::Result<Outcome> {
        self.run_as(role, Command::new(program("weimocir")?).args(args)).await
    }

    /// As `weimocir`, on one core alone.
    pub async fn weimocir_on(&self, core: usize, args: &[&str]) -> anyhow::Result<Outcome> {
        self.run(pinned(core, &program("weimocir")?).args(args)).await
    }

    /// The nats-server's process, while it runs.
    pub async fn server_id(&self) -> Option<u32> {
        self.server.lock().await.as_ref().and_then(NatsServer::id)
    }

    /// Moves the nats-server to one core.
    pub async fn pin_server(&self, core: usize) -> anyhow::Result<()> {
        let id = self.server_id().await.context("the server is gone")?;
        let pinned =
            Command::new("taskset").args(["-acp", &core.to_string(), &id.to_string()]).output();
        ensure!(pinned.await?.status.success(), "taskset cannot pin the nats-server");
        Ok(())
    }

    pub async fn run(&self, command: &mut Command) -> anyhow::Result<Outcome> {
        self.run_as(Role::Admin, command).await
    }

    async fn run_as(&self, role: Role, command: &mut Command) -> anyhow::Result<Outcome> {
        let running =
            command.envs(self.environment(role)?).stdin(Stdio::null()).kill_on_drop(true).output();
        let Output { status, stdout, stderr } =
            tokio::time::timeout(Duration::from_secs(600), running)
                .await
                .context("it does not end")??;
        Ok(Outcome {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout)?,
            stderr: String::from_utf8(stderr)?,
        })
    }

    /// SIGKILL for the nats-server, which is away for a while and then starts again with its streams.
    pub(crate) async fn kill_server(&self, away: Duration) -> anyhow::Result<()> {
        let id = self.server_id().await.context("the server is gone")?.to_string();
        ensure!(Command::new("kill").args(["-KILL", &id]).status().await?.success());
        sleep(away).await;
        self.restart_server().await
    }

    /// Stops the nats-server for good.
    pub async fn stop_server(&self) -> anyhow::Result<()> {
        match self.server.lock().await.take() {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Stops the nats-server and starts it again on its port, with its streams.
    pub async fn restart_server(&self) -> anyhow::Result<()> {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok());
        let mut held = self.server.lock().await;
        if let Some(server) = held.take() {
            server.stop().await?;
        }
        *held = Some(NatsServer::start(&nats_server()?, &self.folder().join("nats"), port).await?);
        Ok(())
    }
}

impl Worker {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The most memory that its process has had, in MiB.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let id = self.child.id().with_context(|| format!("{} has ended", self.kind.name()))?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
        Ok(kib.parse::<u64>()? / 1024)
    }

    pub(crate) fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// SIGKILL.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, and then its exit code.
    pub async fn stop(mut self) -> anyhow::Result<i32> {
        let Some(id) = self.child.id() else { bail!("{} ended by itself", self.kind.name()) };
        ensure!(Command::new("kill").args(["-TERM", &id.to_string()]).status().await?.success());
        let status = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        Ok(status.context("it does not stop")??.code().unwrap_or(-1))
    }

    /// Waits for its end and gives the exit code.
    pub async fn ended(mut self) -> anyhow::Result<i32> {
        let status = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        Ok(status.context("it does not end")??.code().unwrap_or(-1))
    }
}

/// Waits until `check` holds.
pub async fn until<F: Future<Output = anyhow::Result<bool>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while !check().await? {
        ensure!(Instant::now() < until, "{what} did not come about");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A program on one core, with as many threads for its matrix products.
pub fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.env("RAYON_NUM_THREADS", "1").args(["-c", &core.to_string()]).arg(program);
    command
}

/// Runs the program and arguments that it is given with a disk that is full once a file has so many
/// blocks of 512 bytes.
fn limited(blocks: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    command
}

/// A program of this build, which lies beside the test's own folder.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found =
        own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: run the tests by `make test`"))
}

pub(crate) fn nats_server() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("WEIMOCIR_NATS_SERVER")
        .context("WEIMOCIR_NATS_SERVER names no nats-server: run by `make`")?;
    Ok(PathBuf::from(named))
}
