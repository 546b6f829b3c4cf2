//! Reaching NATS, and refusing a server that is too old to be trusted.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, jetstream};
use tokio::time::{Instant, sleep};

/// Debian's 2.9 silently ignores what newer servers do; nothing before 2.11 is tested.
const OLDEST_SERVER: (u64, u64) = (2, 11);

/// Secrets come from files: an argument could be seen by every user of the machine.
#[derive(Debug, Clone, clap::Args)]
pub struct NatsArgs {
    /// NATS server, or several with commas between; tls://HOST:PORT encrypts
    // because: a URL may hold a password, which --help must not show
    #[arg(
        long = "nats",
        env = "WEIMOCIR_NATS",
        hide_env_values = true,
        default_value = DEFAULT_URL,
        value_name = "URL",
        global = true
    )]
    pub url: String,
    /// File with NATS credentials (JWT and nkey seed)
    #[arg(
        long = "nats-creds",
        env = "WEIMOCIR_NATS_CREDS",
        hide_env_values = true,
        value_name = "FILE",
        conflicts_with = "nkey",
        global = true
    )]
    pub credentials: Option<PathBuf>,
    /// File with the seed of the nkey that the server knows this program by
    #[arg(
        long = "nats-nkey",
        env = "WEIMOCIR_NATS_NKEY",
        hide_env_values = true,
        value_name = "FILE",
        global = true
    )]
    pub nkey: Option<PathBuf>,
    /// PEM file of the authority that the server's certificate must come from [default: the system's]
    #[arg(
        long = "nats-ca",
        env = "WEIMOCIR_NATS_CA",
        hide_env_values = true,
        value_name = "FILE",
        global = true
    )]
    pub ca: Option<PathBuf>,
    /// PEM file of this program's own certificate, for servers that ask for one
    #[arg(
        long = "nats-cert",
        env = "WEIMOCIR_NATS_CERT",
        hide_env_values = true,
        value_name = "FILE",
        requires = "key",
        global = true
    )]
    pub certificate: Option<PathBuf>,
    /// PEM file of that certificate's key
    #[arg(
        long = "nats-key",
        env = "WEIMOCIR_NATS_KEY",
        hide_env_values = true,
        value_name = "FILE",
        requires = "certificate",
        global = true
    )]
    pub key: Option<PathBuf>,
    /// Where answers come in: what the server lets this program, and nobody else, subscribe to
    #[arg(long = "nats-inbox", env = "WEIMOCIR_NATS_INBOX", default_value = DEFAULT_INBOX,
        value_name = "PREFIX", value_parser = inbox, global = true)]
    pub inbox: String,
    /// Copies that a cluster keeps of every stream that is made: 1, 3 or 5. Streams that are there
    /// stay as they are
    #[arg(
        long = "nats-replicas",
        env = "WEIMOCIR_NATS_REPLICAS",
        default_value_t = 1,
        value_name = "N",
        value_parser = clap::value_parser!(u8).range(1..=5),
        global = true
    )]
    pub replicas: u8,
}

const DEFAULT_URL: &str = "nats://127.0.0.1:4222";
const DEFAULT_INBOX: &str = "_INBOX";

impl Default for NatsArgs {
    fn default() -> Self {
        Self {
            url: DEFAULT_URL.into(),
            credentials: None,
            nkey: None,
            ca: None,
            certificate: None,
            key: None,
            inbox: DEFAULT_INBOX.into(),
            replicas: 1,
        }
    }
}

impl NatsArgs {
    /// The servers without what their URLs may hold of a login.
    pub fn shown_url(&self) -> String {
        let shown = |one: &str| match (one.split_once("://"), one.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            (_, None) => one.to_owned(),
        };
        let all: Vec<_> = servers(&self.url).iter().map(|one| shown(one)).collect();
        all.join(",")
    }
}

fn inbox(text: &str) -> Result<String, String> {
    let fits = |token: &str| {
        !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || c == '*' || c == '>')
    };
    match text.split('.').all(fits) {
        true => Ok(text.to_owned()),
        false => Err("it must be a subject without wildcards".into()),
    }
}

