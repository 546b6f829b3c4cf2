//! The device thread: one OS thread owns a model, and async callers hand it jobs.
//!
//! Two bounded queues, queries before ingest. A batch is what waits in one queue when the thread is
//! free, up to a budget of images and tokens: no timer. While people search, ingest work comes in
//! batches that take no longer than two of queries. `queue` chooses the batch, `answer` runs
//! it, `budget` says how large it may be. What a job means is `encoder_handle`'s and
//! `captioner`'s.

mod answer;
mod budget;
mod queue;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::TryAcquireError;

pub use self::budget::{Budget, Cost};
use self::{budget::Allowance, queue::Queue};
use crate::error::ModelError;

/// Which queue a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Somebody waits for the answer.
    Query,
    /// The gallery's work, done when no query waits; under queries without end, one batch after
    /// every eight of theirs.
    Ingest,
}

/// How many jobs wait at most, and how much runs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    pub query: usize,
    pub ingest: usize,
    /// Bounds how long a query waits for the batch under way.
    pub batch: Budget,
}

impl Default for Queues {
    fn default() -> Self {
        // Because a query behind 64 others has waited for seconds, and saying busy is kinder; some
        // batches of ingest keep the thread fed while the next ones are decoded.
        Self { query: 64, ingest: 64, batch: Budget::default() }
    }
}

/// An answer, and where its time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed<T> {
    pub value: T,
    /// Before its batch began, the wait for room in the queue included.
    pub queued: Duration,
    /// Its batch, up to this answer.
    pub inference: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("the model is busy: {waiting} queries wait already")]
    Busy { waiting: usize },
    #[error("the model's thread has stopped")]
    Stopped,
    #[error("the model panicked: {reason}")]
    Panicked { reason: String },
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A handle to the thread. Clones share it; the last one to go stops and joins it.
pub struct DeviceThread<J, R> {
    owner: Arc<Owner<J, R>>,
}

impl<J, R> Clone for DeviceThread<J, R> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner) }
    }
}

impl<J, R> fmt::Debug for DeviceThread<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceThread")
            .field("limits", &self.owner.queue.limits)
            .finish_non_exhaustive()
    }
}

impl<J: Send + 'static, R: Send + 'static> DeviceThread<J, R> {
    /// `work` answers each job of a batch in order, in passes that the budget holds, or fails the
    /// batch. After `OutOfMemory` it is called again with a smaller budget; after another error,
    /// and when no budget is small enough, the jobs are tried one at a time.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn<W>(name: &str, limits: Queues, mut work: W) -> std::io::Result<Self>
    where
        W: FnMut(&[J], Budget) -> Result<Vec<R>, ModelError> + Send + 'static,
    {
        let queue = Arc::new(Queue::new(limits));
        let served = Arc::clone(&queue);
        let mut allowance = Allowance::new(limits.batch);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(batch) = served.next_batch(allowance.now()) {
                let (lane, cost) = (batch.lane(), batch.cost());
                let (budget, begun) = (allowance.now(), Instant::now());
                answer::answer(batch, &mut work, &mut allowance);
                served.ran(lane, cost, budget, begun.elapsed());
            }
        })?;
        Ok(Self { owner: Arc::new(Owner { queue, thread: Mutex::new(Some(thread)) }) })
    }

    /// Waits for room in the lane, then for the answer. A caller that stops waiting withdraws its
    /// job.
    ///
    /// # Errors
    /// The job failed, or the thread has stopped.
    pub async fn submit(&self, lane: Lane, job: J, cost: Cost) -> Result<Timed<R>, DeviceError> {
        let since = Instant::now();
        let room = Arc::clone(self.owner.queue.room(lane));
        let place = room.acquire_owned().await.map_err(|_| DeviceError::Stopped)?;
        let answer = self.owner.queue.push(lane, job, cost, since, place)?;
        answer.await.unwrap_or(Err(DeviceError::Stopped))
    }

    /// The same without waiting for room.
    ///
    /// # Errors
    /// As `submit`, or `Busy` at once if the lane is full.
    pub async fn try_submit(
        &self,
        lane: Lane,
        job: J,
        cost: Cost,
    ) -> Result<Timed<R>, DeviceError> {
        let queue = &self.owner.queue;
        let place = Arc::clone(queue.room(lane)).try_acquire_owned().map_err(|e| match e {
            TryAcquireError::Closed => DeviceError::Stopped,
            TryAcquireError::NoPermits => DeviceError::Busy { waiting: queue.limit(lane) },
        })?;
        let answer = queue.push(lane, job, cost, Instant::now(), place)?;
        answer.await.unwrap_or(Err(DeviceError::Stopped))
    }

    /// Finishes the batch under way, refuses what waits, and joins the thread. Blocks until then.
    pub fn shutdown(&self) {
        self.owner.stop();
    }
}

struct Owner<J, R> {
    queue: Arc<Queue<J, R>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<J, R> Owner<J, R> {
    fn stop(&self) {
        self.queue.close();
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the device thread panicked outside a job");
        }
    }
}

impl<J, R> Drop for Owner<J, R> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can be left half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
