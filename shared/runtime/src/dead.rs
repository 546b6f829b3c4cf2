//! Dead letters: written by the worker loop, read, retried and dropped by people.

use async_nats::{
    HeaderMap,
    jetstream::stream::{RawMessageErrorKind, Stream},
};
use futures::StreamExt;
use weimocir_domain::Revision;
use weimocir_wire::{dead, names::DEAD_STREAM, subjects};

use crate::{Bus, BusError, Delivery};

/// Letters that are asked for at once.
const READ_AT_ONCE: usize = 64;

/// A delivery that was given up.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeadLetter {
    /// Its number, by which it is shown, retried and dropped.
    pub number: u64,
    pub step: String,
    pub reason: String,
    pub attempts: u64,
    pub at: String,
    pub image: Option<String>,
    /// The original's sequence in the work stream.
    pub sequence: Option<u64>,
    /// Where the original was published.
    pub subject: String,
    #[serde(skip)]
    pub payload: Vec<u8>,
}

impl Bus {
    /// Stores a dead letter and waits until the server has it.
    pub(crate) async fn bury(
        &self,
        step: &str,
        delivery: &Delivery,
        reason: &str,
    ) -> Result<(), BusError> {
        let attempts = delivery.attempts().to_string();
        let Revision(sequence) = delivery.revision();
        let letter = Letter {
            step,
            reason,
            attempts: &attempts,
            subject: delivery.subject(),
            sequence: &sequence.to_string(),
            payload: delivery.payload(),
        };
        self.publish_letter(letter).await
    }

    /// A dead letter about a message of a shard's log, which stays where it is.
    pub async fn bury_log_entry(
        &self,
        step: &str,
        entry: &crate::LogEntry,
        reason: &str,
    ) -> Result<(), BusError> {
        let sequence = entry.sequence.to_string();
        let letter = Letter {
            step,
            reason,
            attempts: "1",
            subject: &entry.subject,
            sequence: &sequence,
            payload: &entry.payload,
        };
        self.publish_letter(letter).await
    }

    async fn publish_letter(&self, letter: Letter<'_>) -> Result<(), BusError> {
        let failed =
            |e: String| BusError::failed(format!("store a dead letter of {}", letter.step), e);
        let mut headers = HeaderMap::new();
        headers.insert(dead::STEP, letter.step);
        // because: a line break would end the header
        let reason: String = letter.reason.replace(['\r', '\n'], " ").chars().take(1_000).collect();
        headers.insert(dead::REASON, reason.as_str());
        headers.insert(dead::ATTEMPTS, letter.attempts);
        headers.insert(dead::SUBJECT, letter.subject);
        headers.insert(dead::SEQUENCE, letter.sequence);
        if let Some(image) = image_of(letter.payload) {
            headers.insert(dead::IMAGE, image.as_str());
        }
        self.jetstream
            .publish_with_headers(
                subjects::dead(letter.step),
                headers,
                letter.payload.to_vec().into(),
            )
            .await
            .map_err(|e| failed(e.to_string()))?
            .await
            .map(|_| ())
            .map_err(|e| failed(e.to_string()))
    }
}

struct Letter<'a> {
    step: &'a str,
    reason: &'a str,
    attempts: &'a str,
    subject: &'a str,
    sequence: &'a str,
    payload: &'a [u8],
}

/// The image that a work message is about, whatever its kind.
fn image_of(payload: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct About {
        image: weimocir_domain::ImageId,
    }
    weimocir_wire::peek::<About>(payload).map(|about| about.image.to_string())
}

#[derive(Debug, Clone)]
pub struct DeadLetters {
    bus: Bus,
    stream: Stream,
}

impl DeadLetters {
    /// # Errors
    /// The stream is missing: nothing was ever provisioned.
    pub async fn open(bus: &Bus) -> Result<Self, BusError> {
        let stream = bus
            .jetstream
            .get_stream(DEAD_STREAM)
            .await
            .map_err(|e| BusError::failed("open the dead letters", e))?;
        Ok(Self { bus: bus.clone(), stream })
    }

