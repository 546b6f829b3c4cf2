//! The loop of a worker on the work stream: take places and permits, pull that many, handle each in a
//! task of its own, settle it by its outcome, and on stop finish what was begun. What is for later keeps
//! its place and lets go of its permit, so that other work goes on, and is asked about again.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use weimocir_wire::metrics as names;

use crate::{Bus, BusError, Delivery, Failure, trace};

/// After this many deliveries a message is dead, whether it failed or took its worker with it.
pub(crate) const MAX_ATTEMPTS: u64 = 6;
/// How long one delivery may be worked on.
// because: a queue of large pictures on a slow CPU takes minutes, a handler that hangs takes for ever
pub const HANDLING: Duration = Duration::from_secs(600);
/// How long a delivery that is for later waits at first; twice as long each time, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Deliveries that may be at hand beside those in work; with more for later, no more is pulled.
// because: all workers of a kind may have 20,000 at hand, and 87 with 128 in work each have them then
const KEPT: usize = 100;
/// How long unfinished work may go on after a stop.
const DRAIN: Duration = Duration::from_secs(20);

/// What a worker pulls, and how much at once.
#[derive(Debug, Clone)]
pub struct Pull {
    /// The step's name in dead letters and logs.
    pub step: &'static str,
    pub stream: &'static str,
    /// Shared by all workers of a kind: each message goes to one of them.
    pub durable: String,
    pub subject: String,
    /// Deliveries handled at the same time.
    pub in_flight: usize,
    /// A worker that says nothing for this long is taken for dead, and its deliveries go to others.
    pub ack_wait: Duration,
    /// Wait for a queue that is not there, and that this worker may not make.
    pub waits: bool,
}

/// Runs until `shutdown`, then finishes the deliveries begun.
///
/// # Errors
/// The consumer cannot be made, or a handler reported [`Failure::Fatal`].
pub fn work<'a, F>(
    bus: &'a Bus,
    pull: Pull,
    handler: impl Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
    shutdown: &'a CancellationToken,
) -> BoxFuture<'a, Result<(), BusError>>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    work_boxed(bus, pull, Arc::new(move |delivery| handler(delivery).boxed()), shutdown).boxed()
}

type Handler = Arc<dyn Fn(Arc<Delivery>) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

async fn work_boxed(
    bus: &Bus,
    pull: Pull,
    handler: Handler,
    shutdown: &CancellationToken,
) -> Result<(), BusError> {
    let consumer = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        found = found_or_made(bus, &pull) => found?,
    };
    let room = Room {
        places: Arc::new(Semaphore::new(pull.in_flight + KEPT)),
        permits: Arc::new(Semaphore::new(pull.in_flight)),
    };
    let keeps = Arc::new(AtomicUsize::new(0));
    // because: before its first value the gauge would be missing from what is exposed, rather than 0
    metrics::gauge!(names::DELIVERIES_KEPT, "step" => pull.step).increment(0);
    let (fatal, stopping) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let batch = tokio::select! {
            () = shutdown.cancelled() => break,
            () = fatal.cancelled() => break,
            batch = pull_batch(&consumer, &room) => batch,
        };
        let (mut messages, mut taken) = match batch {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(step = pull.step, %error, "no work can be pulled; trying again");
                sleep(Duration::from_millis(500)).await;
                continue;
            }
        };
        while let Some(message) = messages.next().await {
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    tracing::debug!(step = pull.step, %error, "the pull ended early");
                    break;
                }
            };
            let delivery = Delivery::new(message);
            if fatal.is_cancelled() {
                break;
            }
            let Some(taken) = taken.split_one() else { break };
            let task = Task {
                bus: bus.clone(),
                step: pull.step,
                ack_wait: pull.ack_wait,
                fatal: fatal.clone(),
                stopping: stopping.clone(),
                keeps: keeps.clone(),
            };
            let handler = handler.clone();
            tasks.spawn(async move { task.run(delivery, taken, handler).await });
        }
    }
    stopping.cancel();
    let unfinished = tasks.len();
    if timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(
            step = pull.step,
            unfinished,
            "stopped before all work was finished; it goes to others"
        );
    }
    tasks.shutdown().await;
    match fatal.is_cancelled() {
        true => Err(BusError::failed(format!("go on with {}", pull.step), "see the error above")),
        false => Ok(()),
    }
}

/// How often a queue is looked for that somebody else has to make.
const LOOK: Duration = Duration::from_secs(2);

async fn found_or_made(bus: &Bus, pull: &Pull) -> Result<PullConsumer, BusError> {
    let Pull { stream, durable, .. } = pull;
    match consumer(bus, pull).await {
        Err(error) if pull.waits => {
            tracing::info!(durable, stream, %error, "waiting for a queue that `weimocir provision --model` makes");
        }
        found => return found,
    }
    loop {
        sleep(LOOK).await;
        if let Ok(found) = bus.jetstream.get_consumer_from_stream(durable, *stream).await {
            return Ok(found);
        }
    }
}

