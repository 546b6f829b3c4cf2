//! A scan that takes a fixed time for each image and no processor, so that stores which share a machine
//! answer as if each had one of its own.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

/// Shared by all shards of a store.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedScan {
    per_image: Duration,
    turn: Arc<Mutex<()>>,
}

impl SimulatedScan {
    pub(crate) fn new(nanoseconds: u64) -> Self {
        tracing::warn!(nanoseconds, "scans are simulated: every search waits for each image");
        Self { per_image: Duration::from_nanos(nanoseconds), turn: Arc::default() }
    }

    /// Takes its time once it is its turn.
    pub(crate) async fn of(&self, images: u64) {
        let _turn = self.turn.lock().await;
        tokio::time::sleep(self.per_image.saturating_mul(images.try_into().unwrap_or(u32::MAX)))
            .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn one_search_waits_for_another() {
        let scan = SimulatedScan::new(1_000_000);
        let began = Instant::now();
        tokio::join!(scan.of(20), scan.of(20));
        assert!(began.elapsed() >= Duration::from_millis(40), "{:?}", began.elapsed());
    }
}
