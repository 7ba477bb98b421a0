//! What the runtime has: listed, compared with what is wanted, and cleaned of what nobody knows.
use super::{Manager, ORPHAN_RETRY_AFTER};
use crate::images;
use crate::pods::stop::stop_orphan;
use crate::runtime::events::News;
use crate::runtime::read::read_all;
use crate::runtime::seen::{SeenPod, SeenState, changed};
use crate::runtime::{gc, links};
use jiff::Timestamp;
use orlop_client::events::{EventType, node_reference};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

impl Manager {
    pub(super) fn runtime_changed(&mut self, news: &News) {
        match news {
            News::Pod(id) => match self.workers.get(&**id) {
                Some(working) => working.mailbox.post(|mail| mail.runtime_changed = true),
                None => tracing::debug!(uid = &**id, "something of a pod without a worker changed"),
            },
            News::Image => {
                let waits = |id: &&String| {
                    let pod = self.agent.pods.by_uid(id);
                    pod.is_some_and(|record| images::is_awaited(&record.pod))
                };
                self.workers.keys().filter(waits).for_each(|id| self.look(id));
            }
            News::All => {
                for working in self.workers.values() {
                    working.mailbox.post(|mail| mail.runtime_changed = true);
                }
                self.list();
            }
        }
    }

    /// Lists the runtime, unless that is being done; then once more afterwards.
    pub(super) fn list(&mut self) {
        if self.listing {
            self.relist = true;
            return;
        }
        self.listing = true;
        let now = Instant::now();
        if let Some(before) = self.list_began.replace(now) {
            let interval = &self.agent.metrics.relist_interval;
            interval.observe(now.duration_since(before).as_secs_f64());
        }
        let (agent, listed, found) = (self.agent.clone(), self.listed.clone(), self.found.clone());
        self.spawn(async move {
            let began = Instant::now();
            let all = loop {
                match read_all(&*agent.runtime, &found).await {
                    Ok(all) => break all,
                    Err(error) => {
                        tracing::warn!(%error, "cannot list the runtime's pods");
                        tokio::time::sleep(ORPHAN_RETRY_AFTER).await;
                    }
                }
            };
            agent.metrics.relist.observe(began.elapsed().as_secs_f64());
            // The manager goes only when the whole agent does.
            let _ = listed.send(all).await;
        });
    }

    /// Compares what the runtime has with what is wanted: dead containers go, pods nobody knows are stopped.
    pub(super) fn reconcile(&mut self, all: HashMap<String, SeenPod>) {
        self.listing = false;
        let all = Arc::new(all);
        // What no event has told of.
        for id in changed(&self.found, &all) {
            if let Some(working) = self.workers.get(id) {
                working.mailbox.post(|mail| mail.runtime_changed = true);
            }
        }
        self.found = all.clone();
        if std::mem::take(&mut self.relist) {
            return self.list();
        }
        if !self.is_ready() {
            return;
        }
        self.stop_unwanted();
        let known: HashSet<String> = self
            .wanted
            .keys()
            .chain(self.workers.keys())
            .chain(&self.orphans)
            .cloned()
            .collect();
        let asked = std::mem::take(&mut self.collecting);
        let of_known = all.iter().filter(|(id, _)| known.contains(id.as_str()));
        let of_known: Vec<&SeenPod> = of_known.map(|(_, seen)| seen).collect();
        let kept = gc::kept(&self.agent.settings.dead_containers, &of_known, Timestamp::now());
        let mut wanted_garbage = Vec::new();
        for (id, seen) in all.iter() {
            if known.contains(id) {
                let is_over = !self.workers.contains_key(id) && !self.orphans.contains(id);
                let is_wanted = asked.is_empty() || !is_over;
                wanted_garbage.push(gc::garbage(seen, is_wanted.then_some(&kept)));
            } else {
                tracing::info!(
                    uid = id,
                    running = seen.running().count(),
                    "cleaning up a pod that nobody knows"
                );
                self.agent.metrics.orphans.inc();
                self.clean_up(id.clone(), seen.clone());
            }
        }
        for id in self.agent.surroundings.leftovers() {
            if !known.contains(&id) && !all.contains_key(&id) && !self.orphans.contains(&id) {
                self.clean_up(id, SeenPod::default());
            }
        }
        let agent = self.agent.clone();
        let mut with_logs = known;
        with_logs.extend(all.keys().cloned());
        self.spawn(async move {
            let mut failure = None;
            for garbage in wanted_garbage {
                let removed = gc::remove(&*agent.runtime, &agent.owners, &garbage, &HashSet::new()).await;
                failure = failure.or(removed.err());
            }
            if let Some(error) = failure {
                agent.recorder.event(
                    &node_reference(&agent.settings.node_name),
                    EventType::Warning,
                    "ContainerGCFailed",
                    error.to_string(),
                );
            }
            // Dropping them tells.
            drop(asked);
            // Removing what pods wrote takes as long as they wrote much.
            let sweep = tokio::task::spawn_blocking(move || {
                let is_known = |uid: &str| with_logs.contains(uid) || agent.pods.by_uid(uid).is_some();
                let settings = &agent.settings;
                links::prune(&settings.pod_logs, &settings.dead_containers);
                links::sweep(&settings.pod_logs, &settings.container_logs, is_known);
            });
            // One that panicked has said so.
            let _ = sweep.await;
        });
    }

    /// Stops and removes what the runtime and the node have of a pod that nobody wants.
    pub(super) fn clean_up(&mut self, id: String, seen: SeenPod) {
        if !self.orphans.insert(id.clone()) {
            return;
        }
        let (agent, cleaned) = (self.agent.clone(), self.cleaned.clone());
        self.spawn(async move {
            let outcome = match stop_orphan(&agent, &seen).await {
                Ok(sandboxes) => agent.surroundings.release(&id).await.map(|()| sandboxes),
                failed => failed,
            };
            match outcome {
                Err(error) => {
                    tracing::warn!(uid = id, error, "cannot clean up a pod that nobody knows");
                    tokio::time::sleep(ORPHAN_RETRY_AFTER).await;
                }
                Ok(sandboxes) => {
                    let mut stopped = seen;
                    stopped
                        .sandboxes
                        .iter_mut()
                        .for_each(|sandbox| sandbox.ready = false);
                    stopped
                        .containers
                        .iter_mut()
                        .filter(|container| container.is_running())
                        .for_each(|container| {
                            container.state = SeenState::Unknown;
                        });
                    // It is found again by the next listing.
                    let garbage = gc::garbage(&stopped, None);
                    let _ = gc::remove(&*agent.runtime, &agent.owners, &garbage, &sandboxes).await;
                }
            }
            // The next listing finds it again if anything is left.
            let _ = cleaned.send(id).await;
        });
    }
}
