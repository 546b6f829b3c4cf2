//! The device thread with jobs that say what happens to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use weimocir_models::{
    Budget, Cost, DeviceError, DeviceThread, Lane, ModelError, Queues, TextError, Timed,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// A picture, answered with its number.
    Number(u32),
    /// Texts of so many tokens together, none longer than ten.
    Texts(u32),
    /// A picture that takes five milliseconds at least.
    Slow,
    /// Holds the thread until the test lets go; costs nothing, as nobody can say what it takes.
    Hold,
    Fail,
    Panic,
}

impl Job {
    fn cost(self) -> Cost {
        match self {
            Job::Texts(tokens) => Cost { images: 0, tokens: tokens as usize, longest: 10 },
            Job::Hold => Cost::default(),
            _ => Cost::IMAGE,
        }
    }
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
    let work = move |jobs: &[Job], _: Budget| {
        assert!(seen.send(jobs.to_vec()).is_ok(), "the test is over");
        jobs.iter()
            .map(|job| match job {
                Job::Number(n) | Job::Texts(n) => Ok(*n),
                Job::Slow => {
                    std::thread::sleep(Duration::from_millis(5));
                    Ok(0)
                }
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

fn budget(images: usize, tokens: usize) -> Queues {
    Queues { batch: Budget { images, tokens }, ..Queues::default() }
}

type Task = tokio::task::JoinHandle<Result<Timed<u32>, DeviceError>>;

async fn value(task: Task) -> u32 {
    task.await.unwrap().unwrap().value
}

impl Bench {
    fn submit(&self, lane: Lane, job: Job) -> Task {
        let thread = self.thread.clone();
        tokio::spawn(async move { thread.submit(lane, job, job.cost()).await })
    }

    async fn try_submit(&self, lane: Lane, job: Job) -> Result<u32, DeviceError> {
        self.thread.try_submit(lane, job, job.cost()).await.map(|answer| answer.value)
    }

    /// The thread is busy until `release`.
    async fn hold(&self) -> Task {
        let held = self.submit(Lane::Ingest, Job::Hold);
        self.settle().await;
        assert_eq!(self.next_batch(), [Job::Hold]);
        held
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
async fn a_query_meets_short_batches_of_ingest_work_only() {
    let bench = bench(budget(8, 100));
    let slow = async |query: Option<Job>| {
        let held = bench.hold().await;
        let query = query.map(|job| bench.submit(Lane::Query, job));
        let tasks: Vec<_> = (0..8).map(|_| bench.submit(Lane::Ingest, Job::Slow)).collect();
        bench.settle().await;
        bench.release.send(()).unwrap();
        for task in [held].into_iter().chain(query).chain(tasks) {
            value(task).await;
        }
    };
    slow(None).await;
    assert_eq!(bench.next_batch().len(), 8);
    // eight took 40 ms, so that two fit into ten
    slow(Some(Job::Number(9))).await;
    assert_eq!(bench.next_batch(), [Job::Number(9)]);
    let rest: Vec<usize> = bench.batches.try_iter().map(|batch| batch.len()).collect();
    assert!(rest.iter().sum::<usize>() == 8 && rest.iter().all(|&jobs| jobs <= 2), "{rest:?}");
}

#[tokio::test]
async fn queries_go_first_and_a_batch_is_what_waits() {
    let bench = bench(budget(2, 100));
    let held = bench.hold().await;
    let ingest: Vec<_> = (1..=3).map(|n| bench.submit(Lane::Ingest, Job::Number(n))).collect();
    bench.settle().await;
    let query = bench.submit(Lane::Query, Job::Number(9));
    bench.settle().await;
    bench.release.send(()).unwrap();
    assert_eq!(value(query).await, 9);
    assert_eq!(value(held).await, 0);
    for (n, task) in (1..).zip(ingest) {
        assert_eq!(value(task).await, n);
    }
    assert_eq!(bench.next_batch(), [Job::Number(9)]);
    assert_eq!(bench.next_batch(), [Job::Number(1), Job::Number(2)]);
    assert_eq!(bench.next_batch(), [Job::Number(3)]);
}

#[tokio::test]
async fn a_full_lane_says_busy_or_makes_the_caller_wait() {
    let bench = bench(Queues { query: 1, ingest: 1, ..Queues::default() });
    let held = bench.hold().await;
    let first = bench.submit(Lane::Query, Job::Number(1));
    bench.settle().await;
    let refused = bench.try_submit(Lane::Query, Job::Number(2)).await.unwrap_err();
    assert!(matches!(refused, DeviceError::Busy { waiting: 1 }), "{refused}");
    let waits = bench.submit(Lane::Query, Job::Number(3));
    bench.settle().await;
    bench.release.send(()).unwrap();
    assert_eq!(value(held).await, 0);
    assert_eq!(value(first).await, 1);
    assert_eq!(value(waits).await, 3);
    assert_eq!(bench.try_submit(Lane::Query, Job::Number(4)).await.unwrap(), 4);
}

#[tokio::test]
async fn a_job_that_fails_or_panics_fails_alone() {
    let bench = bench(Queues::default());
    let held = bench.hold().await;
    let jobs = [Job::Number(1), Job::Fail, Job::Number(2), Job::Panic, Job::Number(3)];
    let tasks: Vec<_> = jobs.iter().map(|job| bench.submit(Lane::Ingest, *job)).collect();
    bench.settle().await;
    bench.release.send(()).unwrap();
    assert_eq!(value(held).await, 0);
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap().map(|answer| answer.value));
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
    assert_eq!(value(bench.submit(Lane::Query, Job::Number(5))).await, 5);
}

#[tokio::test]
async fn a_job_whose_caller_left_costs_nothing() {
    let bench = bench(budget(2, 100));
    let held = bench.hold().await;
    let leaves = bench.submit(Lane::Ingest, Job::Number(1));
    let stay = [2, 3].map(|n| bench.submit(Lane::Ingest, Job::Number(n)));
    bench.settle().await;
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    bench.release.send(()).unwrap();
    assert_eq!(value(held).await, 0);
    for (n, task) in (2..).zip(stay) {
        assert_eq!(value(task).await, n);
    }
    assert_eq!(bench.next_batch(), [Job::Number(2), Job::Number(3)]);
}

#[tokio::test]
async fn a_batch_fills_a_budget_of_images_and_tokens() {
    let bench = bench(budget(2, 60));
    let held = bench.hold().await;
    let jobs = [
        [Job::Number(1), Job::Texts(30), Job::Number(2), Job::Texts(30)].as_slice(),
        &[Job::Number(3)],
        // more than the budget: alone
        &[Job::Texts(90)],
        &[Job::Texts(20), Job::Texts(30)],
        &[Job::Texts(20), Job::Number(4), Job::Number(5)],
        &[Job::Number(6)],
    ];
    let tasks: Vec<_> = jobs.concat().iter().map(|&job| bench.submit(Lane::Ingest, job)).collect();
    bench.settle().await;
    bench.release.send(()).unwrap();
    assert_eq!(value(held).await, 0);
    for task in tasks {
        value(task).await;
    }
    for expected in jobs {
        assert_eq!(bench.next_batch(), expected);
    }
}

#[tokio::test]
async fn ingest_has_a_batch_after_every_eight_of_queries() {
    let bench = bench(budget(1, 100));
    let held = bench.hold().await;
    let ingest = [101, 102].map(|n| bench.submit(Lane::Ingest, Job::Number(n)));
    let queries: Vec<_> = (1..=20).map(|n| bench.submit(Lane::Query, Job::Number(n))).collect();
    bench.settle().await;
    bench.release.send(()).unwrap();
    assert_eq!(value(held).await, 0);
    for task in ingest.into_iter().chain(queries) {
        value(task).await;
    }
    let order: Vec<Job> = (0..22).flat_map(|_| bench.next_batch()).collect();
    let expected = (1..=8).chain([101]).chain(9..=16).chain([102]).chain(17..=20);
    assert_eq!(order, expected.map(Job::Number).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_says_where_its_time_went() {
    let bench = bench(Queues::default());
    let held = bench.hold().await;
    let (start, query) = (Instant::now(), bench.submit(Lane::Query, Job::Hold));
    bench.settle().await;
    let queued_since = Instant::now();
    bench.release.send(()).unwrap();
    let behind = queued_since.elapsed();
    assert_eq!(bench.next_batch(), [Job::Hold]);
    let running_since = Instant::now();
    bench.settle().await;
    let ran = running_since.elapsed();
    bench.release.send(()).unwrap();
    let answer = query.await.unwrap().unwrap();
    assert!(answer.queued >= behind && answer.inference >= ran, "{answer:?}");
    assert!(answer.queued + answer.inference <= start.elapsed(), "{answer:?}");
    assert_eq!(value(held).await, 0);
}

#[tokio::test]
async fn shutdown_finishes_the_batch_refuses_the_rest_and_joins() {
    let bench = bench(Queues::default());
    let running = bench.hold().await;
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
    assert_eq!(value(running).await, 0);
    let late = bench.submit(Lane::Query, Job::Number(2)).await.unwrap();
    assert!(matches!(late, Err(DeviceError::Stopped)));
    let late = bench.try_submit(Lane::Ingest, Job::Number(2)).await;
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
    let thread = DeviceThread::spawn("bench", Queues::default(), move |jobs: &[u32], _| {
        assert!(!model.0.load(Ordering::SeqCst));
        Ok(jobs.to_vec())
    });
    let thread = thread.unwrap();
    drop(thread.clone());
    assert!(!gone.load(Ordering::SeqCst));
    drop(thread);
    assert!(gone.load(Ordering::SeqCst));
}
