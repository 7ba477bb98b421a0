//! What a pod's worker is told. Orders fold into one state: nobody who tells a worker something ever waits for it, and
//! however much happens, what waits for a worker stays small.
use super::resize::Refused;
use super::verdict::Verdict;
use crate::probes_view::ProbeNews;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use orlop_api::pod::is_terminating;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why and how fast a pod is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Seconds; `None`: the pod's own.
    pub grace: Option<i64>,
    /// What for.
    pub why: StopReason,
}

/// Why a pod is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Its manifest or object is gone.
    Removed,
    /// Its object has a deletion timestamp.
    Deleted,
    /// It has nothing left to run.
    Finished,
    /// `activeDeadlineSeconds` have passed.
    DeadlineExceeded,
    /// The node wants it gone: see [`Mail::verdict`].
    Ordered,
}

impl Stop {
    /// What an API pod's object asks for that is being deleted, or has nothing left to run.
    pub fn of(pod: &Pod) -> Self {
        let why = if is_terminating(pod) {
            StopReason::Deleted
        } else {
            StopReason::Finished
        };
        Self {
            grace: pod.metadata.deletion_grace_period_seconds,
            why,
        }
    }

    /// Of two orders to stop: the shorter grace, the later reason.
    pub fn and_then(self, later: Stop) -> Stop {
        let grace = match (self.grace, later.grace) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Stop {
            grace,
            why: later.why,
        }
    }
}

/// What the node says to what a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResizeNews {
    /// It does not get it.
    pub refused: Option<Refused>,
    /// It was given something else, as the pod of this generation asked.
    pub given: Option<Option<i64>>,
}

/// What came in since the worker last looked.
#[derive(Debug, Default)]
pub struct Mail {
    /// The newest version of the pod.
    pub pod: Option<Arc<Pod>>,
    /// What the API server has of a static pod, when its mirror is first seen.
    pub mirrored: Option<PodStatus>,
    /// What came of a resize that the pod asks for: [`ResizeNews`].
    pub resize: Option<ResizeNews>,
    /// An order to stop for good.
    pub stop: Option<Stop>,
    /// Why the node wants the pod gone.
    pub verdict: Option<Verdict>,
    /// Something happened to its containers or sandbox.
    pub runtime_changed: bool,
    /// Probe results; the latest of each probe.
    pub probes: Vec<ProbeNews>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.pod.is_none()
            && self.mirrored.is_none()
            && self.resize.is_none()
            && self.stop.is_none()
            && self.verdict.is_none()
            && !self.runtime_changed
            && self.probes.is_empty()
    }
}

#[derive(Debug, Default)]
struct Inner {
    mail: Mutex<Mail>,
    arrived: Notify,
    stopping: CancellationToken,
}

/// The mailbox of one worker; its clones are the same box.
#[derive(Clone, Debug, Default)]
pub struct Mailbox(Arc<Inner>);

impl Mailbox {
    /// Puts something in.
    pub fn post(&self, write: impl FnOnce(&mut Mail)) {
        write(&mut self.0.mail.lock());
        self.0.arrived.notify_one();
    }

    /// Tells of a resize: the last word counts, and what was given meanwhile is not forgotten over it.
    pub fn resize(&self, news: ResizeNews) {
        self.post(|mail| {
            let earlier = mail.resize.take().and_then(|earlier| earlier.given);
            mail.resize = Some(ResizeNews {
                given: news.given.or(earlier),
                ..news
            });
        });
    }

    /// Orders the pod stopped, and cuts short what only a running pod waits for (pulls, postStart).
    pub fn stop(&self, stop: Stop) {
        self.post(|mail| mail.stop = Some(mail.stop.map_or(stop, |earlier| earlier.and_then(stop))));
        self.0.stopping.cancel();
    }

    /// A result of a probe; an older one of the same probe is of no use any more.
    pub fn probe(&self, news: ProbeNews) {
        self.post(|mail| {
            mail.probes
                .retain(|old| (&old.container_id, old.kind) != (&news.container_id, news.kind));
            mail.probes.push(news);
        });
    }

    /// Takes what is there.
    pub fn take(&self) -> Mail {
        std::mem::take(&mut self.0.mail.lock())
    }

    /// Waits until something is there, and takes it. Dropping the future loses nothing.
    pub async fn next(&self) -> Mail {
        loop {
            let arrived = self.0.arrived.notified();
            let mail = self.take();
            if !mail.is_empty() {
                return mail;
            }
            arrived.await;
        }
    }

    /// Cancelled by the first order to stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_only_shrinks_however_many_orders_come() {
        let mailbox = Mailbox::default();
        for (grace, why) in [
            (Some(30), StopReason::Deleted),
            (Some(5), StopReason::Deleted),
            (None, StopReason::Removed),
        ] {
            mailbox.stop(Stop { grace, why });
        }
        assert_eq!(
            mailbox.take().stop,
            Some(Stop {
                grace: Some(5),
                why: StopReason::Removed
            })
        );
        assert!(mailbox.stopping().is_cancelled());
    }

    #[tokio::test]
    async fn mail_that_came_before_waiting_is_not_missed() {
        let mailbox = Mailbox::default();
        mailbox.post(|mail| mail.runtime_changed = true);
        assert!(mailbox.next().await.runtime_changed);
    }
}
