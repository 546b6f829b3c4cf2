//! The device thread with jobs that say what happens to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use weimocir_models::{DeviceError, DeviceThread, Lane, ModelError, Queues, TextError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// Answered with its number.
    Number(u32),
    /// Holds the thread until the test lets go.
    Hold,
    Fail,
    Panic,
}

struct Bench {
    /// Before the thread, so that a test that fails lets go of it and can be joined.
    release: mpsc::Sender<()>,
    thread: DeviceThread<Job, u32>,
    /// The batches, as the thread took them.
    batches: mpsc::Receiver<Vec<Job>>,
}

fn bench(queues: Queues) -> Bench {
    let (seen, batches) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let work = move |jobs: &[Job]| {
        assert!(seen.send(jobs.to_vec()).is_ok(), "the test is over");
        jobs.iter()
            .map(|job| match job {
                Job::Number(n) => Ok(*n),
                Job::Hold => {
                    released.recv().map(|()| 0).map_err(|_| TextError::Empty { index: 0 }.into())
                }
                Job::Fail => Err(ModelError::Text(TextError::Empty { index: 7 })),
                Job::Panic => panic!("as the test wants"),
            })
            .collect()
    };
    Bench { thread: DeviceThread::spawn("bench", queues, work).unwrap(), batches, release }
}

impl Bench {
    fn submit(&self, lane: Lane, job: Job) -> tokio::task::JoinHandle<Result<u32, DeviceError>> {
        let thread = self.thread.clone();
        tokio::spawn(async move { thread.submit(lane, job).await })
    }

