//! The pods of the fleet: one watch for all of them, a step at its time, and who writes what became of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use kube::Api;
use kube::runtime::watcher;
use orlop_client::informer::{Cached, Change, ObjectKey};
use tokio::task::JoinSet;

use crate::chance::unit;
use crate::client::{Body, is_conflict, is_not_found};
use crate::fleet::{Seat, World};
use crate::objects::{self, Doing};
use crate::view::{BY_NODE, HollowPod, Phase};

/// Pods that are written about at the same time.
const WORKERS: usize = 32;

/// What happens to a pod next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Start,
    Fail,
    Stop,
}

/// It happens to that very pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Step {
    pub pod: ObjectKey,
    pub uid: Arc<str>,
    pub what: What,
}

/// Starts the watch and the workers.
pub fn start(world: &Arc<World>, client: kube::Client, tasks: &mut JoinSet<()>) {
    let on = Arc::downgrade(world);
    world.pods.on_change(move |change| {
        if let Some(world) = on.upgrade() {
            world.changed(change);
        }
    });
    let this = world.clone();
    // As node agents do: a pod is nothing to a node before it is bound.
    let bound = watcher::Config::default().fields("spec.nodeName!=");
    tasks.spawn(async move { this.pods.run(Api::all(client), bound).await });
    for _ in 0..WORKERS {
        let this = world.clone();
        tasks.spawn(async move {
            while let Some(step) = this.steps.next().await {
                match this.take(&step).await {
                    Ok(()) => this.steps.forget(&step),
                    // It is gone, or another one by now.
                    Err(error) if is_not_found(&error) || is_conflict(&error) => this.steps.forget(&step),
                    Err(error) => {
                        tracing::debug!(pod = %step.pod, %error, "pod not written, retrying");
                        this.steps.add_rate_limited(step.clone());
                    }
                }
                this.steps.done(&step);
            }
        });
    }
}

/// A node is back: what it left undone goes on.
pub fn resume(world: &World, node: &str) {
    for pod in world.pods.store().by_index(BY_NODE, node) {
        if let Some(what) = next(&pod) {
            world.plan(&pod, what, Duration::ZERO);
        }
    }
}

/// What a pod waits for.
fn next(pod: &HollowPod) -> Option<What> {
    match pod.phase {
        _ if pod.terminating => Some(What::Stop),
        Phase::Pending => Some(What::Start),
        Phase::Running | Phase::Ended => None,
    }
}

impl World {
    fn seat(&self, pod: &HollowPod) -> Option<&Seat> {
        self.seats.get(pod.node.as_ref()?)
    }

    fn plan(&self, pod: &Cached<HollowPod>, what: What, delay: Duration) {
        let step = Step {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            what,
        };
        self.steps.add_after(step, delay);
    }

    fn changed(&self, change: &Change<HollowPod>) {
        let Some(pod) = change.new.as_ref().filter(|pod| self.seat(pod).is_some()) else {
            return;
        };
        let before = change
            .old
            .as_ref()
            .filter(|old| old.node.is_some())
            .and_then(|old| next(old));
        // Each step once: later changes of the pod tell nothing new.
        match next(pod) {
            what if what == before => {}
            Some(What::Stop) => self.plan(pod, What::Stop, self.fleet.stop_delay),
            Some(what) => self.plan(pod, what, self.fleet.start_delay),
            None => {}
        }
    }

    async fn take(&self, step: &Step) -> Result<(), kube::Error> {
        let Some(pod) = self.pods.store().get(&step.pod).filter(|pod| pod.uid == step.uid) else {
            return Ok(());
        };
        let Some(seat) = self
            .seat(&pod)
            .filter(|seat| !seat.silent.load(Ordering::Relaxed))
        else {
            return Ok(());
        };
        let path = format!("/api/v1/namespaces/{}/pods/{}", pod.key.namespace, pod.key.name);
        match (step.what, pod.phase) {
            (What::Stop, _) if pod.terminating => self.remove_pod(&path, &pod.uid).await,
            (What::Start, Phase::Pending) if !pod.terminating => {
                let nth = seat.started.fetch_add(1, Ordering::Relaxed);
                let doing = if pod.runs_once {
                    Doing::Succeeded
                } else {
                    Doing::Running
                };
                self.write(&path, &pod, doing, seat, nth).await?;
                if doing == Doing::Running && self.is_fated(seat, nth) {
                    self.plan(&pod, What::Fail, self.fleet.fail_after);
                }
                Ok(())
            }
            (What::Fail, Phase::Running) if !pod.terminating => {
                self.write(&path, &pod, Doing::Failed, seat, 0).await
            }
            _ => Ok(()),
        }
    }

    /// Whether the `nth` pod of a node fails.
    fn is_fated(&self, seat: &Seat, nth: u64) -> bool {
        let chance = unit(self.fleet.schedule.seed, &[seat.number as u64, nth, 3]);
        chance < self.fleet.fail.fraction()
    }

    async fn write(
        &self,
        path: &str,
        pod: &Cached<HollowPod>,
        doing: Doing,
        seat: &Seat,
        nth: u64,
    ) -> Result<(), kube::Error> {
        let number = seat.number * 128 + usize::try_from(nth % 128).unwrap_or(0);
        let body = objects::pod_status(pod, &pod.uid, doing, number, jiff::Timestamp::now()).to_string();
        self.client
            .send(
                Method::PATCH,
                &format!("{path}/status"),
                Body::Merge(body.as_bytes()),
            )
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_starts_once_and_stops_whenever_it_is_deleted() {
        let pod = |phase, terminating| HollowPod {
            phase,
            terminating,
            ..HollowPod::default()
        };
        for (phase, terminating, want) in [
            (Phase::Pending, false, Some(What::Start)),
            (Phase::Running, false, None),
            (Phase::Ended, false, None),
            (Phase::Pending, true, Some(What::Stop)),
            (Phase::Ended, true, Some(What::Stop)),
        ] {
            assert_eq!(next(&pod(phase, terminating)), want, "{phase:?} {terminating}");
        }
    }
}