/// How long to try before saying that there is no server.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// One try: is there a server at all?
    Glance,
    /// A person waits for the answer.
    Command,
    /// Worker and server may be started together, in any order.
    Worker,
}

#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error(
        "no NATS server answers at {url}: {cause}. Start one (`make up`), or name it with --nats"
    )]
    Unreachable { url: String, cause: String },
    #[error("cannot read the NATS credentials {path}: {cause}")]
    Credentials { path: PathBuf, cause: std::io::Error },
    #[error("{path} holds no nkey seed of a user (a line that begins with SU)")]
    NoSeed { path: PathBuf },
    #[error(
        "the NATS server at {url} does not let this program in: {cause}. Name a key that it knows with --nats-nkey or --nats-creds"
    )]
    NotLetIn { url: String, cause: String },
    #[error(
        "no trusted connection to the NATS server at {url}: {cause}. Name the authority of its certificate with --nats-ca, and if it asks for one, a certificate with --nats-cert and --nats-key"
    )]
    Untrusted { url: String, cause: String },
    #[error("the NATS server at {url} is version {found}; 2.11 or newer is needed")]
    TooOld { url: String, found: String },
    #[error("the NATS server at {url} has no JetStream: start it with `--jetstream`. ({cause})")]
    NoJetStream { url: String, cause: String },
    #[error("failed to {action}: {cause}")]
    Failed { action: String, cause: String },
}

impl BusError {
    pub(crate) fn failed(action: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::Failed { action: action.into(), cause: cause.to_string() }
    }
}

/// A connection to NATS that has been checked: new enough, and with JetStream.
#[derive(Debug, Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    /// Of what is provisioned.
    pub(crate) replicas: usize,
}

impl Bus {
    /// `name` is what the server's monitoring shows for this connection.
    ///
    /// # Errors
    /// No server within the patience, one too old or without JetStream, or unreadable credentials.
    pub async fn connect(
        args: &NatsArgs,
        name: &str,
        patience: Patience,
    ) -> Result<Self, BusError> {
        let until = Instant::now()
            + match patience {
                Patience::Glance => Duration::ZERO,
                Patience::Command => Duration::from_secs(3),
                Patience::Worker => Duration::from_secs(30),
            };
        let client = loop {
            let error = match options(args, name)?.connect(servers(&args.url)).await {
                Ok(client) => break client,
                Err(error) => error,
            };
            if is_final(&error) || Instant::now() >= until {
                return Err(failure(args.shown_url(), &error));
            }
            tracing::debug!(%error, url = args.shown_url(), "nats does not answer yet");
            sleep(Duration::from_millis(250)).await;
        };
        let jetstream = jetstream::new(client.clone());
        let bus = Self { jetstream, client, replicas: usize::from(args.replicas) };
        bus.check(&args.shown_url()).await?;
        Ok(bus)
    }

    async fn check(&self, url: &str) -> Result<(), BusError> {
        let found = self.client.server_info().version;
        if !is_new_enough(&found) {
            return Err(BusError::TooOld { url: url.to_owned(), found });
        }
        match self.jetstream.query_account().await {
            Ok(_) => Ok(()),
            Err(e) => Err(BusError::NoJetStream { url: url.to_owned(), cause: e.to_string() }),
        }
    }

    /// The largest message that the server takes, in bytes.
    pub fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// Sends what is still buffered, then closes. Subscriptions must have ended before.
    pub async fn close(self) {
        // because: without a server there is nothing to flush to, however long one waits
        match tokio::time::timeout(Duration::from_secs(5), self.client.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "some messages may not have reached the server")
            }
            Err(_) => tracing::warn!("the server is away; some messages may not have reached it"),
        }
        if let Err(error) = self.client.drain().await {
            tracing::warn!(%error, "the connection did not close cleanly");
        }
    }
}

fn servers(url: &str) -> Vec<String> {
    url.split(',').map(|one| one.trim().to_owned()).collect()
}

