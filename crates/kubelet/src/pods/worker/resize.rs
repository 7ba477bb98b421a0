//! The worker's part in a resize: brings running containers to what their pod was given.
use super::{Again, RETRY_AFTER, Worker};
use crate::pods::resize::apply::{Change, changes};
use crate::pods::resize::tell;
use crate::pods::surroundings::ResizeStep;
use crate::runtime::seen::{SeenContainer, SeenResources};
use k8s_openapi::api::core::v1::Container;
use orlop_api::pod::{init_containers, is_static, name, namespace, uid};
use orlop_client::events::EventType;

impl Worker {
    pub(super) fn given_to(&self, container: &Container) -> SeenResources {
        let resources = self.agent.surroundings.container_resources(&self.pod, container);
        SeenResources::from(&resources)
    }

    /// Of containers taken over whose runtime does not tell what they have: what they should have.
    pub(super) fn unknown_resources(&self) -> Vec<(String, SeenResources)> {
        let Some(spec) = self.pod.spec.as_ref() else {
            return Vec::new();
        };
        let untold = self.seen.running().filter(|seen| seen.resources.is_none());
        untold
            .filter_map(|seen| {
                let mut defined = init_containers(spec).iter().chain(&spec.containers);
                let container = defined.find(|container| container.name == seen.name)?;
                Some((seen.id.clone(), self.given_to(container)))
            })
            .collect()
    }

    /// Running containers that have something else than they were given. Static pods are replaced instead.
    pub(super) fn resizes(&self) -> Vec<Change> {
        if is_static(&self.pod) {
            return Vec::new();
        }
        let had = |seen: &SeenContainer| self.set.get(&seen.id).copied().or(seen.resources);
        changes(&self.pod, &self.seen, had, |container| self.given_to(container))
    }

    /// Notes that a resize is under way, or done.
    pub(super) fn follow_resize(&mut self, resizes: &[Change]) {
        if !resizes.is_empty() {
            // An agent that was restarted finds a resize halfway.
            self.resizing
                .in_progress
                .get_or_insert(self.pod.metadata.generation);
            self.agent.surroundings.resize_pod(&self.pod, ResizeStep::Widen);
            return;
        }
        let Some(generation) = self.resizing.in_progress.take() else {
            return;
        };
        self.resizing.error = None;
        self.agent.surroundings.resize_pod(&self.pod, ResizeStep::Fit);
        tracing::info!(
            pod = name(&self.pod),
            namespace = namespace(&self.pod),
            uid = uid(&self.pod),
            "pod resized"
        );
        let message = tell::message("completed", &self.pod, generation, None);
        self.agent
            .event(&self.pod, EventType::Normal, "ResizeCompleted", message);
    }

    /// Has the runtime make the changes, one after the other.
    pub(super) async fn resize(&mut self, resizes: &[Change]) -> Result<(), Again> {
        for change in resizes {
            if let Err(error) = self.resize_container(change).await {
                tracing::warn!(
                    pod = name(&self.pod),
                    namespace = namespace(&self.pod),
                    uid = uid(&self.pod),
                    container = change.name,
                    error,
                    "container not resized"
                );
                if self.resizing.error.as_ref() != Some(&error) {
                    let generation = self.resizing.in_progress.flatten();
                    let message = tell::message("error", &self.pod, generation, Some(&error));
                    self.agent
                        .event(&self.pod, EventType::Warning, "ResizeError", message);
                    self.resizing.error = Some(error);
                }
                return Err(Again(RETRY_AFTER));
            }
        }
        Ok(())
    }

    async fn resize_container(&mut self, change: &Change) -> Result<(), String> {
        // The kernel would have to kill for it.
        if let Some(limit) = change.memory_lowered_to()
            && let Some(used) = self.agent.surroundings.memory_used(&self.pod, &change.id)
            && used >= limit
        {
            return Err(format!(
                "cannot set container {}'s memory limit ({limit}) below current usage ({used})",
                change.name
            ));
        }
        let updated = self.agent.runtime.update_container_resources(change.request());
        updated.await.map_err(|error| error.to_string())?;
        self.set.insert(change.id.clone(), change.wanted);
        Ok(())
    }
}
