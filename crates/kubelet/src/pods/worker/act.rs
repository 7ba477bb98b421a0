//! Carries a plan out.
use super::{Again, PULL_BACKOFF_MAX, PULL_LOOK_AFTER, RETRY_AFTER, Reading, Worker};
use crate::images::{self, Look};
use crate::pods::agent::Agent;
use crate::pods::backoff::Backoff;
use crate::pods::decide::backoff_key;
use crate::pods::plan::{Plan, Waiting, Which};
use crate::pods::start::{self, Sandbox, Start};
use crate::pods::stop;
use crate::probes_view::ProbeView;
use crate::runtime::seen::{SeenPod, SeenResources};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use orlop_api::pod::{init_containers, name, namespace, uid};
use orlop_client::events::EventType;
use std::collections::HashMap;
use std::sync::Arc;

impl Worker {
    /// Does what the plan says; containers that start are `started`, in whatever way it ends.
    pub(super) async fn carry_out(&mut self, plan: Plan, started: &mut Vec<String>) -> Result<(), Again> {
        let (agent, pod) = (self.agent.clone(), self.pod.clone());
        let ip = self.addresses().first().cloned();
        let kills = plan
            .kill
            .iter()
            .map(|kill| stop::kill_container(&agent, &pod, kill, ip.as_deref()));
        let mailbox = self.mailbox.clone();
        let killed = {
            let mut kills = std::pin::pin!(join_all(kills));
            loop {
                tokio::select! {
                    biased;
                    // The pod's end has a grace of its own, and it may be a shorter one.
                    () = mailbox.stopping().cancelled() => return Ok(()),
                    killed = &mut kills => break killed,
                    mail = mailbox.next() => self.hear(mail),
                }
            }
        };
        if let Some(error) = killed.into_iter().find_map(Result::err) {
            tracing::warn!(
                pod = name(&pod),
                namespace = namespace(&pod),
                error,
                "cannot kill a container"
            );
            agent.event(
                &pod,
                EventType::Warning,
                "FailedKillPod",
                format!("error killing pod: {error}"),
            );
            return Err(Again(RETRY_AFTER));
        }
        if let Some(trigger) = &plan.restart_all {
            return self.restart_all(trigger).await;
        }
        self.resize(&plan.resize).await?;
        if plan.sandbox.is_none() && plan.start.is_empty() {
            return Ok(());
        }
        self.prepare().await?;
        let mut looked = HashMap::new();
        if let Some(attempt) = plan.sandbox {
            // Images are looked for while the sandbox is made.
            let wanted: Vec<Which> = plan.start.clone();
            let look = async {
                let asks = wanted.iter().filter_map(|which| Some((*which, which.of(&pod)?)));
                let looks = asks.map(|(which, container)| {
                    let agent = &agent;
                    async move { images::look(agent, &container).await.map(|look| (which, look)) }
                });
                join_all(looks)
                    .await
                    .into_iter()
                    .flatten()
                    .collect::<HashMap<Which, Look>>()
            };
            let (made, found) = tokio::join!(self.new_sandbox(attempt), look);
            made?;
            looked = found;
            // Told before any pull begins.
            self.publish(false);
        }
        let Some(sandbox) = self.current_sandbox() else {
            return Ok(());
        };
        let mut again: Option<SignedDuration> = None;
        for which in plan.start {
            if self.mailbox.stopping().is_cancelled() {
                return Ok(());
            }
            // A pod that has changed meanwhile may want another image than was looked for.
            let looked = looked.remove(&which).filter(|_| Arc::ptr_eq(&pod, &self.pod));
            match self.start(which, &sandbox, looked).await {
                Ok(id) => started.extend(id),
                Err(after) => again = Some(again.map_or(after, |earlier| earlier.min(after))),
            }
        }
        again.map_or(Ok(()), |after| Err(Again(after)))
    }

