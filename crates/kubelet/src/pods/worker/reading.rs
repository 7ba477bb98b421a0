//! What the runtime has of the pod: read when it may have changed, and only what may have.
use super::Worker;
use crate::metrics::Ended;
use crate::pods::plan::Which;
use crate::runtime::read::{read_container, read_pod};
use crate::runtime::seen::SeenPod;
use futures::future::try_join_all;
use orlop_api::pod::uid;
use orlop_cri::CriError;

/// How far the last reading still holds.
pub(super) enum Reading {
    /// Nothing has changed since.
    Fresh,
    /// These containers were started. Nobody but this worker makes anything of the pod, and what ends is told.
    Started(Vec<String>),
    /// Anything may have changed.
    Stale,
}

impl Worker {
    pub(super) async fn read(&mut self) -> Result<(), String> {
        // What fails is read as a whole the next time.
        let seen = match std::mem::replace(&mut self.reading, Reading::Stale) {
            Reading::Fresh => {
                self.reading = Reading::Fresh;
                return Ok(());
            }
            Reading::Started(ids) => self.with_started(ids).await.map_err(|error| error.to_string())?,
            Reading::Stale => None,
        };
        let seen = match seen {
            Some(seen) => seen,
            None => self.all().await.map_err(|error| error.to_string())?,
        };
        let exists = |id: &String| seen.containers.iter().any(|container| container.id == *id);
        self.probes.retain(|id, _| exists(id));
        self.set.retain(|id, _| exists(id));
        self.agent.owners.note(uid(&self.pod), seen.ids());
        self.count_ends(&seen);
        self.seen = seen;
        self.reading = Reading::Fresh;
        Ok(())
    }

    async fn all(&self) -> Result<SeenPod, CriError> {
        read_pod(&*self.agent.runtime, uid(&self.pod), &self.seen).await
    }

    /// What is known, with containers that were started since; `None` if one of them is gone again.
    async fn with_started(&self, ids: Vec<String>) -> Result<Option<SeenPod>, CriError> {
        let Some(sandbox) = self.seen.sandbox() else {
            return Ok(None);
        };
        let runtime = &*self.agent.runtime;
        let reads = ids.iter().map(|id| read_container(runtime, id, &sandbox.id));
        let started: Option<Vec<_>> = try_join_all(reads).await?.into_iter().collect();
        Ok(started.map(|started| {
            let mut seen = self.seen.clone();
            seen.containers.extend(started);
            seen.sort();
            seen
        }))
    }

    /// Counts the containers that had not ended when they were last seen.
    fn count_ends(&self, now: &SeenPod) {
        let had_ended = |id: &str| {
            let mut before = self.seen.containers.iter();
            before.any(|container| container.id == id && container.exit().is_some())
        };
        for container in now
            .containers
            .iter()
            .filter(|container| !had_ended(&container.id))
        {
            let Some(exit) = container.exit() else { continue };
            let ended = Ended {
                container_type: Which::named(&self.pod, &container.name).container_type(),
                exit_code: exit.code,
            };
            let counter = &self.agent.metrics.terminated_containers;
            counter.get_or_create(&ended).inc();
        }
    }
}
