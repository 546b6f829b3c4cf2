//! What a restored collection takes of the server: its logs' messages as they were, and revisions
//! that go on behind theirs.

use std::time::Duration;

use async_nats::jetstream::{response::Response, stream::Stream};
use bytes::Bytes;
use futures::FutureExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use weimocir_domain::{Collection, ImageId, Revision, Shard};
use weimocir_wire::{
    names::{self, WORK_STREAM},
    peek,
    subjects::{self, Part},
};

use crate::{Bus, BusError, SubmitError, log::Revised};

/// All that the work stream takes while it is moved on. No worker reads it.
const CLOSED: &str = "weimocir.work.closed";
/// How long work that waits may take to be finished while nothing is taken.
// because: who submits meanwhile is patient for 30 seconds
const FINISHING: Duration = Duration::from_secs(5);
/// How long a server is asked to take submissions again.
const PATIENCE: Duration = Duration::from_secs(60);

impl Bus {
    /// Puts a message of another log into this one as it is, unless the log has newer word of the
    /// image; says whether it did.
    ///
    /// # Errors
    /// As [`Bus::submit`].
    pub async fn restore_part(
        &self,
        collection: &Collection,
        image: ImageId,
        (shard, part): (Shard, Part),
        payload: Bytes,
    ) -> Result<bool, SubmitError> {
        let restoring = async move {
            let log = names::vectors_stream(collection, shard);
            let subject = subjects::vectors(collection, shard, image, part);
            let refused = |cause: BusError| SubmitError::Refused {
                subject: subject.clone(),
                cause: cause.to_string(),
            };
            let revised = peek::<Revised>(&payload);
            let unreadable = || BusError::failed("restore a part", "it has no revision");
            let revision = revised.ok_or_else(unreadable).map_err(refused)?.revision;
            let tombstone = subjects::vectors(collection, shard, image, Part::Tombstone);
            let deleted = self.last_word(&log, &tombstone).await.map_err(refused)?;
            if deleted.is_some_and(|held| held.revision >= revision) {
                return Ok(false);
            }
            let is_new = self.put_part(log, subject.clone(), revision, payload).await?;
            if is_new && part == Part::Tombstone {
                self.purge_image(collection, shard, image, revision).await.map_err(refused)?;
            }
            Ok(is_new)
        };
        restoring.boxed().await
    }

    /// Has the next submission get a revision behind `last`, whatever the stream has come to: what
    /// is submitted or deleted from now on is newer than a word of that revision. Whoever submits
    /// meanwhile finds the stream closed, and tries again as when a server is away. One caller at a
    /// time: of two the first to finish would open the stream for the other.
    ///
    /// # Errors
    /// Work waits in a stream that is not as far.
    pub async fn pass_revision(&self, last: Revision) -> Result<(), BusError> {
        self.advance_past(last).boxed().await
    }

    async fn advance_past(&self, last: Revision) -> Result<(), BusError> {
        let stream = self.jetstream.get_stream(WORK_STREAM).await.map_err(failed)?;
        let info = stream.cached_info();
        // because: whoever closed it may have died before opening it
        let was_closed = info.config.subjects == [CLOSED];
        if !was_closed && info.state.last_sequence >= last.0 {
            return Ok(());
        }
        let open = match was_closed {
            true => subjects::SUBMISSIONS.map(String::from).to_vec(),
            false => info.config.subjects.clone(),
        };
        let closed = [CLOSED.to_owned()];
        let moved = match self.take_only(&closed).await {
            Ok(()) => self.move_on(&stream, last).await,
            Err(error) => Err(error),
        };
        self.open_again(&open).await?;
        moved
    }

    /// Moves the stream on while it takes no submissions.
    async fn move_on(&self, stream: &Stream, last: Revision) -> Result<(), BusError> {
        // because: it comes to lie behind every submission that was on its way already
        self.submit_bytes(CLOSED, Bytes::new(), None).await.map_err(failed)?;
        stream.purge().filter(CLOSED).await.map_err(failed)?;
        until_empty(stream, last).await?;
        // because: a purge up to a sequence that was not given yet makes it the next one
        let purge = stream.purge().sequence(last.0.saturating_add(1)).await;
        let purged = purge.map_err(failed)?.purged;
        if purged > 0 {
            return Err(failed(format!(
                "{purged} submissions or deletions came although {WORK_STREAM} was closed, and are lost: submit them again"
            )));
        }
        let reached = state(stream).await?.last_sequence;
        if reached < last.0 {
            return Err(failed(format!("the server leaves {WORK_STREAM} at {reached}")));
        }
        Ok(())
    }

    async fn open_again(&self, subjects: &[String]) -> Result<(), BusError> {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.take_only(subjects).await {
            if Instant::now() > until {
                return Err(failed(format!(
                    "{WORK_STREAM} takes no submissions until the same restore has run again: {error}"
                )));
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    /// Has the work stream take what is published on these subjects, and nothing else.
    async fn take_only(&self, subjects: &[String]) -> Result<(), BusError> {
        // because: the client's own type leaves out settings that it does not know
        let mut info = self.ask_server("STREAM.INFO", &json!({})).await?;
        info["config"]["subjects"] = json!(subjects);
        self.ask_server("STREAM.UPDATE", &info["config"]).await.map(|_| ())
    }

    async fn ask_server(&self, what: &str, request: &Value) -> Result<Value, BusError> {
        let subject = format!("{what}.{WORK_STREAM}");
        match self.jetstream.request(subject, request).await.map_err(failed)? {
            Response::Ok(answer) => Ok(answer),
            Response::Err { error } => Err(failed(error)),
        }
    }
}

/// Waits a little for the workers to finish what came before the stream was closed.
async fn until_empty(stream: &Stream, last: Revision) -> Result<(), BusError> {
    let until = Instant::now() + FINISHING;
    loop {
        let waiting = state(stream).await?.messages;
        if waiting == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(failed(format!(
                "{waiting} submissions and deletions wait in a stream that has not come as far as revision {}; let the workers finish them (`weimocir status`)",
                last.0
            )));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn state(stream: &Stream) -> Result<async_nats::jetstream::stream::State, BusError> {
    stream.get_info().await.map(|info| info.state).map_err(failed)
}

fn failed(cause: impl std::fmt::Display) -> BusError {
    BusError::failed("let revisions go on behind the backup's", cause)
}
