//! Which pods start, and what is in their way.
use super::{AtWork, Manager, Stage};
use crate::metrics::{Preemption, Reason};
use crate::pods::admission::{self, Refusal, admit, no_room, with_measures};
use crate::pods::mailbox::{Mailbox, Stop, StopReason};
use crate::pods::preempt;
use crate::pods::status::rejected;
use crate::pods::stop::grace_of;
use crate::pods::verdict::Verdict;
use crate::pods::worker::Worker;
use crate::runtime::seen::SeenPod;
use crate::sources::{Source, order, placeholder};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use orlop_api::pod::{full_name, is_critical, is_mirror, is_terminal, is_terminating, name, namespace, uid};
use orlop_client::events::EventType;
use std::sync::Arc;

impl Manager {
    /// Starts every wanted pod that has no worker and nothing in its way.
    pub(super) fn start_due(&mut self, node: Option<&Node>) {
        while std::mem::take(&mut self.room_made) {
            self.try_rejected(node);
            self.try_resizes(node);
        }
        let mut due: Vec<Arc<Pod>> = self
            .wanted
            .values()
            .filter(|wanted| wanted.stage == Stage::Due)
            .map(|wanted| wanted.pod.clone())
            .collect();
        due.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        for pod in due {
            let id = uid(&pod);
            let Some(source) = self.wanted.get(id).map(|wanted| wanted.source) else {
                continue;
            };
            let same_name = |working: &AtWork| working.is_static && working.full_name == full_name(&pod);
            let makes_room = self.making_room.get(id).into_iter().flatten();
            let waits = makes_room
                .into_iter()
                .any(|victim| self.workers.contains_key(victim))
                || self.workers.contains_key(id)
                || self.orphans.contains(id)
                || (source != Source::Api && self.workers.values().any(same_name));
            if !waits && !self.is_held(source, &pod) {
                self.start(source, pod, node);
            }
        }
    }

    /// Whether a static pod has to wait for others (`orlop.dev/after`). One that runs already never does.
    pub(super) fn is_held(&mut self, source: Source, pod: &Arc<Pod>) -> bool {
        let id = uid(pod);
        if source == Source::Api || self.seen.get(id).is_some_and(SeenPod::is_alive) {
            return false;
        }
        let statics = self.wanted.values().filter(|other| other.source != Source::Api);
        let statics: Vec<&Pod> = statics.map(|other| &*other.pod).collect();
        let is_ready = |other: &Pod| {
            let record = self.agent.pods.by_uid(uid(other));
            record.is_some_and(|record| orlop_api::pod::is_ready(&record.pod))
        };
        let waits_for = order::held_by(pod, &statics, is_ready);
        if waits_for.is_empty() {
            self.held.remove(id);
            return false;
        }
        let names: Vec<&str> = waits_for.into_iter().map(name).collect();
        let message = format!("waits for {} to be ready ({})", names.join(", "), order::AFTER);
        if self.held.get(id) != Some(&message) {
            tracing::info!(
                pod = name(pod),
                namespace = namespace(pod),
                uid = id,
                message,
                "pod held"
            );
            let status = PodStatus {
                phase: Some("Pending".into()),
                reason: Some("WaitingForPods".into()),
                message: Some(message.clone()),
                ..PodStatus::default()
            };
            self.agent.board.start(pod, true);
            self.agent.pods.set_status(id, &status);
            self.agent.board.set_status(pod, Arc::new(status), false);
            self.held.insert(id.to_owned(), message);
        }
        true
    }