/// What is there and fits is used as it is: a worker need not be allowed to make consumers.
async fn consumer(bus: &Bus, pull: &Pull) -> Result<PullConsumer, BusError> {
    let wanted = queue(pull);
    let held = bus.jetstream.get_consumer_from_stream(&pull.durable, pull.stream).await;
    let held: Option<PullConsumer> = match held {
        Ok(held) => Some(held),
        Err(error) => {
            tracing::debug!(step = pull.step, %error, "no consumer yet");
            None
        }
    };
    if let Some(held) = held.as_ref().filter(|held| fits(&held.cached_info().config, &wanted)) {
        return Ok(held.clone());
    }
    match (bus.jetstream.create_consumer_on_stream(wanted, pull.stream).await, held) {
        (Ok(made), _) => Ok(made),
        (Err(error), Some(held)) => {
            tracing::warn!(step = pull.step, %error, "the queue keeps the settings that it has");
            Ok(held)
        }
        (Err(error), None) => {
            Err(BusError::failed(format!("attach to the work of {}", pull.step), error))
        }
    }
}

fn fits(held: &async_nats::jetstream::consumer::Config, wanted: &pull::Config) -> bool {
    (held.ack_wait, held.max_ack_pending, held.max_waiting, &held.filter_subject)
        == (wanted.ack_wait, wanted.max_ack_pending, wanted.max_waiting, &wanted.filter_subject)
}