    async fn start(
        &mut self,
        which: Which,
        sandbox: &Sandbox,
        looked: Option<Look>,
    ) -> Result<Option<String>, SignedDuration> {
        let (agent, pod, mailbox) = (self.agent.clone(), self.pod.clone(), self.mailbox.clone());
        let Some(container) = which.of(&pod) else {
            return Ok(None);
        };
        // Lent for as long as it takes: mail is read meanwhile.
        let seen = self.seen.clone();
        let mut pulls = std::mem::replace(&mut self.pulls, Backoff::new(PULL_BACKOFF_MAX));
        let outcome = {
            let path = which.field_path(&container.name);
            let wanted = images::Wanted {
                pod: &pod,
                container: &container,
                path: &path,
                stopping: mailbox.stopping(),
            };
            let mut work = std::pin::pin!(begin(
                &agent,
                &wanted,
                (which, sandbox, &seen),
                looked,
                &mut pulls
            ));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut work => break outcome,
                    mail = mailbox.next() => self.hear(mail),
                }
            }
        };
        self.pulls = pulls;
        // One that was made and does not start, or whose hook fails, is held back like one that crashes.
        let made = match &outcome {
            Ok(_) => true,
            Err(why) => ["RunContainerError", "PostStartHookError"].contains(&&*why.reason),
        };
        let before = self.seen.newest(&container.name).and_then(|seen| seen.exit());
        if let Some(exit) = before.filter(|_| made) {
            let key = backoff_key(&container);
            self.restarts.restarted(&key, exit.finished_at, Timestamp::now());
        }
        match outcome {
            Ok(id) => {
                self.waiting.remove(&container.name);
                self.probes.insert(id.clone(), ProbeView::default());
                // The pod may have been given something else meanwhile.
                let given = agent.surroundings.container_resources(&pod, &container);
                self.set.insert(id.clone(), SeenResources::from(&given));
                let ip = sandbox.ips.first().cloned();
                self.start_probes(container.name.clone(), id.clone(), ip, false);
                Ok(Some(id))
            }
            Err(why) => {
                let after = match &*why.reason {
                    images::NEVER_PULLED => {
                        self.looks
                            .failed(&container.name, String::new(), Timestamp::now())
                    }
                    reason if images::is_lack(reason) => PULL_LOOK_AFTER,
                    _ => RETRY_AFTER,
                };
                if self.waiting.get(&container.name) != Some(&why) {
                    tracing::warn!(
                        pod = name(&pod),
                        namespace = namespace(&pod),
                        uid = uid(&pod),
                        container = container.name,
                        reason = why.reason,
                        message = why.message,
                        "container not started"
                    );
                }
                self.waiting.insert(container.name.clone(), why);
                Err(after)
            }
        }
    }

    /// Stops and removes all containers; then there is a sandbox without any, as at the first start. The record of the
    /// one that began it goes last: an agent that takes over halfway sees that there is more to do.
    async fn restart_all(&mut self, trigger: &str) -> Result<(), Again> {
        let (agent, pod, seen) = (self.agent.clone(), self.pod.clone(), self.seen.clone());
        let failed = |error: String| {
            tracing::warn!(
                pod = name(&pod),
                namespace = namespace(&pod),
                error,
                "cannot restart all containers"
            );
            Again(RETRY_AFTER)
        };
        tracing::info!(
            pod = name(&self.pod),
            namespace = namespace(&self.pod),
            uid = uid(&self.pod),
            "restarting all containers"
        );
        stop::stop_all_containers(&agent, &self.pod, &seen)
            .await
            .map_err(failed)?;
        // How they ended is told before their records go: it is the last state of those that come after them.
        self.reading = Reading::Stale;
        self.read().await.map_err(failed)?;
        self.publish(false);
        let seen = self.seen.clone();
        let (last, others): (Vec<_>, Vec<_>) = seen
            .containers
            .iter()
            .partition(|container| container.id == trigger);
        for container in others.into_iter().chain(last) {
            match agent.runtime.remove_container(&container.id).await {
                Err(error) if !error.is_not_found() => return Err(failed(error.to_string())),
                _ => agent.owners.forget(&container.id),
            }
            if let Some(exit) = container.exit().filter(|_| container.id == trigger)
                && let Some(spec) = self.pod.spec.as_ref()
                && let Some(defined) = (spec.containers.iter().chain(init_containers(spec)))
                    .find(|defined| defined.name == container.name)
            {
                let key = backoff_key(defined);
                self.restarts.restarted(&key, exit.finished_at, Timestamp::now());
            }
        }
        Ok(())
    }
}

/// Has a container's images on the node and starts it; on failure, why it waits.
async fn begin(
    agent: &Agent,
    wanted: &images::Wanted<'_>,
    (which, sandbox, seen): (Which, &Sandbox, &SeenPod),
    looked: Option<Look>,
    pulls: &mut Backoff,
) -> Result<String, Waiting> {
    let volume_images = images::of_volumes(agent, wanted, pulls).await?;
    let image = images::ensure(agent, wanted, looked, pulls).await?;
    let start = Start {
        pod: wanted.pod,
        sandbox,
        seen,
        which,
        image,
        volume_images,
        stopping: wanted.stopping,
    };
    start::start_container(agent, &start).await
}