    pub(super) fn start(&mut self, source: Source, pod: Arc<Pod>, node: Option<&Node>) {
        let id = uid(&pod).to_owned();
        let is_static = source != Source::Api;
        let seen = self.seen.remove(&id).unwrap_or_default();
        self.agent.board.start(&pod, is_static);
        let finished = !is_static && (is_terminal(&pod) || is_terminating(&pod));
        // An agent that was killed may have left volumes: they go the way of those of a pod that ends now.
        if finished && !seen.is_alive() && !self.agent.surroundings.holds_volumes(&id) {
            return self.conclude(&pod);
        }
        if let Some(message) = placeholder::message(&pod).filter(|_| is_static) {
            let status = PodStatus {
                phase: Some("Failed".into()),
                reason: Some(placeholder::REASON.into()),
                message: Some(message.to_owned()),
                ..PodStatus::default()
            };
            self.set_stage(&id, Stage::Over);
            self.agent.pods.set_status(&id, &status);
            self.agent.board.set_status(&pod, Arc::new(status), true);
            return;
        }
        self.making_room.remove(&id);
        let pod = if is_static || finished {
            pod
        } else {
            self.as_given_before(pod)
        };
        if !finished && let Err(refusal) = self.admit(&pod, is_static, node) {
            let Some(rejection) = self.make_room(&pod, refusal) else {
                // Its turn comes when the others have ended.
                self.seen.insert(id, seen);
                return;
            };
            tracing::warn!(
                pod = name(&pod),
                namespace = namespace(&pod),
                uid = id,
                reason = rejection.reason,
                message = rejection.message,
                "pod rejected"
            );
            let reason = rejection.reason.clone();
            let rejections = &self.agent.metrics.rejections;
            rejections.get_or_create(&Reason { reason }).inc();
            self.agent.event(
                &pod,
                EventType::Warning,
                &rejection.reason,
                rejection.message.clone(),
            );
            let status = rejected(&pod, &rejection.reason, &rejection.message, Timestamp::now());
            let stage = if is_static { Stage::Rejected } else { Stage::Over };
            self.set_stage(&id, stage);
            self.agent.pods.set_status(&id, &status);
            self.agent.board.set_status(&pod, Arc::new(status), true);
            if seen.is_alive() {
                self.clean_up(id, seen);
            }
            return;
        }
        tracing::info!(
            pod = name(&pod),
            namespace = namespace(&pod),
            uid = id,
            source = source.as_str(),
            taken_over = seen.is_alive(),
            "pod starts"
        );
        if !is_static && !finished {
            self.keep_given(&pod);
        }
        let mailbox = Mailbox::default();
        if finished {
            mailbox.stop(Stop::of(&pod));
        }
        let working = AtWork {
            mailbox: mailbox.clone(),
            full_name: full_name(&pod),
            is_static,
        };
        let mut worker = Worker::new(self.agent.clone(), pod, seen, mailbox);
        if self.lived.remove(&id) {
            worker.read_first();
        }
        let full_name = working.full_name.clone();
        self.workers.insert(id.clone(), working);
        if is_static
            && let Some(mirror) = self
                .agent
                .board
                .object(&full_name)
                .filter(|object| is_mirror(object))
        {
            self.tell_mirrored(&mirror);
        }
        self.set_stage(&id, Stage::Running);
        self.spawn(worker.run());
        // What it asks for beyond what it was given has its turn when all that ran before have theirs.
        self.room_made |= self.wanted.get(&id).is_some_and(|wanted| wanted.asked.is_some());
    }

    /// An API pod that holds nothing on this node any more and never will: only its object is left to be settled.
    pub(super) fn conclude(&mut self, pod: &Arc<Pod>) {
        let mut status = pod.status.clone().unwrap_or_default();
        if !is_terminal(pod) {
            status.phase = Some("Failed".into());
        }
        self.set_stage(uid(pod), Stage::Over);
        self.agent.board.set_status(pod, Arc::new(status), true);
    }

    pub(super) fn admit(&self, pod: &Pod, is_static: bool, node: Option<&Node>) -> Result<(), Refusal> {
        let known = node.map(|node| with_measures(node, &self.machine));
        let active: Vec<Arc<Pod>> = self
            .wanted
            .values()
            .filter(|other| other.stage == Stage::Running && uid(&other.pod) != uid(pod))
            .map(|other| other.pod.clone())
            .collect();
        let rules = admission::Rules {
            allowed_sysctls: &self.agent.settings.allowed_sysctls,
            enforces_apparmor: self.enforces_apparmor,
            has_strict_groups: self.agent.settings.has_strict_groups,
            state: &self.agent.node_state.current(),
        };
        let node = known.as_ref().unwrap_or(&self.machine);
        admit(pod, is_static, node, &active, &rules)
    }

    /// Has others stopped for a critical pod, if that helps; else why it is not let in.
    pub(super) fn make_room(&mut self, pod: &Arc<Pod>, refusal: Refusal) -> Option<admission::Rejection> {
        let shortage = match refusal.shortage {
            Some(shortage) if is_critical(pod) => shortage,
            _ => return Some(refusal.rejection),
        };
        let running = self.wanted.values().filter(|other| other.stage == Stage::Running);
        let active: Vec<Arc<Pod>> = running.map(|other| other.pod.clone()).collect();
        let Some(victims) = preempt::victims(pod, &active, &shortage) else {
            return Some(no_room(&shortage));
        };
        let signal = shortage.keys().next().cloned().unwrap_or_default();
        for victim in &victims {
            let verdict = Verdict::preempted();
            tracing::warn!(
                pod = name(victim),
                namespace = namespace(victim),
                uid = uid(victim),
                by = name(pod),
                "preempting pod"
            );
            self.agent.event(
                victim,
                EventType::Warning,
                &verdict.reason,
                verdict.message.clone(),
            );
            let counted = Preemption {
                preemption_signal: signal.clone(),
            };
            self.agent.metrics.preemptions.get_or_create(&counted).inc();
            let stop = Stop {
                grace: Some(grace_of(victim)),
                why: StopReason::Ordered,
            };
            self.stop_for(uid(victim), stop, verdict);
        }
        let victims = victims.iter().map(|victim| uid(victim).to_owned());
        self.making_room.insert(uid(pod).to_owned(), victims.collect());
        None
    }

    /// Rejected static pods that would be let in now have their turn again.
    pub(super) fn try_rejected(&mut self, node: Option<&Node>) {
        let rejected = self
            .wanted
            .values()
            .filter(|wanted| wanted.stage == Stage::Rejected);
        let fits: Vec<String> = rejected
            .filter(|wanted| self.admit(&wanted.pod, true, node).is_ok())
            .map(|wanted| uid(&wanted.pod).to_owned())
            .collect();
        for id in fits {
            self.set_stage(&id, Stage::Due);
        }
    }
}
