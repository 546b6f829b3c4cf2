//! Pictures by URL, for callers who do not trust whoever named it: what is fetched comes from public
//! addresses, by http or https, within limits of bytes, time and redirects.
//!
//! `address` says which addresses are public, `resolver` hands the connection no other, `error` says
//! why there is no picture. Nothing that was fetched is looked into here.

mod address;
mod error;
mod resolver;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use ureq::{
    Agent, Body, Proxy,
    http::{Response, header::LOCATION},
    unversioned::transport::DefaultConnector,
};
use url::{Host, Url};

use crate::resolver::{CheckedResolver, Lookup, Policy, SystemLookup};

pub use error::FetchError;

/// Fetches under way at once; more wait. One that its caller gave up counts until its time is over.
const AT_ONCE: usize = 64;

const HEADING: &str = "Pictures by URL";

#[derive(Debug, Clone, clap::Args)]
pub struct FetchArgs {
    /// Larger pictures are not fetched, in bytes
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_URL_MAX_BYTES", default_value_t = 32 << 20,
        value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub url_max_bytes: u64,
    /// Seconds that a picture may take, redirects included
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_URL_TIMEOUT", default_value_t = 30,
        value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub url_timeout: u64,
    /// Redirects that are followed
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_URL_REDIRECTS", default_value_t = 5,
        value_name = "N", value_parser = clap::value_parser!(u8).range(..=20))]
    pub url_redirects: u8,
    /// Fetch from private, loopback, link-local and other addresses that are not public, too
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_ALLOW_PRIVATE_URLS")]
    pub allow_private_urls: bool,
    /// Fetch by the proxy that ALL_PROXY, HTTPS_PROXY or HTTP_PROXY name, which then decides what
    /// names stand for and what is reached
    #[arg(long, help_heading = HEADING, env = "WEIMOCIR_URL_PROXY")]
    pub url_proxy: bool,
}

impl Default for FetchArgs {
    fn default() -> Self {
        Self {
            url_max_bytes: 32 << 20,
            url_timeout: 30,
            url_redirects: 5,
            allow_private_urls: false,
            url_proxy: false,
        }
    }
}

/// Fetches; clones share their limit of fetches at once.
#[derive(Debug, Clone)]
pub struct Fetcher {
    agent: Agent,
    proxy: Option<Proxy>,
    policy: Policy,
    at_once: Arc<Semaphore>,
    max_bytes: u64,
    timeout: Duration,
    redirects: u8,
}

impl Fetcher {
    pub fn new(args: &FetchArgs) -> Self {
        let policy: Policy = if args.allow_private_urls { |_| None } else { address::unfit };
        Self::with(args, Arc::new(SystemLookup), policy)
    }

    fn with(args: &FetchArgs, lookup: Arc<dyn Lookup>, policy: Policy) -> Self {
        let proxy = args.url_proxy.then(Proxy::try_from_env).flatten();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // because: each is looked at here, before anything is sent there
            .max_redirects(0)
            .max_redirects_will_error(false)
            // because: a connection that is kept would outlive the look at its address
            .max_idle_connections(0)
            .proxy(proxy.clone())
            .accept("image/*")
            .accept_encoding("identity")
            .user_agent(concat!("weimocir/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = CheckedResolver { lookup, policy, proxy: proxy.clone() };
        Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), resolver),
            proxy,
            policy,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            max_bytes: args.url_max_bytes,
            timeout: Duration::from_secs(args.url_timeout),
            redirects: args.url_redirects,
        }
    }

    /// The file at `url`, as it is sent.
    ///
    /// # Errors
    /// Whatever keeps it from being fetched.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let until = Instant::now() + self.timeout;
        let url = checked(url)?;
        let permit = tokio::time::timeout_at(until.into(), self.at_once.clone().acquire_owned());
        let permit = permit.await.map_err(|_| self.too_slow())?;
        let permit = permit.map_err(|e| FetchError::Failed(e.to_string()))?;
        let fetcher = self.clone();
        let fetching = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            fetcher.follow(url, until)
        });
        match tokio::time::timeout_at(until.into(), fetching).await {
            Ok(fetched) => fetched.unwrap_or_else(|e| Err(FetchError::Failed(e.to_string()))),
            Err(_) => Err(self.too_slow()),
        }
    }

    fn follow(&self, mut url: Url, until: Instant) -> Result<Vec<u8>, FetchError> {
        for _ in 0..=self.redirects {
            let response = self.ask(&url, until)?;
            let status = response.status();
            match status.as_u16() {
                200 => return self.body(response),
                301 | 302 | 303 | 307 | 308 => url = next(&url, &response)?,
                other => return Err(FetchError::Status(other)),
            }
        }
        Err(FetchError::Redirects(self.redirects))
    }

    fn ask(&self, url: &Url, until: Instant) -> Result<Response<Body>, FetchError> {
        self.check_host(url)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.too_slow());
        }
        let request = self.agent.get(url.as_str()).config().timeout_global(Some(left)).build();
        request.call().map_err(|error| self.failure(error))
    }

    /// What the resolver never sees: addresses that stand in the URL, where a proxy connects.
    fn check_host(&self, url: &Url) -> Result<(), FetchError> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) | None => match &self.proxy {
                Some(proxy) if is_at(url, proxy) => {
                    return Err(FetchError::Failed("it names the proxy itself".into()));
                }
                _ => return Ok(()),
            },
        };
        match (self.policy)(address) {
            None => Ok(()),
            Some(kind) => Err(FetchError::Address { host: address.to_string(), address, kind }),
        }
    }

    fn body(&self, mut response: Response<Body>) -> Result<Vec<u8>, FetchError> {
        let limit = self.max_bytes;
        if response.body().content_length().is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge(limit));
        }
        let body = response.body_mut().with_config().limit(limit.saturating_add(1));
        let bytes = body.read_to_vec().map_err(|error| self.failure(error))?;
        if bytes.len() as u64 > limit {
            return Err(FetchError::TooLarge(limit));
        }
        Ok(bytes)
    }

    fn failure(&self, error: ureq::Error) -> FetchError {
        match error {
            ureq::Error::Timeout(_) => self.too_slow(),
            ureq::Error::BodyExceedsLimit(_) => FetchError::TooLarge(self.max_bytes),
            ureq::Error::Other(cause) => match cause.downcast::<FetchError>() {
                Ok(refused) => *refused,
                Err(cause) => FetchError::Failed(cause.to_string()),
            },
            error => FetchError::Failed(error.to_string()),
        }
    }

    fn too_slow(&self) -> FetchError {
        FetchError::Timeout(self.timeout.as_secs())
    }
}

/// The URL as browsers read it: a host that is a number in any notation is an address from here on.
fn checked(text: &str) -> Result<Url, FetchError> {
    let url = Url::parse(text).map_err(|e| FetchError::Invalid(e.to_string()))?;
    fit(url)
}

fn fit(url: Url) -> Result<Url, FetchError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FetchError::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::Login);
    }
    Ok(url)
}

/// Where a redirect leads.
fn next(from: &Url, response: &Response<Body>) -> Result<Url, FetchError> {
    let lost = || FetchError::Failed("a redirect that leads nowhere".into());
    let location = response.headers().get(LOCATION).ok_or_else(lost)?;
    let location = location.to_str().map_err(|_| lost())?;
    fit(from.join(location).map_err(|_| lost())?)
}

fn is_at(url: &Url, proxy: &Proxy) -> bool {
    url.host_str() == Some(proxy.host()) && url.port_or_known_default() == Some(proxy.port())
}
