//! Time as a parameter: leases and history age by a [`Clock`], never by the wall clock, so that a
//! stepped clock ends nothing early and a test can turn the hands itself.
use futures::future::BoxFuture;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A clock that never goes back.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;

    /// Resolves once [`Clock::now`] has reached `at`.
    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let sleep = at.saturating_sub(self.now());
        Box::pin(async move { tokio::time::sleep(sleep).await })
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Duration>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self {
            now: watch::Sender::new(Duration::ZERO),
        }
    }
}

impl ManualClock {
    /// Moves the clock forward and wakes who was waiting for it.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= at).await.is_err() {
                // The clock is gone: its time never comes.
                std::future::pending::<()>().await;
            }
        })
    }
}
