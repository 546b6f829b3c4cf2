//! What a restored collection takes of the server: its logs' messages as they were, and revisions
//! that go on behind theirs.

use async_nats::{Message, Subscriber, jetstream::stream::Stream};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use weimocir_domain::{Collection, ImageId, Revision, Shard};
use weimocir_wire::{
    names::{self, WORK_STREAM},
    peek,
    subjects::{self, Part},
};

use crate::{Bus, BusError, SubmitError, log::Revised};

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
    /// is submitted or deleted from now on is newer than a word of that revision.
    ///
    /// # Errors
    /// Work waits in a stream that is not as far.
    pub async fn pass_revision(&self, last: Revision) -> Result<(), BusError> {
        self.advance_past(last).boxed().await
    }

    async fn advance_past(&self, last: Revision) -> Result<(), BusError> {
        let failed = |e: String| BusError::failed("let revisions go on behind the backup's", e);
        let stream = self.jetstream.get_stream(WORK_STREAM).await;
        let stream = stream.map_err(|e| failed(e.to_string()))?;
        if stream.cached_info().state.last_sequence >= last.0 {
            return Ok(());
        }
        // because: what somebody submits in this moment goes with the purge, and is submitted again
        let mut beside =
            self.client.subscribe("weimocir.work.>").await.map_err(|e| failed(e.to_string()))?;
        self.client.flush().await.map_err(|e| failed(e.to_string()))?;
        let waiting = state(&stream).await?.messages;
        if waiting > 0 {
            let reason = format!(
                "{waiting} submissions and deletions wait in a stream that has not come as far as revision {}; let the workers finish them (`weimocir status`)",
                last.0
            );
            return Err(failed(reason));
        }
        // because: a purge up to a sequence that was not given yet makes it the next one
        let purge = stream.purge().sequence(last.0 + 1).await;
        let purged = purge.map_err(|e| failed(e.to_string()))?.purged;
        if purged > 0 {
            self.client.flush().await.map_err(|e| failed(e.to_string()))?;
            self.submit_again(&mut beside).await.map_err(|e| failed(e.to_string()))?;
        }
        let reached = state(&stream).await?.last_sequence;
        if reached < last.0 {
            return Err(failed(format!("the server leaves {WORK_STREAM} at {reached}")));
        }
        Ok(())
    }

    async fn submit_again(&self, heard: &mut Subscriber) -> Result<(), SubmitError> {
        while let Some(Some(Message { subject, payload, .. })) = heard.next().now_or_never() {
            if subjects::SUBMISSIONS.contains(&subject.as_str()) {
                self.submit_bytes(&subject, payload, None).await?;
            }
        }
        Ok(())
    }
}

async fn state(stream: &Stream) -> Result<async_nats::jetstream::stream::State, BusError> {
    let info = stream.get_info().await;
    info.map(|info| info.state).map_err(|e| BusError::failed(format!("look at {WORK_STREAM}"), e))
}
