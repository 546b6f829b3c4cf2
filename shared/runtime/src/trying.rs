//! A read that is repeated while it fails.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long one read is repeated.
// because: as for a submission, a killed leader in a cluster of three costs 5 to 7 seconds
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Trying {
    until: Instant,
    pause: Duration,
}

impl Trying {
    /// With half a minute of patience from now on.
    pub fn begin() -> Self {
        Self { until: Instant::now() + PATIENCE, pause: Duration::from_millis(50) }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure, when there was patience enough.
    pub async fn after<E: std::fmt::Display>(&mut self, failure: E) -> Result<(), E> {
        if Instant::now() >= self.until {
            return Err(failure);
        }
        tracing::warn!("reading again: {failure}");
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_secs(2));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_is_repeated_while_there_is_patience() {
        let mut trying = Trying::begin();
        for failure in ["no leader", "no leader yet"] {
            assert_eq!(trying.after(failure).await, Ok(()));
        }
        let mut impatient = Trying { until: Instant::now(), ..Trying::begin() };
        assert_eq!(impatient.after("gone").await, Err("gone"));
    }
}
