//! Exit codes, so that scripts can tell what went wrong.

use std::process::ExitCode;

use weimocir_client::SubmissionError;
use weimocir_runtime::{BusError, CollectionError, SubmitError};
use weimocir_wire::search::{Refusal, RefusalCode};

pub(crate) const HELP: &str = "Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  done in part: some pictures were refused, an answer lacks a shard, or something was not waited for
  4  no such image or collection
  5  NATS or a worker does not answer";

/// How far a command got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Fully,
    Partly,
}

pub(crate) fn usage(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(2)
}

pub(crate) fn report(outcome: anyhow::Result<Done>, json: bool) -> ExitCode {
    match outcome {
        Ok(Done::Fully) => ExitCode::SUCCESS,
        Ok(Done::Partly) => ExitCode::from(3),
        Err(error) => {
            if json {
                crate::say(serde_json::json!({ "error": format!("{error:#}") }));
            }
            complain(&format!("{error:#}"));
            ExitCode::from(code(&error))
        }
    }
}

fn code(error: &anyhow::Error) -> u8 {
    let submission = error.downcast_ref::<SubmissionError>();
    let refusal = match submission {
        Some(SubmissionError::Refused(refusal)) => Some(refusal),
        _ => error.downcast_ref::<Refusal>(),
    };
    if let Some(refusal) = refusal {
        return match refusal.code {
            RefusalCode::UnknownImage | RefusalCode::UnknownCollection => 4,
            RefusalCode::Unavailable | RefusalCode::Timeout | RefusalCode::Busy => 5,
            RefusalCode::Invalid
            | RefusalCode::ModelMismatch
            | RefusalCode::NotReady
            | RefusalCode::Internal => 1,
        };
    }
    if let Some(SubmissionError::Submit(SubmitError::Full { .. } | SubmitError::Refused { .. })) =
        submission
    {
        return 5;
    }
    if let Some(SubmitError::Full { .. } | SubmitError::Refused { .. }) = error.downcast_ref() {
        return 5;
    }
    match (error.downcast_ref::<CollectionError>(), error.downcast_ref::<BusError>()) {
        (Some(CollectionError::Unknown { .. }), _) => 4,
        (_, Some(BusError::Unreachable { .. })) => 5,
        _ => 1,
    }
}

#[expect(clippy::print_stderr, reason = "errors of a command go to standard error")]
pub(crate) fn complain(message: &str) {
    eprintln!("weimocir: {message}");
}
