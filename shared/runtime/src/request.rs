//! Asking: one question and its answer, or an answer that comes in pieces.

use std::time::Duration;

use async_nats::{HeaderMap, Message as NatsMessage, RequestErrorKind, StatusCode, Subscriber};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::time::{Instant, timeout_at};
use weimocir_wire::{
    Encoding, Message, decode, encode,
    search::{Refusal, RefusalCode, Refused},
};

use crate::{Bus, serve::content_type, trace};

impl Bus {
    /// Asks on `subject` and waits for the one answer.
    ///
    /// # Errors
    /// The refusal of the worker that answered; `Unavailable` if there is none, `Timeout` if it is
    /// too slow, `Invalid` if the question is larger than the server takes.
    pub async fn ask<Q: Message, A: Message>(
        &self,
        subject: &str,
        question: &Q,
        within: Duration,
    ) -> Result<A, Refusal> {
        let payload = self.question(question)?;
        read(&self.ask_bytes(subject, payload, within).await?)
    }

    fn ask_bytes<'a>(
        &'a self,
        subject: &'a str,
        payload: bytes::Bytes,
        within: Duration,
    ) -> BoxFuture<'a, Result<NatsMessage, Refusal>> {
        let request = async_nats::Request::new()
            .payload(payload)
            .headers(question_headers())
            .timeout(Some(within));
        let asking = self.client.send_request(subject.to_owned(), request);
        let refusal = move |answer: Result<_, async_nats::RequestError>| match answer {
            Ok(message) => Ok(message),
            Err(e) if e.kind() == RequestErrorKind::NoResponders => Err(nobody(subject)),
            Err(e) if e.kind() == RequestErrorKind::TimedOut => Err(too_slow(subject, within)),
            Err(e) => Err(Refusal::new(RefusalCode::Unavailable, format!("{subject}: {e}"))),
        };
        asking.map(refusal).boxed()
    }

    /// Asks on `subject` for an answer that comes in pieces.
    pub async fn ask_for_pieces<Q: Message>(
        &self,
        subject: &str,
        question: &Q,
        until: Instant,
    ) -> Result<Replies, Refusal> {
        let unavailable =
            |e: String| Refusal::new(RefusalCode::Unavailable, format!("{subject}: {e}"));
        let payload = self.question(question)?;
        let asking = async move {
            let inbox = self.client.new_inbox();
            let replies = self.client.subscribe(inbox.clone()).await;
            let replies = replies.map_err(|e| unavailable(e.to_string()))?;
            let headers = question_headers();
            self.client
                .publish_with_reply_and_headers(subject.to_owned(), inbox, headers, payload)
                .await
                .map_err(|e| unavailable(e.to_string()))?;
            Ok(Replies { replies, subject: subject.to_owned(), until })
        };
        asking.boxed().await
    }

    fn question<Q: Message>(&self, question: &Q) -> Result<bytes::Bytes, Refusal> {
        let payload =
            encode(question, Encoding::MessagePack).map_err(|e| Refusal::invalid(e.to_string()))?;
        let limit = self.max_payload();
        if payload.len() > limit {
            return Err(Refusal::invalid(format!(
                "a {} message of {} bytes is over the server's limit of {limit} bytes (max_payload): use a smaller picture",
                Q::NAME,
                payload.len()
            )));
        }
        Ok(payload.into())
    }
}

fn question_headers() -> HeaderMap {
    let mut headers = content_type(Encoding::MessagePack);
    trace::inject(&mut headers);
    headers
}

/// The pieces of an answer, as they come.
#[derive(Debug)]
pub struct Replies {
    replies: Subscriber,
    subject: String,
    until: Instant,
}

impl Replies {
    /// The next piece. Which is the last, the piece itself says.
    ///
    /// # Errors
    /// As for [`Bus::ask`].
    pub async fn next<A: Message>(&mut self) -> Result<A, Refusal> {
        match timeout_at(self.until, self.replies.next()).await {
            Err(_) => Err(Refusal::new(
                RefusalCode::Timeout,
                format!("{} did not answer in time", self.subject),
            )),
            Ok(None) => Err(Refusal::new(RefusalCode::Unavailable, "the connection was closed")),
            Ok(Some(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                Err(nobody(&self.subject))
            }
            Ok(Some(message)) => read(&message),
        }
    }
}

fn read<A: Message>(message: &NatsMessage) -> Result<A, Refusal> {
    let refused = message.headers.as_ref().is_some_and(|h| h.get("Nats-Service-Error").is_some());
    let unreadable =
        |e: weimocir_wire::WireError| Refusal::new(RefusalCode::Internal, e.to_string());
    if refused {
        let Refused { error } =
            decode(&message.payload, Encoding::MessagePack).map_err(unreadable)?;
        return Err(error);
    }
    decode(&message.payload, Encoding::MessagePack).map_err(unreadable)
}

fn nobody(subject: &str) -> Refusal {
    Refusal::new(
        RefusalCode::Unavailable,
        format!("no worker answers on {subject}: is one running? (`weimocir status`)"),
    )
}

fn too_slow(subject: &str, within: Duration) -> Refusal {
    let message = format!("{subject} did not answer within {} ms", within.as_millis());
    Refusal::new(RefusalCode::Timeout, message)
}
