//! The device thread when the device's memory does not suffice, on a device of the tests' own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use weimocir_models::{Budget, Cost, DeviceError, DeviceThread, Lane, ModelError, Queues};

/// Holds the thread until the test lets go.
const HOLD: u32 = 1_000;
/// A picture that fits into no memory.
const HUGE: u32 = 1_001;

struct Device {
    release: mpsc::Sender<()>,
    thread: DeviceThread<u32, u32>,
    /// Pictures that fit into one pass.
    memory: Arc<AtomicUsize>,
    /// What was tried: pictures in the batch, and in a pass at most.
    tried: mpsc::Receiver<(usize, usize)>,
}

fn device(budget: usize, memory: usize) -> Device {
    let (seen, tried) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let memory = Arc::new(AtomicUsize::new(memory));
    let held = Arc::clone(&memory);
    let work = move |pictures: &[u32], budget: Budget| {
        assert!(seen.send((pictures.len(), budget.images)).is_ok(), "the test is over");
        if pictures == [HOLD] {
            assert!(released.recv().is_ok(), "the test is over");
        }
        for pass in pictures.chunks(budget.images) {
            if pass.len() > held.load(Ordering::SeqCst) || pass.contains(&HUGE) {
                return Err(ModelError::OutOfMemory { reason: "a test".to_owned() });
            }
        }
        Ok(pictures.to_vec())
    };
    let queues = Queues { batch: Budget { images: budget, tokens: 100 }, ..Queues::default() };
    let thread = DeviceThread::spawn("memory", queues, work).unwrap();
    Device { release, thread, memory, tried }
}

impl Device {
    /// The answers to pictures that wait together, and what was tried for them.
    async fn batch(
        &self,
        pictures: &[u32],
    ) -> (Vec<Result<u32, DeviceError>>, Vec<(usize, usize)>) {
        let submit = |&picture: &u32| {
            let thread = self.thread.clone();
            tokio::spawn(async move { thread.submit(Lane::Ingest, picture, Cost::IMAGE).await })
        };
        let held = submit(&HOLD);
        tokio::task::yield_now().await;
        self.tried.recv().unwrap();
        let tasks: Vec<_> = pictures.iter().map(submit).collect();
        tokio::task::yield_now().await;
        self.release.send(()).unwrap();
        held.await.unwrap().unwrap();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap().map(|answer| answer.value));
        }
        (answers, self.tried.try_iter().collect())
    }

    async fn all_answered(&self, pictures: &[u32]) -> Vec<(usize, usize)> {
        let (answers, tried) = self.batch(pictures).await;
        let answers: Vec<u32> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, pictures);
        tried
    }
}

#[tokio::test]
async fn passes_halve_until_they_fit_and_stay_small() {
    let device = device(16, 3);
    let pictures: Vec<u32> = (0..10).collect();
    // half of the ten that did not fit, and half of that
    assert_eq!(device.all_answered(&pictures).await, [(10, 16), (10, 5), (10, 2)]);
    assert_eq!(device.all_answered(&[1, 2, 3, 4, 5]).await, [(2, 2), (2, 2), (1, 2)]);
}

#[tokio::test]
async fn after_a_hundred_good_batches_larger_passes_are_tried() {
    let device = device(8, 1);
    assert_eq!(device.all_answered(&[1, 2, 3]).await, [(3, 8), (3, 1)]);
    device.memory.store(8, Ordering::SeqCst);
    for _ in 0..100 {
        device.thread.submit(Lane::Query, 0, Cost::IMAGE).await.unwrap();
    }
    device.tried.try_iter().for_each(drop);
    assert_eq!(device.all_answered(&[1, 2, 3]).await, [(2, 2), (1, 2)]);
    for _ in 0..300 {
        device.thread.submit(Lane::Query, 0, Cost::IMAGE).await.unwrap();
    }
    device.tried.try_iter().for_each(drop);
    assert_eq!(device.all_answered(&[0; 9]).await, [(8, 8), (1, 8)]);
}

#[tokio::test]
async fn only_the_picture_that_does_not_fit_alone_fails() {
    let device = device(4, 4);
    let (answers, tried) = device.batch(&[1, HUGE, 2]).await;
    assert!(matches!(answers[..], [Ok(1), Err(_), Ok(2)]), "{answers:?}");
    let error = answers[1].as_ref().unwrap_err();
    assert!(matches!(error, DeviceError::Model(ModelError::OutOfMemory { .. })), "{error}");
    assert_eq!(
        error.to_string(),
        "the device's memory does not suffice (a test): stop other programs that use it, or run a smaller model"
    );
    assert_eq!(tried, [(3, 4), (3, 1), (1, 1), (1, 1), (1, 1)]);
}
