//! What a failure of the hub means to a user, and what to do about it.

use super::{failure::Failure, settings::Hub};

/// Fits after "cannot fetch … from the hub: ".
pub(super) fn advice(hub: &Hub, repository: &str, revision: &str, failure: Failure) -> String {
    let page = format!("{}/{repository}", hub.endpoint);
    match failure {
        Failure::Unreachable { reason } => format!(
            "{} does not answer ({reason}): check the network, name a mirror with HF_ENDPOINT, or \
             give the path of a folder",
            hub.endpoint
        ),
        Failure::Passing { reason, .. } => {
            format!("{reason}, and did so again and again: what was fetched is kept, try later")
        }
        Failure::Refused { status: 401, code } if hub.token.is_none() => match code.as_str() {
            "GatedRepo" => format!(
                "it is gated (401): accept its licence at {page}, and set HF_TOKEN to a token of \
                 that account"
            ),
            _ => format!(
                "the hub wants to know who asks (401): there is no such repository, or it is private \
                 or gated; check the name, accept its licence at {page}, and set HF_TOKEN"
            ),
        },
        Failure::Refused { status: 401, .. } => {
            "the hub does not take the token (401): check HF_TOKEN, or the token file".to_owned()
        }
        Failure::Refused { status: 403, .. } => format!(
            "access is refused (403): accept its licence at {page} with the account of the token, \
             and set HF_TOKEN"
        ),
        Failure::Refused { status: 404, code } => match code.as_str() {
            "RevisionNotFound" => format!("it has no revision \"{revision}\" (404)"),
            "EntryNotFound" => "the hub lists the file but does not have it (404)".to_owned(),
            _ => format!(
                "there is no repository \"{repository}\" with a revision \"{revision}\" at {} (404): \
                 check the name",
                hub.endpoint
            ),
        },
        other => other.to_string(),
    }
}