    /// The number that the last letter has, whatever became of it.
    pub async fn last_number(&self) -> Result<u64, BusError> {
        let info = self
            .stream
            .get_info()
            .await
            .map_err(|e| BusError::failed("count the dead letters", e))?;
        Ok(info.state.last_sequence)
    }

    pub async fn count(&self) -> Result<u64, BusError> {
        let info = self.stream.get_info().await;
        info.map(|info| info.state.messages)
            .map_err(|e| BusError::failed("count the dead letters", e))
    }

    /// All letters after `number`, oldest first.
    pub async fn after(&self, number: u64) -> Result<Vec<DeadLetter>, BusError> {
        let failed = |e: String| BusError::failed("read the dead letters", e);
        let state = self.stream.get_info().await.map_err(|e| failed(e.to_string()))?.state;
        let first = state.first_sequence.max(number + 1);
        // because: whoever may make a consumer could have it write letters wherever they like
        let reading = futures::stream::iter(first..=state.last_sequence)
            .map(|number| self.stream.get_raw_message(number))
            .buffered(READ_AT_ONCE);
        let mut reading = std::pin::pin!(reading);
        let mut letters = Vec::new();
        while let Some(read) = reading.next().await {
            match read {
                Ok(message) => letters.push(letter(
                    message.sequence,
                    message.time.to_string(),
                    Some(&message.headers),
                    &message.payload,
                )),
                // because: it was dropped
                Err(e) if e.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(e) => return Err(failed(e.to_string())),
            }
        }
        Ok(letters)
    }

    /// # Errors
    /// There is no such letter.
    pub async fn get(&self, number: u64) -> Result<DeadLetter, BusError> {
        let message = self
            .stream
            .get_raw_message(number)
            .await
            .map_err(|e| BusError::failed(format!("read the dead letter {number}"), e))?;
        Ok(letter(number, message.time.to_string(), Some(&message.headers), &message.payload))
    }

    /// Publishes the original again where it was, then drops the letter.
    ///
    /// # Errors
    /// There is no such letter, or the original cannot be published, for one because the log of
    /// vectors has something newer: then the letter stays.
    pub async fn retry(&self, number: u64) -> Result<(), BusError> {
        let letter = self.get(number).await?;
        if subjects::is_of_a_log(&letter.subject) {
            self.bus.repeat_part(&letter.subject, &letter.payload).await?;
            return self.drop_letter(number).await;
        }
        let failed = |e: String| BusError::failed(format!("retry the dead letter {number}"), e);
        self.bus
            .jetstream
            .publish(letter.subject, letter.payload.into())
            .await
            .map_err(|e| failed(e.to_string()))?
            .await
            .map_err(|e| failed(e.to_string()))?;
        self.drop_letter(number).await
    }

    /// # Errors
    /// There is no such letter.
    pub async fn drop_letter(&self, number: u64) -> Result<(), BusError> {
        self.stream
            .delete_message(number)
            .await
            .map(|_| ())
            .map_err(|e| BusError::failed(format!("drop the dead letter {number}"), e))
    }
}

fn letter(number: u64, at: String, headers: Option<&HeaderMap>, payload: &[u8]) -> DeadLetter {
    let text =
        |name: &str| headers.and_then(|h| h.get(name)).map(|value| value.as_str().to_owned());
    let or_unknown = |name: &str| text(name).unwrap_or_else(|| "unknown".to_owned());
    let count = |name: &str| text(name).and_then(|n| n.parse().ok());
    DeadLetter {
        number,
        step: or_unknown(dead::STEP),
        reason: or_unknown(dead::REASON),
        attempts: count(dead::ATTEMPTS).unwrap_or(1),
        at,
        image: text(dead::IMAGE),
        sequence: count(dead::SEQUENCE),
        subject: or_unknown(dead::SUBJECT),
        payload: payload.to_vec(),
    }
}
