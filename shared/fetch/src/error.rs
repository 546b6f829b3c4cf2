//! Why a picture was not fetched.

use std::net::IpAddr;

/// Every text fits after "URL: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("no URL: {0}")]
    Invalid(String),
    #[error("only http and https addresses are fetched, not {0}")]
    Scheme(String),
    #[error("a URL with a user name or password is not fetched")]
    Login,
    #[error(
        "{host} stands for {address}, which is {kind}: only public addresses are fetched (--allow-private-urls)"
    )]
    Address { host: String, address: IpAddr, kind: &'static str },
    #[error("there is no host {0}")]
    NoHost(String),
    #[error("more than {0} redirects (--url-redirects)")]
    Redirects(u8),
    #[error("the server answers with status {0}")]
    Status(u16),
    #[error("larger than {0} bytes (--url-max-bytes)")]
    TooLarge(u64),
    #[error("not there within {0} seconds (--url-timeout)")]
    Timeout(u64),
    #[error("cannot be fetched: {0}")]
    Failed(String),
}

impl FetchError {
    /// Whether the same URL may well be fetched later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoHost(_) | Self::Timeout(_) | Self::Failed(_) => true,
            Self::Status(status) => matches!(status, 408 | 429 | 500..),
            Self::Invalid(_)
            | Self::Scheme(_)
            | Self::Login
            | Self::Address { .. }
            | Self::Redirects(_)
            | Self::TooLarge(_) => false,
        }
    }
}
