//! Who may ask, and how often.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::Path,
    time::Duration,
};

use anyhow::{Context, ensure};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};

use crate::{GatewayArgs, app::App, problem::Problem};

type Fingerprint = [u8; 32];

/// The API keys, as fingerprints: a key is compared in a time that says nothing about the others.
#[derive(Debug)]
pub(crate) struct Keys(HashSet<Fingerprint>);

impl Keys {
    /// # Errors
    /// The file cannot be read, or has no key.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the API keys {}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: HashSet<_> =
            lines.filter(|line| !line.starts_with('#')).map(fingerprint).collect();
        ensure!(!keys.is_empty(), "{} has no API key: nobody could ask", path.display());
        Ok(Self(keys))
    }
}

fn fingerprint(key: &str) -> Fingerprint {
    Sha256::digest(key).into()
}

/// Whoever asks, for counting.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asker {
    Key(Fingerprint),
    Address(IpAddr),
}

#[derive(Debug)]
pub(crate) struct Access {
    keys: Option<Keys>,
    rates: Option<DefaultKeyedRateLimiter<Asker>>,
    trust_forwarded: bool,
}

/// Askers that are kept count of, before those who have not asked lately are forgotten.
const ASKERS: usize = 10_000;

impl Access {
    pub(crate) fn new(args: &GatewayArgs, keys: Option<Keys>) -> Self {
        let rates = args.rate_limit.and_then(NonZeroU32::new).map(|rate| {
            let burst = rate.saturating_add(rate.get());
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Self { keys, rates, trust_forwarded: args.trust_forwarded }
    }

    pub(crate) fn is_public(&self) -> bool {
        self.keys.is_none()
    }

    fn admit(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<(), Problem> {
        let asker = self.asker(headers, peer)?;
        let Some(rates) = &self.rates else { return Ok(()) };
        if rates.len() > ASKERS {
            rates.retain_recent();
        }
        rates.check_key(&asker).map_err(|_| {
            let detail = "too many requests: come again in a second";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
        })
    }

    fn asker(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Asker, Problem> {
        let Some(Keys(keys)) = &self.keys else {
            return Ok(Asker::Address(self.address(headers, peer)));
        };
        let unauthorized = |detail| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = sent.and_then(|value| value.strip_prefix("Bearer "));
        let key =
            key.ok_or_else(|| unauthorized("send an API key: `Authorization: Bearer KEY`"))?;
        let fingerprint = fingerprint(key.trim());
        if !keys.contains(&fingerprint) {
            return Err(unauthorized("this API key is not known here"));
        }
        Ok(Asker::Key(fingerprint))
    }

    fn address(&self, headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
        let forwarded = || {
            let value = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
            value.rsplit(',').next()?.trim().parse().ok()
        };
        self.trust_forwarded.then(forwarded).flatten().unwrap_or(peer.ip())
    }
}

/// Lets through who may ask now.
pub(crate) async fn guard(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match app.access.admit(request.headers(), peer) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            // because: a client that is refused while it still sends would see a broken connection
            let drained = axum::body::to_bytes(request.into_body(), 1 << 20);
            let _unread = tokio::time::timeout(Duration::from_millis(100), drained).await;
            problem.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        gateway: GatewayArgs,
    }

    fn access(args: &[&str], keys: &str) -> Access {
        let args = Args::parse_from([&["gateway"], args].concat()).gateway;
        let keys: HashSet<_> = keys.split_whitespace().map(fingerprint).collect();
        Access::new(&args, (!keys.is_empty()).then_some(Keys(keys)))
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn peer(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 1))
    }

    #[test]
    fn only_known_keys_are_let_in() {
        let access = access(&[], "sesame other");
        let with = |value: &str| access.admit(&headers(&[("authorization", value)]), peer(1));
        assert!(with("Bearer sesame").is_ok() && with("Bearer other").is_ok());
        for wrong in ["Bearer sesam", "Bearer sesame2", "sesame", "Basic sesame", "Bearer "] {
            assert!(with(wrong).is_err(), "{wrong} was let in");
        }
        assert!(access.admit(&HeaderMap::new(), peer(1)).is_err());
    }

    #[test]
    fn each_asker_has_a_rate_of_its_own() {
        let access = access(&["--rate-limit", "1"], "");
        let ask = |n| access.admit(&HeaderMap::new(), peer(n)).is_ok();
        assert_eq!([ask(1), ask(1), ask(1), ask(2)], [true, true, false, true]);
    }

    #[test]
    fn a_forwarded_address_counts_only_behind_a_trusted_proxy() {
        let spoofed = headers(&[("x-forwarded-for", "1.2.3.4, 5.6.7.8")]);
        let address = |args: &[&str]| access(args, "").address(&spoofed, peer(1));
        assert_eq!(address(&[]), peer(1).ip());
        assert_eq!(address(&["--trust-forwarded"]), IpAddr::from([5, 6, 7, 8]));
    }

    #[test]
    fn a_file_without_keys_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, "# nobody yet\n\n").unwrap();
        assert!(Keys::read(&path).unwrap_err().to_string().contains("has no API key"));
        std::fs::write(&path, "# one\n sesame \n").unwrap();
        assert!(Keys::read(&path).unwrap().0.contains(&fingerprint("sesame")));
    }
}
