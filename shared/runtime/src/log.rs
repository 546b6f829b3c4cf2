//! One shard's vectors log: appended to by the encoders, followed by the stores.
//!
//! A store knows from its own disk how far it has come, so it follows without acknowledgements: the
//! server delivers in order from there on, and a gap makes the reader begin again behind the last
//! entry that it handed over.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{
    consumer::{DeliverPolicy, pull},
    context::PublishErrorKind,
    message::PublishMessage,
    stream::{DirectGetErrorKind, Stream},
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::Span;
use weimocir_domain::{Collection, ImageId, Revision, Shard};
use weimocir_wire::{Encoding, Message, encode, names, peek, subjects};

use crate::{Bus, BusError, SubmitError, Trying, trace};

/// Looks, of half a second each, after which an idle reader compares its place with the log's end.
const STALL: u32 = 4;

/// Which log this is: a log made anew, under the same name, is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentity {
    pub created: String,
    pub last_sequence: u64,
}

#[derive(Debug)]
pub struct LogEntry {
    pub sequence: u64,
    pub subject: String,
    pub payload: Vec<u8>,
    /// What is done with the entry, for whoever traces its image.
    pub span: Span,
}

/// A reader's place in a shard's log.
pub struct ShardLog {
    name: String,
    stream: Stream,
    /// The last entry handed over.
    position: u64,
    messages: Option<pull::Ordered>,
    /// Entries that the server still had to hand over when it last said so.
    pending: u64,
    /// Looks in a row that found nothing.
    idle: u32,
    /// The end of the log when it was last compared with the position.
    compared: u64,
}

impl std::fmt::Debug for ShardLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShardLog({} at {})", self.name, self.position)
    }
}

impl ShardLog {
    /// # Errors
    /// The log does not exist: the collection was not made.
    pub async fn open(bus: &Bus, collection: &Collection, shard: Shard) -> Result<Self, BusError> {
        let name = names::vectors_stream(collection, shard);
        let stream = bus
            .jetstream
            .get_stream(&name)
            .await
            .map_err(|e| BusError::failed(format!("open the log {name}"), e))?;
        Ok(Self { name, stream, position: 0, messages: None, pending: 0, idle: 0, compared: 0 })
    }

    pub fn identity(&self) -> LogIdentity {
        let info = self.stream.cached_info();
        LogIdentity { created: info.created.to_string(), last_sequence: info.state.last_sequence }
    }

    /// Entries that the log had when it was opened.
    pub fn messages(&self) -> u64 {
        self.stream.cached_info().state.messages
    }

    /// The last entry handed over.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Entries behind the last one handed over, when the server last said so.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Sets the place: what comes next is behind `applied`, the last entry that the reader holds for
    /// certain.
    pub fn follow_after(&mut self, applied: u64) {
        self.position = applied;
        self.messages = None;
    }

