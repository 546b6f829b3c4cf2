//! What can go wrong on the way to the hub, and whether it may pass.

use std::{
    io::{self, ErrorKind},
    thread,
    time::Duration,
};

use hf_hub::api::sync::ApiError;

/// Repetitions of a request that failed; because the pauses between them add up to half a minute.
const REPETITIONS: u32 = 5;
/// The longest pause that a hub may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("nobody answers: {reason}")]
    Unreachable { reason: String },
    /// Busy, broken for the moment, or the connection was cut.
    #[error("{reason}")]
    Passing { reason: String, pause: Option<Duration> },
    /// The hub would answer the same again. `code` is its own name of the error, if it gave one.
    #[error("the hub answered {status}")]
    Refused { status: u16, code: String },
    #[error("what was fetched earlier is of no use")]
    BadPart,
    #[error("{reason}")]
    Lasting { reason: String },
}

impl Failure {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), pause: None }
    }

    pub(super) fn status(status: u16, code: &str, pause: Option<Duration>) -> Self {
        match status {
            408 | 429 | 500..=599 => {
                Self::Passing { reason: format!("the hub answered {status}"), pause }
            }
            416 => Self::BadPart,
            _ => Self::Refused { status, code: code.to_owned() },
        }
    }
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::StatusCode(status) => Self::status(status, "", None),
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                Self::Unreachable { reason: error.to_string() }
            }
            ureq::Error::Timeout(_) => Self::Unreachable { reason: error.to_string() },
            ureq::Error::Io(error) => error.into(),
            ureq::Error::Protocol(_) => Self::passing(error.to_string()),
            other => Self::Lasting { reason: other.to_string() },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let reason = error.to_string();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Lasting {
                reason: format!(
                    "the cache's disk is full ({reason}): make room, and the download goes on where \
                     it stopped"
                ),
            },
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::TimedOut => Self::Unreachable { reason },
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists => {
                Self::Lasting { reason: format!("the cache cannot be written: {reason}") }
            }
            _ => Self::passing(format!("the connection broke: {reason}")),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::RequestError(request) => (*request).into(),
            ApiError::IoError(error) => error.into(),
            ApiError::InvalidResume => Self::BadPart,
            ApiError::LockAcquisition(_) => Self::passing("another program is fetching the file"),
            other => {
                Self::Lasting { reason: format!("the hub's answer is not understood: {other}") }
            }
        }
    }
}

/// Tries again, with growing pauses, while `again` says so.
pub(super) fn patiently<T>(
    first_pause: Duration,
    again: impl Fn(&Failure) -> bool,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    for repetition in 0..REPETITIONS {
        let failure = match attempt() {
            Err(failure) if again(&failure) => failure,
            outcome => return outcome,
        };
        let asked = match &failure {
            Failure::Passing { pause, .. } => *pause,
            _ => None,
        };
        let pause = asked.unwrap_or(first_pause * 2u32.pow(repetition)).min(LONGEST_PAUSE);
        tracing::warn!(%failure, ?pause, "the hub failed, trying again");
        thread::sleep(pause);
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_cache_without_permission_are_told_at_once() {
        for (kind, words) in [
            (ErrorKind::StorageFull, "disk is full"),
            (ErrorKind::PermissionDenied, "cache cannot be written"),
        ] {
            let failure = Failure::from(ApiError::IoError(kind.into()));
            assert!(
                matches!(&failure, Failure::Lasting { reason } if reason.contains(words)),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn what_may_pass_is_repeated_and_no_oftener_than_said() {
        let mut attempts = 0;
        let outcome: Result<(), Failure> = patiently(
            Duration::ZERO,
            |failure| matches!(failure, Failure::Passing { .. }),
            || {
                attempts += 1;
                Err(Failure::status(503, "", None))
            },
        );
        assert!(matches!(outcome, Err(Failure::Passing { .. })));
        assert_eq!(attempts, 1 + REPETITIONS);
    }
}
