//! When a connection has outlived its use: nothing has been asked over it for a while.
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long connections are kept.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionConfig {
    /// One over which nothing is asked for so long is closed.
    pub idle_max: Duration,
    /// How likely a request over HTTP/2 is the last one on its connection, from 0 to 0.02: among several servers behind
    /// a balancer, clients move on from one that has more than its share.
    pub goaway_chance: f64,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            // Upstream's, which is also what its clients keep an unused connection for.
            idle_max: Duration::from_secs(90),
            goaway_chance: 0.0,
        }
    }
}

/// What is being asked over one connection.
#[derive(Debug)]
pub struct Activity {
    running: AtomicUsize,
    /// When the last answer ended.
    since: Mutex<Instant>,
    changed: Notify,
    leave: Notify,
}

/// A request whose answer has not ended.
#[derive(Debug)]
pub struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended();
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_one();
        }
    }
}

impl Activity {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            running: AtomicUsize::new(0),
            since: Mutex::new(Instant::now()),
            changed: Notify::new(),
            leave: Notify::new(),
        })
    }

    pub fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(self.clone())
    }

    /// It is idle from now on, if nothing runs.
    pub fn ended(&self) {
        *self.since.lock() = Instant::now();
    }

    /// Lets [`Activity::outlived`] end: what is asked now is the last.
    pub fn leave(&self) {
        self.leave.notify_one();
    }

    /// Ends when nothing was asked for `idle_max`, or the client shall go elsewhere.
    pub async fn outlived(&self, idle_max: Duration) {
        tokio::select! {
            () = self.idle(idle_max) => {}
            () = self.leave.notified() => {}
        }
    }

    /// Ends when nothing was asked for `idle_max`.
    pub async fn idle(&self, idle_max: Duration) {
        loop {
            if self.running.load(Ordering::Acquire) > 0 {
                self.changed.notified().await;
                continue;
            }
            let since = *self.since.lock();
            sleep_until(since + idle_max).await;
            if self.running.load(Ordering::Acquire) == 0 && *self.since.lock() == since {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE_MAX: Duration = Duration::from_secs(90);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_nothing_was_asked_for_the_whole_time() {
        let (activity, began) = (Activity::new(), Instant::now());
        let watched = activity.clone();
        let idle = tokio::spawn(async move { watched.outlived(IDLE_MAX).await });
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (one, other) = (activity.begin(), activity.begin());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        drop(one);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(!idle.is_finished(), "one is still running");
        drop(other);
        idle.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(60 + 3600 + 100) + IDLE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_to_leave_does_not_wait() {
        let activity = Activity::new();
        let _running = activity.begin();
        activity.leave();
        activity.outlived(IDLE_MAX).await;
    }
}