    /// Lets everything that was spawned reach its queue: one thread runs all tasks, so a task that
    /// yields runs after those spawned before it.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    fn next_batch(&self) -> Vec<Job> {
        self.batches.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

#[tokio::test]
async fn queries_go_first_and_a_batch_is_what_waits() {
    let bench = bench(Queues { query: 8, ingest: 8, batch: 2 });
    let held = bench.submit(Lane::Ingest, Job::Hold);
    bench.settle().await;
    assert_eq!(bench.next_batch(), [Job::Hold]);
    let ingest: Vec<_> = (1..=3).map(|n| bench.submit(Lane::Ingest, Job::Number(n))).collect();
    bench.settle().await;
    let query = bench.submit(Lane::Query, Job::Number(9));
    bench.settle().await;
    bench.release.send(()).unwrap();
    assert_eq!(query.await.unwrap().unwrap(), 9);
    assert_eq!(held.await.unwrap().unwrap(), 0);
    for (n, task) in (1..).zip(ingest) {
        assert_eq!(task.await.unwrap().unwrap(), n);
    }
    assert_eq!(bench.next_batch(), [Job::Number(9)]);
    assert_eq!(bench.next_batch(), [Job::Number(1), Job::Number(2)]);
    assert_eq!(bench.next_batch(), [Job::Number(3)]);
}

#[tokio::test]
async fn a_full_lane_says_busy_or_makes_the_caller_wait() {
    let bench = bench(Queues { query: 1, ingest: 1, batch: 4 });
    let held = bench.submit(Lane::Ingest, Job::Hold);
    bench.settle().await;
    assert_eq!(bench.next_batch(), [Job::Hold]);
    let first = bench.submit(Lane::Query, Job::Number(1));
    bench.settle().await;
    let refused = bench.thread.try_submit(Lane::Query, Job::Number(2)).await.unwrap_err();
    assert!(matches!(refused, DeviceError::Busy { waiting: 1 }), "{refused}");
    let waits = bench.submit(Lane::Query, Job::Number(3));
    bench.settle().await;
    bench.release.send(()).unwrap();
    assert_eq!(held.await.unwrap().unwrap(), 0);
    assert_eq!(first.await.unwrap().unwrap(), 1);
    assert_eq!(waits.await.unwrap().unwrap(), 3);
    assert_eq!(bench.thread.try_submit(Lane::Query, Job::Number(4)).await.unwrap(), 4);
}

#[tokio::test]
async fn a_job_that_fails_or_panics_fails_alone() {
    let bench = bench(Queues::default());
    let held = bench.submit(Lane::Ingest, Job::Hold);
    bench.settle().await;
    assert_eq!(bench.next_batch(), [Job::Hold]);
    let jobs = [Job::Number(1), Job::Fail, Job::Number(2), Job::Panic, Job::Number(3)];
    let tasks: Vec<_> = jobs.iter().map(|job| bench.submit(Lane::Ingest, *job)).collect();
    bench.settle().await;
    bench.release.send(()).unwrap();
    assert_eq!(held.await.unwrap().unwrap(), 0);
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    assert_eq!(bench.next_batch(), jobs);
    assert!(
        matches!(outcomes[0], Ok(1))
            && matches!(outcomes[2], Ok(2))
            && matches!(outcomes[4], Ok(3))
    );
    assert!(
        matches!(&outcomes[1], Err(DeviceError::Model(ModelError::Text(_)))),
        "{:?}",
        outcomes[1]
    );
    let panicked = outcomes[3].as_ref().unwrap_err().to_string();
    assert_eq!(panicked, "the model panicked: as the test wants");
    assert_eq!(bench.thread.submit(Lane::Query, Job::Number(5)).await.unwrap(), 5);
}

#[tokio::test]
async fn a_job_whose_caller_left_is_skipped() {
    let bench = bench(Queues::default());
    let held = bench.submit(Lane::Ingest, Job::Hold);
    bench.settle().await;
    assert_eq!(bench.next_batch(), [Job::Hold]);
    let leaves = bench.submit(Lane::Ingest, Job::Number(1));
    let stays = bench.submit(Lane::Ingest, Job::Number(2));
    bench.settle().await;
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    bench.release.send(()).unwrap();
    assert_eq!(held.await.unwrap().unwrap(), 0);
    assert_eq!(stays.await.unwrap().unwrap(), 2);
    assert_eq!(bench.next_batch(), [Job::Number(2)]);
}

#[tokio::test]
async fn shutdown_finishes_the_batch_refuses_the_rest_and_joins() {
    let bench = bench(Queues::default());
    let running = bench.submit(Lane::Ingest, Job::Hold);
    bench.settle().await;
    assert_eq!(bench.next_batch(), [Job::Hold]);
    let waiting = bench.submit(Lane::Ingest, Job::Number(1));
    bench.settle().await;
    let (thread, joined) = (bench.thread.clone(), Arc::new(AtomicBool::new(false)));
    let done = Arc::clone(&joined);
    let stopper = std::thread::spawn(move || {
        thread.shutdown();
        done.store(true, Ordering::SeqCst);
    });
    assert!(matches!(waiting.await.unwrap(), Err(DeviceError::Stopped)));
    assert!(!joined.load(Ordering::SeqCst), "the batch is still under way");
    bench.release.send(()).unwrap();
    stopper.join().unwrap();
    assert_eq!(running.await.unwrap().unwrap(), 0);
    let late = bench.thread.submit(Lane::Query, Job::Number(2)).await;
    assert!(matches!(late, Err(DeviceError::Stopped)));
    let late = bench.thread.try_submit(Lane::Ingest, Job::Number(2)).await;
    assert!(matches!(late, Err(DeviceError::Stopped)));
}

#[test]
fn the_last_handle_stops_and_joins_the_thread() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let model = Dropped(Arc::clone(&gone));
    let thread = DeviceThread::spawn("bench", Queues::default(), move |jobs: &[u32]| {
        assert!(!model.0.load(Ordering::SeqCst));
        Ok(jobs.to_vec())
    });
    let thread = thread.unwrap();
    drop(thread.clone());
    assert!(!gone.load(Ordering::SeqCst));
    drop(thread);
    assert!(gone.load(Ordering::SeqCst));
}
