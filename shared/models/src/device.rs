//! The device thread: one OS thread owns a model, and async callers hand it jobs.
//!
//! Two bounded queues, queries before ingest. A batch is whatever waits in one queue when the
//! thread is free: no timer. What a batch means is `encoder_handle`'s and `captioner_handle`'s.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use crate::error::ModelError;

/// Which queue a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Somebody waits for the answer.
    Query,
    /// The gallery's work, done when no query waits.
    Ingest,
}

/// How many jobs wait at most, and how many run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    pub query: usize,
    pub ingest: usize,
    /// Bounds how long a query waits for the batch under way.
    pub batch: usize,
}

impl Default for Queues {
    fn default() -> Self {
        // Because a query behind 64 others has waited for seconds, and saying busy is kinder; two
        // batches of ingest keep the thread fed while the next ones are decoded.
        Self { query: 64, ingest: 64, batch: 32 }
    }
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
    /// `work` answers each job of a batch in order, or fails the batch, whose jobs are then tried
    /// one at a time.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn<W>(name: &str, limits: Queues, mut work: W) -> std::io::Result<Self>
    where
        W: FnMut(&[J]) -> Result<Vec<R>, ModelError> + Send + 'static,
    {
        let queue = Arc::new(Queue::new(limits));
        let served = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(batch) = served.next_batch() {
                answer(batch, &mut work);
            }
        })?;
        Ok(Self { owner: Arc::new(Owner { queue, thread: Mutex::new(Some(thread)) }) })
    }

    /// Waits for room in the lane, then for the answer. A caller that stops waiting withdraws its
    /// job.
    ///
    /// # Errors
    /// The job failed, or the thread has stopped.
    pub async fn submit(&self, lane: Lane, job: J) -> Result<R, DeviceError> {
        let room = Arc::clone(self.owner.queue.room(lane));
        let permit = room.acquire_owned().await.map_err(|_| DeviceError::Stopped)?;
        self.owner.queue.push(lane, job, permit)?.await.unwrap_or(Err(DeviceError::Stopped))
    }

    /// The same without waiting for room.
    ///
    /// # Errors
    /// As `submit`, or `Busy` at once if the lane is full.
    pub async fn try_submit(&self, lane: Lane, job: J) -> Result<R, DeviceError> {
        let queue = &self.owner.queue;
        let permit = Arc::clone(queue.room(lane)).try_acquire_owned().map_err(|e| match e {
            TryAcquireError::Closed => DeviceError::Stopped,
            TryAcquireError::NoPermits => DeviceError::Busy { waiting: queue.limit(lane) },
        })?;
        queue.push(lane, job, permit)?.await.unwrap_or(Err(DeviceError::Stopped))
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

type Reply<R> = oneshot::Sender<Result<R, DeviceError>>;

struct Waiting<J, R> {
    job: J,
    reply: Reply<R>,
    /// Its place in the queue, given back when the job is taken out.
    _place: OwnedSemaphorePermit,
}

struct Lanes<J, R> {
    query: VecDeque<Waiting<J, R>>,
    ingest: VecDeque<Waiting<J, R>>,
    closed: bool,
}

struct Queue<J, R> {
    lanes: Mutex<Lanes<J, R>>,
    wake: Condvar,
    query_room: Arc<Semaphore>,
    ingest_room: Arc<Semaphore>,
    limits: Queues,
}

impl<J, R> Queue<J, R> {
    fn new(limits: Queues) -> Self {
        let lanes = Lanes { query: VecDeque::new(), ingest: VecDeque::new(), closed: false };
        Self {
            lanes: Mutex::new(lanes),
            wake: Condvar::new(),
            query_room: Arc::new(Semaphore::new(limits.query)),
            ingest_room: Arc::new(Semaphore::new(limits.ingest)),
            limits,
        }
    }

    fn room(&self, lane: Lane) -> &Arc<Semaphore> {
        match lane {
            Lane::Query => &self.query_room,
            Lane::Ingest => &self.ingest_room,
        }
    }

    fn limit(&self, lane: Lane) -> usize {
        match lane {
            Lane::Query => self.limits.query,
            Lane::Ingest => self.limits.ingest,
        }
    }

    fn push(
        &self,
        lane: Lane,
        job: J,
        place: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Result<R, DeviceError>>, DeviceError> {
        let (reply, answer) = oneshot::channel();
        let mut lanes = lock(&self.lanes);
        if lanes.closed {
            return Err(DeviceError::Stopped);
        }
        let waiting = Waiting { job, reply, _place: place };
        match lane {
            Lane::Query => lanes.query.push_back(waiting),
            Lane::Ingest => lanes.ingest.push_back(waiting),
        }
        drop(lanes);
        self.wake.notify_one();
        Ok(answer)
    }

    /// Waits for jobs and takes up to a batch of them, all from one lane so that a query never
    /// waits for ingest work put beside it. None after `close`.
    fn next_batch(&self) -> Option<Vec<(J, Reply<R>)>> {
        let mut lanes = lock(&self.lanes);
        loop {
            if lanes.closed {
                return None;
            }
            let mut batch = Vec::new();
            let lane = if lanes.query.is_empty() { &mut lanes.ingest } else { &mut lanes.query };
            while batch.len() < self.limits.batch.max(1) {
                let Some(next) = lane.pop_front() else { break };
                // A caller that has left wants no answer.
                if !next.reply.is_closed() {
                    batch.push((next.job, next.reply));
                }
            }
            if !batch.is_empty() {
                return Some(batch);
            }
            if lanes.query.is_empty() && lanes.ingest.is_empty() {
                lanes = self.wake.wait(lanes).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn close(&self) {
        self.query_room.close();
        self.ingest_room.close();
        let mut lanes = lock(&self.lanes);
        lanes.closed = true;
        // Their callers are told by the end of their reply channels.
        lanes.query.clear();
        lanes.ingest.clear();
        drop(lanes);
        self.wake.notify_all();
    }
}

/// Answers every job of a batch. If the batch fails, its jobs run one at a time, so that the one
/// at fault fails alone.
fn answer<J, R, W>(batch: Vec<(J, Reply<R>)>, work: &mut W)
where
    W: FnMut(&[J]) -> Result<Vec<R>, ModelError>,
{
    let (jobs, mut replies): (Vec<J>, Vec<Reply<R>>) = batch.into_iter().unzip();
    match (run(&jobs, work), replies.len()) {
        (Ok(answers), _) => {
            replies.into_iter().zip(answers).for_each(|(reply, answer)| send(reply, Ok(answer)));
        }
        (Err(error), 1) => send(replies.remove(0), Err(error)),
        (Err(error), _) => {
            tracing::warn!(jobs = jobs.len(), %error, "batch failed, trying its jobs one at a time");
            for (job, reply) in jobs.iter().zip(replies) {
                let outcome = run(std::slice::from_ref(job), work);
                send(
                    reply,
                    outcome.and_then(|mut answers| answers.pop().ok_or(DeviceError::Stopped)),
                );
            }
        }
    }
}

fn run<J, R, W>(jobs: &[J], work: &mut W) -> Result<Vec<R>, DeviceError>
where
    W: FnMut(&[J]) -> Result<Vec<R>, ModelError>,
{
    // Models hold no state between calls that a panic could leave half-changed.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let answers = work(jobs)?;
        assert_eq!(answers.len(), jobs.len(), "one answer for each job");
        Ok(answers)
    }));
    outcome
        .unwrap_or_else(|panic| Err(DeviceError::Panicked { reason: crate::panic_text(&*panic) }))
}

fn send<R>(reply: Reply<R>, outcome: Result<R, DeviceError>) {
    if reply.send(outcome).is_err() {
        tracing::debug!("the caller left before its answer was ready");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can be left half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
