//! A unit pulled from the work stream. Dropping it unsettled gives it back.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{self, AckKind},
};
use weimocir_domain::Revision;
use weimocir_wire::{Encoding, Message, decode};

/// Why a delivery could not be done, which decides what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may go better later: the delivery comes again, a bounded number of times.
    #[error("{0}")]
    Retry(String),
    /// Not now, through no fault of the work: the worker keeps the delivery and asks again, however often. When
    /// the worker stops the delivery goes back, which counts as delivered.
    #[error("{0}")]
    Later(String),
    /// It will never go better: a dead letter.
    #[error("{0}")]
    Reject(String),
    /// The worker itself is broken: the delivery goes back and the worker stops.
    #[error("{0}")]
    Fatal(String),
}

impl Failure {
    pub fn retry(error: impl std::fmt::Display) -> Self {
        Self::Retry(error.to_string())
    }

    pub fn later(error: impl std::fmt::Display) -> Self {
        Self::Later(error.to_string())
    }

    pub fn reject(error: impl std::fmt::Display) -> Self {
        Self::Reject(error.to_string())
    }

    /// What becomes of the delivery, as metrics say it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Retry(_) => "again",
            Self::Later(_) => "later",
            Self::Reject(_) => "dead",
            Self::Fatal(_) => "fatal",
        }
    }
}

#[derive(Debug)]
pub struct Delivery {
    message: jetstream::Message,
    settled: bool,
}

impl Delivery {
    pub(crate) fn new(message: jetstream::Message) -> Self {
        Self { message, settled: false }
    }

    pub fn subject(&self) -> &str {
        self.message.subject.as_str()
    }

    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// # Errors
    /// A payload that is no such message is rejected: it would not be one the next time either.
    pub fn decode<T: Message>(&self) -> Result<T, Failure> {
        decode(self.payload(), Encoding::MessagePack).map_err(Failure::reject)
    }

    /// The sequence that the work stream gave this message.
    pub fn revision(&self) -> Revision {
        Revision(self.message.info().map_or(0, |info| info.stream_sequence))
    }

    /// How often this message has been delivered, this time included.
    pub fn attempts(&self) -> u64 {
        self.message.info().map_or(1, |info| info.delivered.max(1) as u64)
    }

    /// Tells the server that the work goes on, and restarts its clock.
    pub(crate) async fn still_working(&self) {
        if let Err(error) = self.message.ack_with(AckKind::Progress).await {
            tracing::debug!(%error, "progress could not be reported");
        }
    }

    /// Settles as done, and waits until the server knows.
    pub(crate) async fn done(self) {
        self.settle(AckKind::Ack).await;
    }

    pub(crate) async fn again_after(self, delay: Duration) {
        self.settle(AckKind::Nak(Some(delay))).await;
    }

    pub(crate) async fn never_again(self) {
        self.settle(AckKind::Term).await;
    }

    async fn settle(mut self, kind: AckKind) {
        // because: an acknowledgement lost means a second delivery, which readers of the result
        // bear; without waiting for the server's word a stopping worker would lose them in bulk
        match self.message.double_ack_with(kind).await {
            Ok(()) => self.settled = true,
            Err(error) => {
                tracing::warn!(%error, "an outcome did not reach the server; it will deliver again")
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (context, reply) = (self.message.context.clone(), self.message.reply.clone());
        let acker = jetstream::message::Acker::new(context, reply);
        runtime.spawn(async move {
            if let Err(error) = acker.ack_with(AckKind::Nak(None)).await {
                tracing::debug!(%error, "a dropped delivery comes again when its time is up");
            }
        });
    }
}
