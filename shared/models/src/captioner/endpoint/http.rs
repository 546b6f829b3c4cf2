//! One request to the endpoint, and what its outcome means.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use ureq::{Agent, http::StatusCode};

use super::{ApiKey, answer::Completion, answer::shown, retry::retry_after, settings::Address};

/// The largest answer taken. One has some hundred bytes, and a model that thinks aloud some thousand.
const ANSWER_BYTES: u64 = 1 << 20;

/// Sends requests; clones share their connections. Blocks.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: Agent,
    address: Address,
    key: Option<ApiKey>,
}

/// Why there is no completion. Every text fits after "the endpoint HOST".
#[derive(Debug)]
pub(super) enum Fault {
    /// It may pass: too much asked, trouble on the server or on the way.
    Passing { reason: String, limited: bool, asked: Option<Duration> },
    /// The request is not understood, which a request without some parameter might be.
    Invalid { reason: String },
    /// The server does not want this picture, or answers it with what is no answer.
    Picture { reason: String },
    /// No request of ours will be taken.
    Broken { reason: String },
}

impl Client {
    pub(super) fn new(address: Address, key: Option<ApiKey>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // because: a redirect would carry the key and the picture to somebody else
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("weimocir/", env!("CARGO_PKG_VERSION")));
        // because: a proxy for the way out knows nothing of this machine's own servers
        let config = if address.local { config.proxy(None) } else { config };
        Self { agent: config.build().into(), address, key }
    }

    pub(super) fn host(&self) -> &str {
        &self.address.host
    }

    /// # Errors
    /// Whatever keeps it from being a completion, by what is to be done about it.
    pub(super) fn complete(&self, body: &[u8], timeout: Duration) -> Result<Completion, Fault> {
        let request =
            self.agent.post(&self.address.url).config().timeout_global(Some(timeout)).build();
        let request = match &self.key {
            Some(key) => request.header("authorization", key.header()),
            None => request,
        };
        let mut response = request
            .content_type("application/json")
            .send(body)
            .map_err(|error| no_answer(&error, timeout))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        if !status.is_success() {
            let asked = retry_after(&headers, SystemTime::now());
            // because: the status says enough where its explanation does not come
            return Err(self.refused(status, &text.unwrap_or_default(), asked));
        }
        let text = text.map_err(|error| no_answer(&error, timeout))?;
        serde_json::from_slice(&text).map_err(|error| Fault::Passing {
            reason: format!("answered what is no chat completion ({error}): {}", self.said(&text)),
            limited: false,
            asked: None,
        })
    }

    /// What a server says is wrong, without the key, which it may repeat.
    fn said(&self, body: &[u8]) -> String {
        let body = String::from_utf8_lossy(body);
        match &self.key {
            Some(key) => explanation(&key.hide_in(&body)),
            None => explanation(&body),
        }
    }

    /// The meaning of a status that is no success.
    fn refused(&self, status: StatusCode, body: &[u8], asked: Option<Duration>) -> Fault {
        let said = self.said(body);
        let reason = format!("answered {status}: {said}");
        match status.as_u16() {
            429 => Fault::Passing { reason, limited: true, asked },
            408 | 409 | 425 | 500..=599 => Fault::Passing { reason, limited: false, asked },
            400 | 422 if withheld(&said) => Fault::Picture { reason },
            400 | 422 => Fault::Invalid { reason },
            300..=399 => Fault::Broken {
                reason: format!("answered {status}; name the address that it leads to"),
            },
            401 | 403 if self.key.is_none() => {
                Fault::Broken { reason: format!("wants a key, and none is set: it {reason}") }
            }
            401 | 403 => Fault::Broken { reason: format!("does not take the key: it {reason}") },
            402 | 404 | 405 => Fault::Broken { reason },
            _ => Fault::Picture { reason },
        }
    }
}

/// No whole answer came.
fn no_answer(error: &ureq::Error, timeout: Duration) -> Fault {
    let reason = match error {
        ureq::Error::BodyExceedsLimit(limit) => {
            let reason = format!("answered with more than {limit} bytes");
            return Fault::Picture { reason };
        }
        ureq::Error::Timeout(_) => {
            format!("did not answer within {:.1} seconds", timeout.as_secs_f64())
        }
        error => format!("cannot be reached: {error}"),
    };
    Fault::Passing { reason, limited: false, asked: None }
}

/// Whether a bad request is the filter's verdict on the picture.
fn withheld(said: &str) -> bool {
    let said = said.to_lowercase();
    ["content_filter", "content filter", "content_policy", "content policy", "safety"]
        .iter()
        .any(|word| said.contains(word))
}

#[derive(Deserialize)]
struct Complaint {
    error: Explained,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Explained {
    Object { message: String, param: Option<String>, code: Option<serde_json::Value> },
    Text(String),
}

/// What is wrong, in the API's form or any other.
fn explanation(body: &str) -> String {
    let Ok(Complaint { error }) = serde_json::from_str(body) else { return shown(body) };
    match error {
        Explained::Text(text) => shown(&text),
        Explained::Object { message, param, code } => {
            let code = code.and_then(|code| code.as_str().map(str::to_owned));
            let about: Vec<String> = [param, code].into_iter().flatten().collect();
            match about.is_empty() {
                true => shown(&message),
                false => format!("{} ({})", shown(&message), shown(&about.join(", "))),
            }
        }
    }
}