fn options(args: &NatsArgs, name: &str) -> Result<ConnectOptions, BusError> {
    let mut options = ConnectOptions::new();
    if let Some(path) = &args.credentials {
        let text = secret(path)?;
        let unreadable = |cause| BusError::Credentials { path: path.clone(), cause };
        options = ConnectOptions::with_credentials(&text).map_err(unreadable)?;
    } else if let Some(path) = &args.nkey {
        let text = secret(path)?;
        let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
        let seed = seed.ok_or_else(|| BusError::NoSeed { path: path.clone() })?;
        options = ConnectOptions::with_nkey(seed.to_owned());
    }
    if let Some(path) = &args.ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    if let (Some(certificate), Some(key)) = (&args.certificate, &args.key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options
        .name(name)
        .custom_inbox_prefix(&args.inbox)
        .connection_timeout(Duration::from_secs(5))
        .event_callback(|event| async move { tell(&event) }))
}

fn secret(path: &Path) -> Result<String, BusError> {
    std::fs::read_to_string(path)
        .map_err(|cause| BusError::Credentials { path: path.to_owned(), cause })
}

/// What goes on beside requests. A server that forbids something says so here alone, and the request
/// runs out of time.
fn tell(event: &Event) {
    match event {
        Event::ServerError(error) => tracing::warn!("the NATS server says: {error}"),
        event => tracing::debug!("{event}"),
    }
}

/// Whether another try would end in the same way.
fn is_final(error: &ConnectError) -> bool {
    use ConnectErrorKind::{Authentication, AuthorizationViolation, ServerParse, Tls};
    matches!(error.kind(), Authentication | AuthorizationViolation | ServerParse | Tls)
        || is_about_certificates(error)
}

/// A handshake that fails is an error of input and output to the client.
fn is_about_certificates(error: &ConnectError) -> bool {
    let text = told(error).to_lowercase();
    ["certificate", "tls", "handshake"].iter().any(|word| text.contains(word))
}

fn failure(url: String, error: &ConnectError) -> BusError {
    use ConnectErrorKind::{Authentication, AuthorizationViolation, Tls};
    let cause = told(error);
    match error.kind() {
        Authentication | AuthorizationViolation => BusError::NotLetIn { url, cause },
        Tls => BusError::Untrusted { url, cause },
        _ if is_about_certificates(error) => BusError::Untrusted { url, cause },
        _ => BusError::Unreachable { url, cause },
    }
}

fn told(error: &ConnectError) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{}: {source}", error.kind()),
        None => error.to_string(),
    }
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|n| n.parse::<u64>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST_SERVER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_2_11_are_too_old() {
        for old in ["2.9.10", "2.10.26", "1.4.1", "", "new"] {
            assert!(!is_new_enough(old), "{old} was taken");
        }
        for new in ["2.11.0", "2.15.1", "2.12.0-RC.1", "3.0.0"] {
            assert!(is_new_enough(new), "{new} was refused");
        }
    }

    #[test]
    fn logins_in_urls_are_not_shown() {
        let shown = |url: &str| NatsArgs { url: url.into(), ..NatsArgs::default() }.shown_url();
        assert_eq!(shown("nats://me:pw@a:1, tls://b:2"), "nats://a:1,tls://b:2");
        assert_eq!(shown("token@a:1,b"), "a:1,b");
        assert_eq!(shown("nats://u:p@ss@a:1"), "nats://a:1");
    }

    #[test]
    fn secrets_are_files_that_errors_name_and_never_show() {
        let folder = std::env::temp_dir().join(format!("weimocir-seed-{}", std::process::id()));
        std::fs::write(&folder, "secret of mine\n").unwrap();
        let args = NatsArgs { nkey: Some(folder.clone()), ..NatsArgs::default() };
        let error = options(&args, "test").map(|_| ()).unwrap_err().to_string();
        std::fs::remove_file(&folder).unwrap();
        assert!(error.contains("no nkey seed") && !error.contains("mine"), "{error}");
        let error = options(&args, "test").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("cannot read"), "{error}");
    }

    #[test]
    fn an_inbox_is_a_subject() {
        assert_eq!(inbox("_INBOX_client.me").as_deref(), Ok("_INBOX_client.me"));
        for wrong in ["", "a..b", "a.*", ">", "a b"] {
            assert!(inbox(wrong).is_err(), "{wrong} was taken");
        }
    }
}
