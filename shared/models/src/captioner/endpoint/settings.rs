//! How an endpoint is asked.

use std::time::Duration;

use ureq::http::Uri;

use super::ApiKey;

/// Defaults are `EndpointSettings::new`'s.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Where the API begins: `https://host/v1`.
    pub url: String,
    /// What the server calls the model.
    pub model: String,
    pub key: Option<ApiKey>,
    /// 0 and more; a server refuses what it does not take.
    pub temperature: f32,
    /// Larger pictures are sent with this many pixels on their longer side.
    pub longest_side: u32,
    /// Ask for facts and make the sentences of them here; see `facts`.
    pub structured: bool,
    /// Ingest requests at the same time. Queries have a quarter as many places of their own.
    pub concurrency: usize,
    /// For one request.
    pub timeout: Duration,
    /// For one picture of the gallery, with all its requests and pauses.
    pub patience: Duration,
    /// Requests for one picture.
    pub attempts: u32,
    /// Before the second request; each later pause is twice as long.
    pub first_pause: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("the endpoint's address `{url}` {reason}; it is written as http://127.0.0.1:8000/v1")]
    Url { url: String, reason: &'static str },
    #[error("the endpoint's model has no name")]
    NoModel,
    #[error("{setting} is {value}, it must be {range}")]
    OutOfRange { setting: &'static str, value: String, range: &'static str },
}

impl EndpointSettings {
    pub fn new(url: &str, model: &str) -> Self {
        Self {
            url: url.to_owned(),
            model: model.to_owned(),
            key: None,
            temperature: 0.2,
            longest_side: 768,
            structured: false,
            concurrency: 8,
            timeout: Duration::from_secs(60),
            // because: a delivery may be worked on for ten minutes, half of them in the queue here
            patience: Duration::from_secs(240),
            attempts: 6,
            first_pause: Duration::from_millis(500),
        }
    }

    pub(super) fn check(&self) -> Result<Address, EndpointError> {
        if self.model.trim().is_empty() {
            return Err(EndpointError::NoModel);
        }
        let out_of_range = |setting, value: String, range| {
            Err(EndpointError::OutOfRange { setting, value, range })
        };
        if !(0.0..=2.0).contains(&self.temperature) {
            return out_of_range("the temperature", self.temperature.to_string(), "0 to 2");
        }
        if !(16..=8192).contains(&self.longest_side) {
            return out_of_range("the longest side", self.longest_side.to_string(), "16 to 8192");
        }
        if !(1..=1024).contains(&self.concurrency) {
            return out_of_range("the concurrency", self.concurrency.to_string(), "1 to 1024");
        }
        if self.attempts == 0 {
            return out_of_range("the number of attempts", "0".to_owned(), "1 or more");
        }
        if self.timeout.is_zero() {
            return out_of_range("the time-out", "0".to_owned(), "more than 0");
        }
        Address::parse(&self.url)
    }
}

const PATH: &str = "/chat/completions";

/// A checked address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Of the API's chat completions.
    pub(super) url: String,
    /// Host and port.
    pub(super) host: String,
    /// Nothing leaves this machine.
    pub(super) local: bool,
    pub(super) encrypted: bool,
}

impl Address {
    fn parse(url: &str) -> Result<Self, EndpointError> {
        // because: an address with user and password must not be repeated in an error
        let wrong = |reason| EndpointError::Url { url: without_user(url), reason };
        let uri: Uri = url.trim().parse().map_err(|_| wrong("is no address"))?;
        let encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("begins with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("has a user in it, where only the key is sent"));
        }
        if uri.query().is_some() {
            return Err(wrong("has a `?` part, which the API has no use for"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        let local = host == "localhost"
            || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        let base = url.trim().trim_end_matches('/');
        let base = base.strip_suffix(PATH).unwrap_or(base);
        let host = authority.as_str().to_owned();
        Ok(Self { url: format!("{base}{PATH}"), host, local, encrypted })
    }
}

fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.split('?').next().unwrap_or(url).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_api_is_where_its_chat_completions_are() {
        for (given, url, host, local) in [
            ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1", "127.0.0.1:8000", true),
            ("http://[::1]:11434/v1/", "http://[::1]:11434/v1", "[::1]:11434", true),
            ("http://localhost/v1/chat/completions", "http://localhost/v1", "localhost", true),
            (
                "https://api.example.com/v1beta/openai/",
                "https://api.example.com/v1beta/openai",
                "api.example.com",
                false,
            ),
        ] {
            let address = Address::parse(given).unwrap();
            assert_eq!(address.url, format!("{url}/chat/completions"));
            assert_eq!((address.host.as_str(), address.local), (host, local), "{given}");
            assert_eq!(address.encrypted, given.starts_with("https"));
        }
    }

    #[test]
    fn a_wrong_address_is_refused_without_its_secrets() {
        for (given, why) in [
            ("", "is no address"),
            ("127.0.0.1:8000", "neither http"),
            ("ftp://host/v1", "neither http"),
            ("http://user:secret@host/v1", "has a user"),
            ("https://host/v1?key=secret", "has a `?` part"),
        ] {
            let error = Address::parse(given).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{given}: {error}");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let good = EndpointSettings::new("http://localhost/v1", "m");
        assert!(good.check().is_ok());
        for (wrong, why) in [
            (EndpointSettings { model: " ".to_owned(), ..good.clone() }, "no name"),
            (EndpointSettings { temperature: f32::NAN, ..good.clone() }, "temperature is NaN"),
            (EndpointSettings { longest_side: 8, ..good.clone() }, "longest side is 8"),
            (EndpointSettings { concurrency: 0, ..good.clone() }, "concurrency is 0"),
            (EndpointSettings { attempts: 0, ..good.clone() }, "attempts is 0"),
            (EndpointSettings { timeout: Duration::ZERO, ..good.clone() }, "time-out is 0"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