    /// The entries that come next, at most `limit`; waits a moment for the first, and returns as
    /// soon as there is no more to take. After an error the next call goes on where this one began.
    pub fn next_entries(&mut self, limit: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, BusError>> {
        self.collect(limit).boxed()
    }

    /// As `next_entries`, and none at the log's end. A read that fails is repeated for half a minute.
    pub fn next_to_end(
        &mut self,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, BusError>> {
        let reading = async move {
            let mut trying = Trying::begin();
            loop {
                let read = match self.is_behind().await {
                    Ok(true) => self.next_entries(limit).await.map(Some),
                    Ok(false) => Ok(None),
                    Err(error) => Err(error),
                };
                match read {
                    Err(error) => trying.after(error).await?,
                    read => return read,
                }
            }
        };
        reading.boxed()
    }

    /// Whether the log had more, when it was last heard of, than has been handed over.
    pub fn is_behind(&mut self) -> BoxFuture<'_, Result<bool, BusError>> {
        let asking = async move {
            if self.messages.is_none() {
                self.messages = Some(self.begin().await?);
            }
            Ok(self.pending > 0)
        };
        asking.boxed()
    }

    /// Whether the log has gone on and nothing came: after a restart of the server it takes the
    /// client a quarter of a minute to notice that its pull is gone.
    async fn has_stalled(&mut self) -> Result<bool, BusError> {
        self.idle += 1;
        if self.idle < STALL {
            return Ok(false);
        }
        self.idle = 0;
        let info = self.stream.get_info().await;
        let info = info.map_err(|e| BusError::failed(format!("read the log {}", self.name), e))?;
        let end = info.state.last_sequence;
        // because: what was deleted at the end of the log never comes, and is compared once
        let stalled = end > self.position.max(self.compared);
        self.compared = end;
        Ok(stalled)
    }

    async fn collect(&mut self, limit: usize) -> Result<Vec<LogEntry>, BusError> {
        let mut entries = Vec::new();
        let mut messages = match self.messages.take() {
            Some(messages) => messages,
            None => self.begin().await?,
        };
        // because: an empty log is looked at again soon, so that a shutdown is noticed
        let mut next = timeout(Duration::from_millis(500), messages.next()).await.ok();
        if next.is_none() && self.has_stalled().await? {
            return Ok(entries);
        }
        while let Some(message) = next {
            self.idle = 0;
            let failed = |e: String| BusError::failed(format!("read the log {}", self.name), e);
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) if entries.is_empty() => return Err(failed(error.to_string())),
                None if entries.is_empty() => return Err(failed("it ended".into())),
                // because: what has come is whole; the reader begins again behind it
                Some(Err(_)) | None => return Ok(entries),
            };
            let info = message.info().map_err(|e| failed(e.to_string()))?;
            let (sequence, pending) = (info.stream_sequence, info.pending);
            let (subject, payload) = (message.subject.to_string(), message.payload.to_vec());
            let span = span_of(info.published, message.headers.as_ref());
            entries.push(LogEntry { sequence, subject, payload, span });
            (self.position, self.pending) = (sequence, pending);
            next = if entries.len() < limit { messages.next().now_or_never() } else { None };
        }
        self.messages = Some(messages);
        Ok(entries)
    }

    /// Begins to read behind the position.
    async fn begin(&mut self) -> Result<pull::Ordered, BusError> {
        let failed = |e: String| BusError::failed(format!("follow the log {}", self.name), e);
        let start_sequence = self.position + 1;
        let config = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            ..Default::default()
        };
        let consumer =
            self.stream.create_consumer(config).await.map_err(|e| failed(e.to_string()))?;
        self.pending = consumer.cached_info().num_pending;
        consumer.messages().await.map_err(|e| failed(e.to_string()))
    }
}

/// How old an entry may be for anybody to trace it still.
// because: a store that reads the whole log again is no news about any image
const TRACED: Duration = Duration::from_secs(60);

fn span_of(published: OffsetDateTime, headers: Option<&HeaderMap>) -> Span {
    if headers.is_none() || OffsetDateTime::now_utc() - published > TRACED {
        return Span::none();
    }
    let span = tracing::info_span!(target: trace::TARGET, "store");
    trace::adopt(&span, headers);
    span
}

/// What every part says.
#[derive(serde::Deserialize)]
pub(crate) struct Revised {
    pub(crate) revision: Revision,
}

/// The last word on a subject of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastWord {
    sequence: u64,
    pub(crate) revision: Revision,
}

impl Bus {
    /// Puts a part into the log, unless the log has one that is as new: compaction keeps the last
    /// message of a subject, so an older part must never come after a newer one.
    ///
    /// # Errors
    /// As [`Bus::submit`].
    pub async fn submit_part<T: Message>(
        &self,
        collection: &Collection,
        image: ImageId,
        (shard, part): (Shard, subjects::Part),
        (revision, message): (Revision, &T),
    ) -> Result<(), SubmitError> {
        let payload = bytes::Bytes::from(encode(message, Encoding::MessagePack)?);
        let subject = subjects::vectors(collection, shard, image, part);
        let log = names::vectors_stream(collection, shard);
        self.put_part(log, subject, revision, payload).boxed().await.map(|_| ())
    }

