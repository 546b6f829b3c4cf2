//! Reaching NATS, and refusing a server that is too old to be trusted.

use std::{path::PathBuf, time::Duration};

use async_nats::{Client, ConnectOptions, jetstream};
use tokio::time::{Instant, sleep};

/// Debian's 2.9 silently ignores what newer servers do; nothing before 2.11 is tested.
const OLDEST_SERVER: (u64, u64) = (2, 11);

#[derive(Debug, Clone, clap::Args)]
pub struct NatsArgs {
    /// NATS server, or several with commas between
    #[arg(
        long = "nats",
        env = "WEIMOCIR_NATS",
        default_value = "nats://127.0.0.1:4222",
        value_name = "URL",
        global = true
    )]
    pub url: String,
    /// File with NATS credentials (JWT and nkey seed)
    #[arg(long = "nats-creds", env = "WEIMOCIR_NATS_CREDS", value_name = "FILE", global = true)]
    pub credentials: Option<PathBuf>,
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
            match options(args, name)?.connect(servers(&args.url)).await {
                Ok(client) => break client,
                Err(error) if Instant::now() < until => {
                    tracing::debug!(%error, url = args.url, "nats does not answer yet");
                    sleep(Duration::from_millis(250)).await;
                }
                Err(error) => {
                    let cause = error.to_string();
                    return Err(BusError::Unreachable { url: args.url.clone(), cause });
                }
            }
        };
        let jetstream = jetstream::new(client.clone());
        let bus = Self { jetstream, client, replicas: usize::from(args.replicas) };
        bus.check(&args.url).await?;
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
    let options = match &args.credentials {
        None => ConnectOptions::new(),
        Some(path) => std::fs::read_to_string(path)
            .and_then(|text| ConnectOptions::with_credentials(&text))
            .map_err(|cause| BusError::Credentials { path: path.clone(), cause })?,
    };
    Ok(options.name(name).connection_timeout(Duration::from_secs(5)))
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
}
