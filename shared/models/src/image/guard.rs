//! Decoding away from everything else: few pictures at once, and within a budget of memory and of
//! time. A decoder that does not come back costs its picture, and a thread until it does.

use std::{
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::spawn_blocking,
    time::timeout,
};

use super::{ImageError, ImageLimits, decode};
use crate::device::Lane;

/// How long one picture may take.
// because: the largest that are let through take some seconds on a busy core
const PATIENCE: Duration = Duration::from_secs(30);

/// Decoders that may hang at once. Each is replaced; what hangs beyond them keeps its place, so that
/// the process cannot fill with them.
const HANGING: usize = 4;

/// What decoding counts memory in.
const UNIT: u64 = 1 << 20;

/// Queries have places and memory of their own: no gallery's work makes them wait.
static QUERIES: LazyLock<Decoders> = LazyLock::new(|| Decoders::new(places(), PATIENCE));
static INGEST: LazyLock<Decoders> = LazyLock::new(|| Decoders::new(places(), PATIENCE));

fn places() -> usize {
    // because: some wait for memory or for a slow page while others compute
    2 * available_parallelism().map_or(1, usize::from)
}

/// Decodes `bytes` and does `work` with them, where a decoder's fault harms no other picture.
///
/// # Errors
/// What `work` says, and [`ImageError::TooSlow`].
pub(crate) async fn decoding<T: Send + 'static>(
    lane: Lane,
    bytes: Bytes,
    work: impl FnOnce(&[u8]) -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let decoders: &Decoders = match lane {
        Lane::Query => &QUERIES,
        Lane::Ingest => &INGEST,
    };
    let measured = bytes.clone();
    let cost = decoders
        .run(0, move || Ok(decode::memory_wanted(&measured, &ImageLimits::default())))
        .await?;
    decoders.run(cost, move || work(&bytes)).await
}

/// What a decoder under way holds, until it ends or is given up.
type Held = Arc<Mutex<Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>>>;

struct Decoders {
    places: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    hanging: Arc<Semaphore>,
    patience: Duration,
}

impl Decoders {
    fn new(places: usize, patience: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            memory: Arc::new(Semaphore::new(units(ImageLimits::default().memory()) as usize)),
            hanging: Arc::new(Semaphore::new(HANGING)),
            patience,
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        memory: u64,
        work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let stopped = |_| ImageError::DecoderPanicked { reason: "decoding has stopped".into() };
        let most = units(ImageLimits::default().memory());
        let memory = self.memory.clone().acquire_many_owned(units(memory).min(most));
        let memory = memory.await.map_err(stopped)?;
        let place = self.places.clone().acquire_owned().await.map_err(stopped)?;
        let held: Held = Arc::new(Mutex::new(Some((place, memory))));
        let (send, receive) = oneshot::channel();
        let (holder, given_up) = (held.clone(), Arc::new(Mutex::new(None)));
        let hung = given_up.clone();
        spawn_blocking(move || {
            let result = work();
            drop(lock(&holder).take());
            drop(lock(&hung).take());
            // because: a caller that was told already listens no more
            drop(send.send(result));
        });
        match timeout(self.patience, receive).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ImageError::DecoderPanicked { reason: "its thread ended".into() }),
            Err(_) => {
                self.give_up(&held, &given_up);
                Err(ImageError::TooSlow { seconds: self.patience.as_secs() })
            }
        }
    }

    /// What a hanging decoder holds goes to the next, while not too many hang.
    fn give_up(&self, held: &Held, hung: &Mutex<Option<OwnedSemaphorePermit>>) {
        let mut held = lock(held);
        // because: it may have ended a moment ago
        if held.is_none() {
            return;
        }
        match self.hanging.clone().try_acquire_owned() {
            Ok(counted) => {
                *lock(hung) = Some(counted);
                drop(held.take());
                tracing::warn!("a picture's decoder hangs, and is left to itself");
            }
            Err(_) => tracing::error!(hanging = HANGING + 1, "too many decoders hang"),
        }
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // because: nothing under these locks can be left half-changed
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicBool, AtomicUsize, Ordering},
            mpsc,
        },
        time::Instant,
    };

    use super::*;

    fn decoders(places: usize) -> Arc<Decoders> {
        Arc::new(Decoders::new(places, Duration::from_millis(200)))
    }

    #[tokio::test]
    async fn a_decoder_that_hangs_costs_its_picture_and_is_replaced() {
        let decoders = decoders(1);
        let (release, wait) = mpsc::channel::<()>();
        let hanging = decoders.run(1_000 * UNIT, move || Ok(wait.recv()));
        assert_eq!(hanging.await.map(|_| ()), Err(ImageError::TooSlow { seconds: 0 }));
        let start = Instant::now();
        assert_eq!(decoders.run(1_000 * UNIT, || Ok(7)).await, Ok(7));
        assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
        assert_eq!(decoders.hanging.available_permits(), HANGING - 1);
        drop(release);
        while decoders.hanging.available_permits() < HANGING {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(decoders.places.available_permits(), 1);
    }

    #[tokio::test]
    async fn those_that_hang_are_bounded() {
        let decoders = decoders(1);
        let end = Arc::new(AtomicBool::new(false));
        for _ in 0..=HANGING {
            let end = end.clone();
            let hanging = decoders.run(0, move || {
                while !end.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            });
            assert_eq!(hanging.await, Err(ImageError::TooSlow { seconds: 0 }));
        }
        let waiting = timeout(Duration::from_millis(100), decoders.run(0, || Ok(()))).await;
        assert!(waiting.is_err(), "another thread was given to what hangs");
        end.store(true, Ordering::SeqCst);
        assert_eq!(decoders.run(0, || Ok(())).await, Ok(()));
    }

    #[tokio::test]
    async fn memory_is_shared_by_those_who_want_it() {
        let decoders = decoders(8);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        // because: what is wanted is rounded up to whole units
        let half = ImageLimits::default().memory() / 2 - UNIT;
        let job = || {
            let (now, most) = (now.clone(), most.clone());
            decoders.run(half, move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        };
        futures::future::join_all((0..8).map(|_| job())).await;
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_one_pictures_failure() {
        let decoders = decoders(1);
        let died = decoders.run(0, || -> Result<(), ImageError> { panic!("a test's own") }).await;
        assert!(matches!(died, Err(ImageError::DecoderPanicked { .. })), "{died:?}");
        assert_eq!(decoders.run(0, || Ok(1)).await, Ok(1));
    }
}
