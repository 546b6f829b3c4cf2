//! Names to addresses: looked up once for each connection, and all looked at before the connection
//! is made, so that a name that stands for something else a moment later changes nothing.

use std::{
    fmt::Debug,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
};

use ureq::{
    Error, Proxy,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};
use url::{Host, Url};

use crate::FetchError;

/// What keeps an address from being fetched from.
pub(crate) type Policy = fn(IpAddr) -> Option<&'static str>;

/// What names stand for. Blocks.
pub(crate) trait Lookup: Debug + Send + Sync {
    fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// What this machine's own programs would be told.
#[derive(Debug)]
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

#[derive(Debug)]
pub(crate) struct CheckedResolver {
    pub lookup: Arc<dyn Lookup>,
    pub policy: Policy,
    /// Whose own address its operator has chosen.
    pub proxy: Option<Proxy>,
}

/// More addresses of a host are left out.
const ADDRESSES: usize = 16;

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let is_proxy = self.proxy.as_ref().is_some_and(|proxy| proxy.uri() == uri);
        let refused = |error| Error::Other(Box::new(error));
        let url = Url::parse(&uri.to_string()).map_err(|e| Error::BadUri(e.to_string()))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let found = match url.host() {
            Some(Host::Ipv4(address)) => vec![SocketAddr::new(address.into(), port)],
            Some(Host::Ipv6(address)) => vec![SocketAddr::new(address.into(), port)],
            Some(Host::Domain(name)) => self.look_up(name.to_owned(), port, timeout)?,
            None => return Err(Error::BadUri(uri.to_string())),
        };
        for address in &found {
            // because: a name of which one address is private is nobody's public name
            if !is_proxy && let Some(kind) = (self.policy)(address.ip()) {
                return Err(refused(FetchError::Address { host, address: address.ip(), kind }));
            }
        }
        let mut resolved = self.empty();
        found.into_iter().take(ADDRESSES).for_each(|address| resolved.push(address));
        if resolved.is_empty() {
            return Err(refused(FetchError::NoHost(host)));
        }
        Ok(resolved)
    }
}

impl CheckedResolver {
    fn look_up(
        &self,
        host: String,
        port: u16,
        timeout: NextTimeout,
    ) -> Result<Vec<SocketAddr>, Error> {
        let (send, receive) = sync_channel(1);
        let lookup = self.lookup.clone();
        let name = host.clone();
        // because: the system's resolver cannot be told when to give up
        thread::Builder::new()
            .name("look up a host".into())
            .spawn(move || send.send(lookup.lookup(&name, port)))?;
        match receive.recv_timeout(*timeout.after) {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) => Err(Error::Other(Box::new(FetchError::NoHost(host)))),
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
        }
    }
}
