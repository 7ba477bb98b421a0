//! What sources say: pods that come, change and go.
use super::{Manager, Stage, Wanted};
use crate::pods::mailbox::{Stop, StopReason};
use crate::sources::merge::{Change, changes};
use crate::sources::{Snapshot, Source};
use k8s_openapi::api::core::v1::{Node, Pod};
use orlop_api::pod::{
    condition, config_hash, full_name, is_mirror, is_terminal, is_terminating, mirror_hash, name, namespace,
    uid,
};
use std::sync::Arc;

impl Manager {
    /// Takes over what a source says now.
    pub(super) fn take(&mut self, snapshot: Snapshot, node: Option<&Node>) {
        let source = snapshot.source;
        let before = self.said.remove(&source).unwrap_or_default();
        for change in changes(&before, &snapshot.pods) {
            match change {
                Change::Add(pod) => self.add(source, pod),
                Change::Update(pod) => self.update(source, pod, node),
                Change::Reconcile(pod) => {
                    if source != Source::Api {
                        continue;
                    }
                    let of_worker = self.wanted.get(uid(&pod));
                    if of_worker.is_some_and(|wanted| gates_moved(&wanted.pod, &pod)) {
                        self.update(source, pod, node);
                    } else {
                        self.agent.board.set_object(pod);
                    }
                }
                Change::Remove(pod) => self.remove(source, &pod),
            }
        }
        self.said.insert(
            source,
            snapshot
                .pods
                .into_iter()
                .map(|pod| (uid(&pod).to_owned(), pod))
                .collect(),
        );
        self.start_due(node);
        let was_ready = self.is_ready();
        self.spoken.insert(source);
        if !was_ready && self.is_ready() {
            self.became_ready();
        }
    }

    pub(super) fn add(&mut self, source: Source, pod: Arc<Pod>) {
        if source == Source::Api {
            self.agent.board.set_object(pod.clone());
            if is_mirror(&pod) {
                self.tell_mirrored(&pod);
                return;
            }
        } else if is_mirror(&pod) {
            tracing::warn!(
                pod = name(&pod),
                namespace = namespace(&pod),
                "a manifest of a mirror pod is not run"
            );
            return;
        }
        self.agent.pods.put(pod.clone(), source);
        self.wanted.insert(
            uid(&pod).to_owned(),
            Wanted {
                pod,
                asked: None,
                source,
                stage: Stage::Due,
            },
        );
    }

    /// What was known of a static pod before this agent began, for its worker.
    pub(super) fn tell_mirrored(&self, mirror: &Pod) {
        let hash = mirror_hash(mirror);
        let statics = self.wanted.values().filter(|wanted| {
            wanted.source != Source::Api
                && config_hash(&wanted.pod) == hash
                && full_name(&wanted.pod) == full_name(mirror)
        });
        for wanted in statics {
            if let Some(working) = self.workers.get(uid(&wanted.pod)) {
                let status = mirror.status.clone().unwrap_or_default();
                working.mailbox.post(|mail| mail.mirrored = Some(status));
            }
        }
    }

    pub(super) fn update(&mut self, source: Source, pod: Arc<Pod>, node: Option<&Node>) {
        if source == Source::Api {
            self.agent.board.set_object(pod.clone());
            if is_mirror(&pod) {
                return;
            }
        }
        let id = uid(&pod).to_owned();
        let pod = match source {
            Source::Api => self.with_what_it_gets(pod, node),
            _ => pod,
        };
        let Some(wanted) = self.wanted.get_mut(&id) else {
            return;
        };
        wanted.pod = pod.clone();
        let is_over = matches!(wanted.stage, Stage::Over | Stage::Rejected);
        self.agent.pods.update(pod.clone());
        if let Some(working) = self.workers.get(&id).filter(|_| !is_over) {
            working.mailbox.post(|mail| mail.pod = Some(pod.clone()));
            if source == Source::Api && (is_terminating(&pod) || is_terminal(&pod)) {
                working.mailbox.stop(Stop::of(&pod));
            }
        }
    }

    pub(super) fn remove(&mut self, source: Source, pod: &Arc<Pod>) {
        let id = uid(pod);
        if source == Source::Api {
            self.agent.board.remove_object(pod);
        }
        let owned = self.wanted.get(id).is_some_and(|wanted| wanted.source == source);
        if !owned {
            return;
        }
        self.wanted.remove(id);
        self.held.remove(id);
        self.room_made = true;
        self.agent.pods.remove(id);
        match self.workers.get(id) {
            Some(working) => {
                self.agent.board.retire(id);
                if self.is_ready() {
                    working.mailbox.stop(Stop {
                        grace: None,
                        why: StopReason::Removed,
                    });
                }
                // Otherwise it is stopped as soon as every source has spoken: see `stop_unwanted`.
            }
            None => {
                self.agent.board.forget(id);
                // Its last containers were kept for as long as it was wanted.
                self.list();
            }
        }
    }

    /// Stops pods that were removed before all sources had spoken.
    pub(super) fn stop_unwanted(&self) {
        for (id, working) in &self.workers {
            if !self.wanted.contains_key(id) && !working.mailbox.stopping().is_cancelled() {
                working.mailbox.stop(Stop {
                    grace: None,
                    why: StopReason::Removed,
                });
            }
        }
    }
}

/// Whether somebody has opened or closed a readiness gate: the one part of its status that a pod is made ready by.
fn gates_moved(before: &Pod, now: &Pod) -> bool {
    let gates = now
        .spec
        .iter()
        .flat_map(|spec| spec.readiness_gates.iter().flatten());
    gates
        .map(|gate| gate.condition_type.as_str())
        .any(|gate| said_of(before, gate) != said_of(now, gate))
}

fn said_of<'a>(pod: &'a Pod, gate: &str) -> Option<&'a str> {
    condition(pod, gate).map(|condition| condition.status.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_what_gates_wait_for_is_news_to_a_worker() {
        let pod = |gates: Value, conditions: Value| -> Pod {
            serde_json::from_value(
                json!({"metadata": {}, "spec": {"containers": [], "readinessGates": gates},
                "status": {"conditions": conditions}}),
            )
            .unwrap()
        };
        let gated = |conditions: Value| pod(json!([{"conditionType": "a/b"}]), conditions);
        let says = |kind: &str, status: &str| json!([{"type": kind, "status": status}]);
        let nothing = || gated(json!([]));
        for (before, now, moved) in [
            (nothing(), gated(says("a/b", "True")), true),
            (gated(says("a/b", "True")), gated(says("a/b", "False")), true),
            (gated(says("a/b", "True")), nothing(), true),
            (gated(says("a/b", "True")), gated(says("a/b", "True")), false),
            (nothing(), gated(says("Ready", "True")), false),
            (
                pod(json!([]), json!([])),
                pod(json!([]), says("a/b", "True")),
                false,
            ),
        ] {
            assert_eq!(gates_moved(&before, &now), moved, "{before:?} {now:?}");
        }
    }
}
