//! The two bounded queues, and which jobs make the next batch. What is done with a batch is
//! `answer`'s.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Budget, Cost, DeviceError, Lane, Queues, Timed, answer::Batch, budget::Pace, lock};

/// Batches of queries in a row while ingest work waits; then it has one.
// because: under queries without end the gallery must still grow; a query meets at most one batch
// of ingest work in every eight
const QUERIES_IN_A_ROW: u32 = 8;

/// How long after a query people count as searching: batches of ingest work are short meanwhile.
// because: a query waits for the batch under way, and shall not wait much longer than it takes itself
const SEARCHING: Duration = Duration::from_secs(5);

pub(super) type Answer<R> = Result<Timed<R>, DeviceError>;

pub(super) struct Waiting<J, R> {
    pub(super) job: J,
    pub(super) cost: Cost,
    /// When its caller came, before there was room.
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Answer<R>>,
    /// Its place in the queue, given back when the job is taken out.
    _place: OwnedSemaphorePermit,
}

struct Lanes<J, R> {
    query: VecDeque<Waiting<J, R>>,
    ingest: VecDeque<Waiting<J, R>>,
    /// Batches of queries taken since ingest work waits.
    queries_in_a_row: u32,
    last_query: Option<Instant>,
    pace: Pace,
    closed: bool,
}

pub(super) struct Queue<J, R> {
    lanes: Mutex<Lanes<J, R>>,
    wake: Condvar,
    query_room: Arc<Semaphore>,
    ingest_room: Arc<Semaphore>,
    pub(super) limits: Queues,
}

impl<J, R> Queue<J, R> {
    pub(super) fn new(limits: Queues) -> Self {
        let lanes = Lanes {
            query: VecDeque::new(),
            ingest: VecDeque::new(),
            queries_in_a_row: 0,
            last_query: None,
            pace: Pace::default(),
            closed: false,
        };
        Self {
            lanes: Mutex::new(lanes),
            wake: Condvar::new(),
            query_room: Arc::new(Semaphore::new(limits.query)),
            ingest_room: Arc::new(Semaphore::new(limits.ingest)),
            limits,
        }
    }

    pub(super) fn room(&self, lane: Lane) -> &Arc<Semaphore> {
        match lane {
            Lane::Query => &self.query_room,
            Lane::Ingest => &self.ingest_room,
        }
    }

    pub(super) fn limit(&self, lane: Lane) -> usize {
        match lane {
            Lane::Query => self.limits.query,
            Lane::Ingest => self.limits.ingest,
        }
    }

    pub(super) fn push(
        &self,
        lane: Lane,
        job: J,
        cost: Cost,
        since: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Answer<R>>, DeviceError> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { job, cost, since, reply, _place: place };
        let mut lanes = lock(&self.lanes);
        if lanes.closed {
            return Err(DeviceError::Stopped);
        }
        match lane {
            Lane::Query => {
                lanes.last_query = Some(Instant::now());
                lanes.query.push_back(waiting);
            }
            Lane::Ingest => lanes.ingest.push_back(waiting),
        }
        drop(lanes);
        self.wake.notify_one();
        Ok(answer)
    }

    /// Waits for jobs and takes what the budget holds of them, at least one, all from one lane so
    /// that a query never waits for ingest work put beside it. None after `close`.
    pub(super) fn next_batch(&self, budget: Budget) -> Option<Batch<J, R>> {
        let mut lanes = lock(&self.lanes);
        loop {
            if lanes.closed {
                return None;
            }
            lanes.forget_callers_that_left();
            let batch = lanes.take(budget);
            if batch.is_some() {
                return batch;
            }
            lanes = self.wake.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes note of how long a batch took.
    pub(super) fn ran(&self, lane: Lane, cost: Cost, budget: Budget, took: Duration) {
        lock(&self.lanes).pace.learn(lane, cost, budget, took);
    }

    pub(super) fn close(&self) {
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

impl<J, R> Lanes<J, R> {
    fn forget_callers_that_left(&mut self) {
        self.query.retain(|waiting| !waiting.reply.is_closed());
        self.ingest.retain(|waiting| !waiting.reply.is_closed());
    }

    /// None if nothing waits.
    fn take(&mut self, budget: Budget) -> Option<Batch<J, R>> {
        let ingest_is_due = self.query.is_empty() || self.queries_in_a_row == QUERIES_IN_A_ROW;
        let searching = self.last_query.is_some_and(|last| last.elapsed() < SEARCHING);
        let batch = if ingest_is_due && !self.ingest.is_empty() {
            self.queries_in_a_row = 0;
            let budget = if searching { self.pace.beside_queries(budget) } else { budget };
            fill(Lane::Ingest, &mut self.ingest, budget)
        } else {
            self.queries_in_a_row =
                if self.ingest.is_empty() { 0 } else { self.queries_in_a_row + 1 };
            fill(Lane::Query, &mut self.query, budget)
        };
        (!batch.is_empty()).then_some(batch)
    }
}

/// The first jobs of a lane, as many as the budget holds together; the first one in any case.
fn fill<J, R>(lane: Lane, waiting: &mut VecDeque<Waiting<J, R>>, budget: Budget) -> Batch<J, R> {
    let mut batch = Batch::new(lane, Instant::now());
    while let Some(next) = waiting.front() {
        if !batch.is_empty() && !budget.holds(batch.cost().plus(next.cost)) {
            break;
        }
        waiting.pop_front().into_iter().for_each(|next| batch.push(next));
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingest_work_comes_in_short_batches_while_people_search() {
        let budget = Budget { images: 8, tokens: 512 };
        let queue = Queue::<(), ()>::new(Queues { batch: budget, ..Queues::default() });
        let push = |lane: Lane, cost| {
            let place = Arc::clone(queue.room(lane)).try_acquire_owned().unwrap();
            queue.push(lane, (), cost, Instant::now(), place).unwrap()
        };
        let ms = Duration::from_millis;
        let _answers: Vec<_> = (0..20).map(|_| push(Lane::Ingest, Cost::IMAGE)).collect();
        let batch = queue.next_batch(budget).unwrap();
        assert_eq!((batch.lane(), batch.cost().images), (Lane::Ingest, 8));
        queue.ran(Lane::Ingest, batch.cost(), budget, ms(80));
        let _answer = push(Lane::Query, Cost { images: 0, tokens: 8, longest: 8 });
        let batch = queue.next_batch(budget).unwrap();
        assert_eq!((batch.lane(), batch.cost().images), (Lane::Query, 0));
        queue.ran(Lane::Query, batch.cost(), budget, ms(20));
        let batch = queue.next_batch(budget).unwrap();
        assert_eq!((batch.lane(), batch.cost().images), (Lane::Ingest, 4));
    }
}
