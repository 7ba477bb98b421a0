//! Taking over a pod that runs already.
use super::{ADOPTED_AGE, Worker};
use crate::pods::plan::Which;
use crate::probes_view::ProbeView;
use crate::runtime::seen::SeenState;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use orlop_api::pod::uid;

impl Worker {
    /// Takes over containers that run already: they keep their readiness, their probes start anew. Of a static pod the API
    /// server may know it; what is guessed until then goes to nobody there.
    pub(super) fn adopt(&mut self) {
        let status = &self.status;
        let before = |name: &str| container_statuses(status).find(|known| known.name == name);
        let mut adopted = Vec::new();
        for container in self.seen.running() {
            let SeenState::Running { started_at } = container.state else {
                continue;
            };
            if self.agent.settings.began.duration_since(started_at) < ADOPTED_AGE {
                adopted.push((container.name.clone(), container.id.clone(), false));
                continue;
            }
            let known = before(&container.name);
            let view = taken_over(known);
            if known.is_none() && is_probed(&self.pod, &container.name) {
                self.guessed.insert(container.id.clone(), container.name.clone());
            }
            self.probes.insert(container.id.clone(), view);
            let started = view.started == Some(true);
            adopted.push((container.name.clone(), container.id.clone(), started));
        }
        self.is_guess = !self.guessed.is_empty();
        if self.is_guess {
            self.agent.board.set_guessed(uid(&self.pod), true);
        }
        if self.seen.is_alive() {
            self.agent.surroundings.refresh(&self.pod);
        }
        for (id, resources) in self.unknown_resources() {
            self.set.insert(id, resources);
        }
        let ip = self.addresses().first().cloned();
        for (container, id, adopted) in adopted {
            self.start_probes(container, id, ip.clone(), adopted);
        }
    }

    /// Takes over what the API server had of the containers whose readiness was guessed.
    pub(super) fn learn(&mut self, mirrored: &PodStatus) {
        for (id, name) in std::mem::take(&mut self.guessed) {
            let is_this = |known: &&ContainerStatus| {
                let of = known.container_id.as_deref();
                known.name == name && of.is_some_and(|of| of.ends_with(&id))
            };
            let Some(known) = container_statuses(mirrored).find(is_this) else {
                continue;
            };
            self.probes.insert(id.clone(), taken_over(Some(known)));
            if known.started == Some(false) {
                // Its startup probe has yet to say so.
                let ip = self.addresses().first().cloned();
                self.start_probes(name, id, ip, false);
            }
        }
    }
}

pub(super) fn container_statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let regular = status.container_statuses.iter().flatten();
    regular.chain(status.init_container_statuses.iter().flatten())
}

/// What a container that was taken over counts as until its probes say something: what it was, or up and ready.
fn taken_over(known: Option<&ContainerStatus>) -> ProbeView {
    ProbeView {
        started: Some(known.and_then(|known| known.started).unwrap_or(true)),
        ready: Some(known.is_none_or(|known| known.ready)),
        ..ProbeView::default()
    }
}

/// Whether the readiness of this container can be another than that it runs.
fn is_probed(pod: &Pod, name: &str) -> bool {
    let container = Which::named(pod, name).of(pod);
    container
        .is_some_and(|container| container.readiness_probe.is_some() || container.startup_probe.is_some())
}