/// The durable consumer that all workers of a kind share.
pub(crate) fn queue(pull: &Pull) -> pull::Config {
    pull::Config {
        durable_name: Some(pull.durable.clone()),
        filter_subject: pull.subject.clone(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: pull.ack_wait,
        // because: the limit is for all workers of a kind together, and each has its own permits
        max_ack_pending: 20_000,
        max_waiting: 10_000,
        ..Default::default()
    }
}

/// What a worker may have at hand, and what of it in work.
struct Room {
    places: Arc<Semaphore>,
    permits: Arc<Semaphore>,
}

/// As many places as permits.
struct Taken {
    place: OwnedSemaphorePermit,
    permit: OwnedSemaphorePermit,
}

impl Room {
    /// Waits for a place and a permit, and takes all that are free.
    async fn take(&self) -> Result<Taken, BusError> {
        let closed = |e: tokio::sync::AcquireError| BusError::failed("take a permit", e);
        let place = self.places.clone().acquire_owned().await.map_err(closed)?;
        let permit = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let mut taken = Taken { place, permit };
        let more = self.places.available_permits().min(self.permits.available_permits()) as u32;
        if more > 0
            && let Ok(places) = self.places.clone().try_acquire_many_owned(more)
            && let Ok(permits) = self.permits.clone().try_acquire_many_owned(more)
        {
            taken.place.merge(places);
            taken.permit.merge(permits);
        }
        Ok(taken)
    }
}

impl Taken {
    fn split_one(&mut self) -> Option<Self> {
        Some(Self { place: self.place.split(1)?, permit: self.permit.split(1)? })
    }
}

/// Asks the server for as many messages as there is room for.
async fn pull_batch(
    consumer: &PullConsumer,
    room: &Room,
) -> Result<(pull::Batch, Taken), BusError> {
    let taken = room.take().await?;
    let messages = consumer
        .batch()
        .max_messages(taken.permit.num_permits())
        .expires(Duration::from_millis(500))
        .messages()
        .await
        .map_err(|e| BusError::failed("pull work", e))?;
    Ok((messages, taken))
}

struct Task {
    bus: Bus,
    step: &'static str,
    ack_wait: Duration,
    fatal: CancellationToken,
    stopping: CancellationToken,
    /// How many deliveries have been for later and are not settled.
    keeps: Arc<AtomicUsize>,
}

impl Task {
    async fn run(self, delivery: Delivery, taken: Taken, handler: Handler) {
        let Taken { place: _place, permit } = taken;
        let delivery = Arc::new(delivery);
        let handling = self.until_now(&delivery, permit, &handler).boxed();
        let outcome = self.while_alive(&delivery, handling).await;
        match Arc::try_unwrap(delivery) {
            Ok(delivery) => self.settle(delivery, outcome).await,
            Err(_) => {
                tracing::error!(step = self.step, "a handler kept its delivery; it comes again")
            }
        }
    }

    /// Hands it over until that is not for later any more, or this worker stops.
    // because: given back, it would count as delivered once more each time, and nobody could tell it
    // from one that takes its workers with it; kept, it does so only when its worker stops
    async fn until_now(
        &self,
        delivery: &Arc<Delivery>,
        mut permit: OwnedSemaphorePermit,
        handler: &Handler,
    ) -> Result<(), Failure> {
        let permits = permit.semaphore().clone();
        let kept = metrics::gauge!(names::DELIVERIES_KEPT, "step" => self.step);
        let (mut pause, mut is_kept) = (PAUSE, false);
        loop {
            let outcome = self.handle(delivery, handler).await;
            let Err(Failure::Later(reason)) = &outcome else {
                self.keeps.fetch_sub(usize::from(is_kept), Ordering::Relaxed);
                return outcome;
            };
            if !is_kept {
                is_kept = true;
                self.tell_of_kept(reason);
            }
            drop(permit);
            let waiting = async {
                sleep(pause).await;
                permits.clone().acquire_owned().await
            };
            kept.increment(1);
            let again = self.stopping.run_until_cancelled(waiting).await;
            kept.decrement(1);
            match again {
                Some(Ok(again)) => permit = again,
                None | Some(Err(_)) => return outcome,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Warns of the first that is kept, since there may be a hundred for hours.
    fn tell_of_kept(&self, reason: &str) {
        match self.keeps.fetch_add(1, Ordering::Relaxed) {
            0 => tracing::warn!(step = self.step, reason, "deliveries are kept for later"),
            _ => tracing::debug!(step = self.step, reason, "kept for later"),
        }
    }

    async fn handle(&self, delivery: &Arc<Delivery>, handler: &Handler) -> Result<(), Failure> {
        let began = Instant::now();
        let in_work = metrics::gauge!(names::DELIVERIES_IN_WORK, "step" => self.step);
        in_work.increment(1);
        let outcome = if delivery.attempts() > MAX_ATTEMPTS {
            Err(Failure::Reject(format!(
                "delivered {} times without an outcome: each worker that had it ended or fell silent, perhaps because of it",
                delivery.attempts() - 1
            )))
        } else {
            let span = tracing::info_span!(target: trace::TARGET, "work", step = self.step);
            trace::adopt(&span, delivery.headers());
            let handled = timeout(HANDLING, handler(delivery.clone()).instrument(span)).await;
            handled.unwrap_or_else(|_| {
                Err(Failure::Retry(format!("not done within {} seconds", HANDLING.as_secs())))
            })
        };
        in_work.decrement(1);
        let name = outcome.as_ref().map_or_else(Failure::name, |()| "done");
        metrics::counter!(names::DELIVERIES, "step" => self.step, "outcome" => name).increment(1);
        // because: what is only put off takes no time, and would hide how long the others take
        if !matches!(outcome, Err(Failure::Later(_))) {
            let seconds = metrics::histogram!(names::DELIVERY_SECONDS, "step" => self.step);
            seconds.record(began.elapsed());
        }
        outcome
    }

    async fn while_alive(
        &self,
        delivery: &Delivery,
        mut handling: BoxFuture<'_, Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let mut heartbeat = interval(self.ack_wait / 3);
        heartbeat.tick().await;
        loop {
            tokio::select! {
                outcome = &mut handling => return outcome,
                _ = heartbeat.tick() => delivery.still_working().await,
            }
        }
    }

    async fn settle(&self, delivery: Delivery, outcome: Result<(), Failure>) {
        let attempts = delivery.attempts();
        match outcome {
            Ok(()) => delivery.done().await,
            Err(Failure::Retry(reason)) if attempts < MAX_ATTEMPTS => {
                let delay = Duration::from_millis(250) * 4_u32.pow(attempts.min(4) as u32 - 1);
                tracing::warn!(step = self.step, attempts, reason, "will be tried again");
                delivery.again_after(delay).await;
            }
            Err(Failure::Retry(reason)) => {
                self.bury(delivery, format!("gave up after {attempts} attempts: {reason}")).await;
            }
            // because: only a worker that stops does not keep it
            Err(Failure::Later(_)) => {
                delivery.again_after(Duration::from_secs(5 * attempts)).await;
            }
            Err(Failure::Reject(reason)) => self.bury(delivery, reason).await,
            Err(Failure::Fatal(reason)) => {
                tracing::error!(step = self.step, reason, "this worker cannot go on");
                self.fatal.cancel();
                // because: given back at once, it would come to this worker again, which stops
                delivery.again_after(Duration::from_secs(5)).await;
            }
        }
    }

    /// The letter is stored first: a crash between the two leaves a second letter, never none.
    async fn bury(&self, delivery: Delivery, reason: String) {
        match self.bus.bury(self.step, &delivery, &reason).await {
            Ok(()) => {
                tracing::warn!(step = self.step, reason, "dead letter");
                delivery.never_again().await;
            }
            Err(error) => {
                tracing::error!(step = self.step, reason, %error, "the dead letter could not be stored");
                delivery.again_after(Duration::from_secs(30)).await;
            }
        }
    }
}