    /// Says whether the log has taken the part; else it has one that is as new.
    pub(crate) async fn put_part(
        &self,
        log: String,
        subject: String,
        revision: Revision,
        payload: bytes::Bytes,
    ) -> Result<bool, SubmitError> {
        self.check_size(payload.len())?;
        let refused = |cause: String| SubmitError::Refused { subject: subject.clone(), cause };
        // because: most parts are the first of their subject, and need no look at it
        let mut last = 0;
        loop {
            let message = trace::traced(PublishMessage::build())
                .payload(payload.clone())
                .expected_last_subject_sequence(last);
            let published = match self.jetstream.send_publish(subject.clone(), message).await {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            match published {
                Ok(_) => return Ok(true),
                Err(e) if e.kind() == PublishErrorKind::WrongLastSequence => {}
                Err(e) => return Err(refused(e.to_string())),
            }
            last = match self.last_word(&log, &subject).await.map_err(|e| refused(e.to_string()))? {
                Some(held) if held.revision >= revision => return Ok(false),
                Some(held) => held.sequence,
                None => 0,
            };
        }
    }

    /// Puts a part into the log once more, if the log has no newer word on it.
    pub(crate) async fn repeat_part(&self, subject: &str, payload: &[u8]) -> Result<(), BusError> {
        let failed = |e: String| BusError::failed(format!("put {subject} into the log again"), e);
        let unreadable = || failed("it is no part of an image, and can only be dropped".into());
        let (collection, shard, image, part) =
            subjects::read_vectors(subject).ok_or_else(unreadable)?;
        let revision = peek::<Revised>(payload).ok_or_else(unreadable)?.revision;
        let log = names::vectors_stream(&collection, shard);
        let tombstone = subjects::vectors(&collection, shard, image, subjects::Part::Tombstone);
        let deleted = self.last_word(&log, &tombstone).await?;
        if part != subjects::Part::Tombstone && deleted.is_some_and(|t| t.revision >= revision) {
            return Err(failed("the image was deleted since; drop the letter".into()));
        }
        let held = self.last_word(&log, subject).await?;
        if held.is_some_and(|held| held.revision > revision) {
            return Err(failed("the log has a newer one; drop the letter".into()));
        }
        // because: a newer one that comes in between must not be compacted away
        let message = PublishMessage::build()
            .payload(bytes::Bytes::copy_from_slice(payload))
            .expected_last_subject_sequence(held.map_or(0, |held| held.sequence));
        let published = self.jetstream.send_publish(subject.to_owned(), message).await;
        published.map_err(|e| failed(e.to_string()))?.await.map_err(|e| failed(e.to_string()))?;
        Ok(())
    }

    pub(crate) async fn last_word(
        &self,
        log: &str,
        subject: &str,
    ) -> Result<Option<LastWord>, BusError> {
        let failed = |e: String| BusError::failed(format!("read the last word on {subject}"), e);
        let stream =
            self.jetstream.get_stream_no_info(log).await.map_err(|e| failed(e.to_string()))?;
        match stream.direct_get_last_for_subject(subject).await {
            Ok(message) => {
                let revision =
                    peek::<Revised>(&message.payload).map_or(Revision(0), |part| part.revision);
                Ok(Some(LastWord { sequence: message.sequence, revision }))
            }
            Err(e) if e.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(e.to_string())),
        }
    }

    /// Removes what the log keeps of an image up to a revision, but its tombstone.
    pub async fn purge_image(
        &self,
        collection: &Collection,
        shard: Shard,
        image: ImageId,
        up_to: Revision,
    ) -> Result<(), BusError> {
        let log = names::vectors_stream(collection, shard);
        for part in [subjects::Part::Image, subjects::Part::Captions] {
            let subject = subjects::vectors(collection, shard, image, part);
            let Some(held) = self.last_word(&log, &subject).await? else { continue };
            if held.revision > up_to {
                continue;
            }
            let failed = |e: String| BusError::failed(format!("remove {subject} from the log"), e);
            let stream =
                self.jetstream.get_stream_no_info(&log).await.map_err(|e| failed(e.to_string()))?;
            stream.delete_message(held.sequence).await.map_err(|e| failed(e.to_string()))?;
        }
        Ok(())
    }
}
