//! Publishing with an acknowledgement: nothing counts as said before the server has stored it.

use std::time::Duration;

use async_nats::jetstream::{
    context::{PublishAckFuture, PublishError, PublishErrorKind},
    message::PublishMessage,
};
use futures::FutureExt;
use tokio::time::{Instant, sleep};
use weimocir_domain::Revision;
use weimocir_wire::{Encoding, Message, WireError, encode};

use crate::{Bus, trace};

/// How long a publisher waits for a server that changes its leader, restarts, or has a full queue.
// because: a killed stream leader in a cluster of three costs 5 to 7 seconds
const PATIENCE: Duration = Duration::from_secs(30);

/// Room for a dead letter's headers, its reason among them.
const LETTER_HEADERS: usize = 8 << 10;

#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("a message of {size} bytes is over the server's limit of {limit} bytes (max_payload)")]
    TooLarge { size: usize, limit: usize },
    #[error("the queue of {subject} is full: {cause}")]
    Full { subject: String, cause: String },
    #[error("the server did not take a message on {subject}: {cause}")]
    Refused { subject: String, cause: String },
}

impl Bus {
    /// Publishes `message` and waits until the server has stored it. A full queue or a server that
    /// is away for a moment is waited for. Returns the sequence that the stream gave it.
    ///
    /// A message may be stored twice when an acknowledgement was lost: readers are idempotent.
    ///
    /// # Errors
    /// Too large a message, or a server that refuses or stays away too long.
    pub async fn submit<T: Message>(
        &self,
        subject: &str,
        message: &T,
    ) -> Result<Revision, SubmitError> {
        self.submit_once(subject, message, None).await
    }

    /// As `submit`; what has been stored under the same name in the last minutes is not stored again,
    /// and has the sequence that it had.
    ///
    /// # Errors
    /// As `submit`.
    pub async fn submit_once<T: Message>(
        &self,
        subject: &str,
        message: &T,
        name: Option<&str>,
    ) -> Result<Revision, SubmitError> {
        let payload = encode(message, Encoding::MessagePack)?;
        self.submit_bytes(subject, payload.into(), name).boxed().await
    }

    /// As `submit`, but a full queue is told at once.
    ///
    /// # Errors
    /// As `submit`.
    pub async fn offer<T: Message>(
        &self,
        subject: &str,
        message: &T,
    ) -> Result<Revision, SubmitError> {
        let payload = encode(message, Encoding::MessagePack)?;
        self.publish_until_taken(subject, payload.into(), None, Duration::ZERO).boxed().await
    }

    /// Publishes with the current span's context, if there is one to tell.
    async fn publish(
        &self,
        subject: &str,
        payload: bytes::Bytes,
        name: Option<&str>,
    ) -> Result<PublishAckFuture, PublishError> {
        let message = trace::traced(PublishMessage::build().payload(payload));
        let message = match name {
            Some(name) => message.message_id(name),
            None => message,
        };
        self.jetstream.send_publish(subject.to_owned(), message).await
    }

    pub(crate) async fn submit_bytes(
        &self,
        subject: &str,
        payload: bytes::Bytes,
        name: Option<&str>,
    ) -> Result<Revision, SubmitError> {
        self.publish_until_taken(subject, payload, name, PATIENCE).await
    }

    /// A full queue is waited for as long as `while_full`.
    async fn publish_until_taken(
        &self,
        subject: &str,
        payload: bytes::Bytes,
        name: Option<&str>,
        while_full: Duration,
    ) -> Result<Revision, SubmitError> {
        self.check_size(payload.len())?;
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let error = match self.publish(subject, payload.clone(), name).await {
                Err(error) => error,
                Ok(ack) => match ack.await {
                    Ok(ack) => return Ok(Revision(ack.sequence)),
                    Err(error) => error,
                },
            };
            let full = is_full(&error);
            let transient = matches!(
                error.kind(),
                PublishErrorKind::StreamNotFound
                    | PublishErrorKind::TimedOut
                    | PublishErrorKind::BrokenPipe
                    | PublishErrorKind::MaxAckPending
            );
            let patience = if full { while_full } else { PATIENCE };
            if !(full || transient) || began.elapsed() >= patience {
                let (subject, cause) = (subject.to_owned(), reason(&error));
                return Err(match full {
                    true => SubmitError::Full { subject, cause },
                    false => SubmitError::Refused { subject, cause },
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

impl Bus {
    /// A message must leave room for the headers that a dead letter of it would have.
    pub(crate) fn check_size(&self, size: usize) -> Result<(), SubmitError> {
        let limit = self.max_payload().saturating_sub(LETTER_HEADERS);
        if size > limit {
            return Err(SubmitError::TooLarge { size, limit });
        }
        Ok(())
    }
}

/// The server's refusal carries its error code in the source's text alone.
fn is_full(error: &PublishError) -> bool {
    let reason = reason(error);
    let is = |cause| reason.contains(cause);
    error.kind() == PublishErrorKind::Other
        && (is("maximum messages exceeded") || is("maximum messages per subject exceeded"))
}

fn reason(error: &PublishError) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
