//! A pod's end: its containers, then what it holds on the node, then its last status.
use super::{ORDERED_STOP_PATIENCE_MIN, Reading, STOP_RETRY_AFTER, Worker};
use crate::pods::mailbox::{Stop, StopReason};
use crate::pods::stop::{self, seconds};
use crate::runtime::gc;
use orlop_api::pod::{name, namespace, uid};
use orlop_client::events::EventType;
use parking_lot::Mutex;
use std::collections::HashSet;

impl Worker {
    /// Stops the pod for good.
    pub(super) async fn end(mut self, mut stop: Stop) {
        let agent = self.agent.clone();
        tracing::info!(
            pod = name(&self.pod), namespace = namespace(&self.pod), uid = uid(&self.pod), why = ?stop.why, "stopping pod"
        );
        agent.surroundings.stop_liveness_and_startup(uid(&self.pod));
        // From now on nothing is made for it any more.
        self.prepared = false;
        let begun = Mutex::default();
        let mut stopped = HashSet::new();
        let mut overdue = overdue_at(&stop);
        // What is known to run is stopped without another look: many pods that end at once would keep the runtime busy with
        // questions before the first is told to stop. Where nothing is known to run, something may be there all the same.
        if !self.seen.is_alive() {
            self.reading = Reading::Stale;
        }
        loop {
            let outcome = match self.read().await {
                Ok(()) if !self.seen.is_alive() => break,
                Ok(()) => self.stop_once(&mut stop, &begun, &mut overdue).await,
                Err(error) => Err(error),
            };
            self.reading = Reading::Stale;
            match outcome {
                Ok(sandboxes) => stopped.extend(sandboxes),
                Err(error) => {
                    agent.event(
                        &self.pod,
                        EventType::Warning,
                        "FailedKillPod",
                        format!("error killing pod: {error}"),
                    );
                    tracing::warn!(
                        pod = name(&self.pod),
                        namespace = namespace(&self.pod),
                        error,
                        "cannot stop the pod"
                    );
                    tokio::time::sleep(STOP_RETRY_AFTER).await;
                }
            }
        }
        agent.surroundings.stop_probes(uid(&self.pod));
        self.waiting.clear();
        self.release(&mut stop, &stopped).await;
        self.publish(true);
        tracing::info!(
            pod = name(&self.pod),
            namespace = namespace(&self.pod),
            uid = uid(&self.pod),
            "pod stopped"
        );
        // The manager goes only when the whole agent does.
        let _ = agent.ended.send(uid(&self.pod).to_owned());
    }

    /// One attempt to stop what runs; mail goes on being read, so that readiness and exits show meanwhile. Which sandboxes
    /// it stopped, by id.
    pub(super) async fn stop_once(
        &mut self,
        stop: &mut Stop,
        begun: &Mutex<HashSet<String>>,
        overdue: &mut Option<tokio::time::Instant>,
    ) -> Result<HashSet<String>, String> {
        let grace = stop.grace.unwrap_or_else(|| stop::grace_of(&self.pod)).max(1);
        let (agent, pod, seen, mailbox) = (
            self.agent.clone(),
            self.pod.clone(),
            self.seen.clone(),
            self.mailbox.clone(),
        );
        let mut work = std::pin::pin!(stop::stop_pod(&agent, &pod, &seen, grace, begun));
        loop {
            let late = async {
                match *overdue {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let mail = tokio::select! {
                outcome = &mut work => return outcome,
                mail = mailbox.next() => mail,
                () = late => {
                    *overdue = None;
                    let message = "Container runtime did not kill the pod within specified grace period.";
                    agent.event(&pod, EventType::Warning, "ExceededGracePeriod", message);
                    continue;
                }
            };
            self.read_mail(mail);
            if let Some(again) = self.stop.take() {
                let shorter = again.grace.is_some_and(|seconds| seconds < grace);
                *stop = stop.and_then(again);
                if shorter {
                    // What is left running is stopped anew, with less time.
                    return Ok(HashSet::new());
                }
            }
            // The end of the last is told with the pod's, which follows.
            if self.read().await.is_ok() && self.seen.running().next().is_some() {
                self.publish(false);
            }
        }
    }

    /// Gives back volumes and cgroup; tried until it works, since a successor waits for it.
    pub(super) async fn release(&mut self, stop: &mut Stop, stopped: &HashSet<String>) {
        while let Err(error) = self.agent.surroundings.release(uid(&self.pod)).await {
            tracing::warn!(
                pod = name(&self.pod),
                namespace = namespace(&self.pod),
                uid = uid(&self.pod),
                error,
                "cannot clean up after the pod yet"
            );
            // Its end may be a long time coming.
            self.publish(false);
            tokio::time::sleep(STOP_RETRY_AFTER).await;
        }
        self.take_mail();
        if let Some(again) = self.stop.take() {
            *stop = stop.and_then(again);
        }
        // A pod that is wanted still has its last containers to be asked about; of others nothing is kept, nor of one that
        // went to make room.
        let evicted = self
            .verdict
            .as_ref()
            .is_some_and(|verdict| verdict.reason == "Evicted");
        if evicted || matches!(stop.why, StopReason::Removed | StopReason::Deleted) {
            let garbage = gc::garbage(&self.seen, None);
            // What is left is the manager's to remove.
            let _ = gc::remove(&*self.agent.runtime, &self.agent.owners, &garbage, stopped).await;
        }
    }
}

/// When the end of a pod that makes room for others is late: they wait for it.
fn overdue_at(stop: &Stop) -> Option<tokio::time::Instant> {
    let grace = stop.grace.filter(|_| stop.why == StopReason::Ordered)?;
    let grace = seconds(grace);
    let patience = (grace + grace / 2).max(ORDERED_STOP_PATIENCE_MIN);
    Some(tokio::time::Instant::now() + patience)
}
