//! The manager's part in resizes: it keeps what pods were given apart from what they ask for, and lets the one become
//! the other where there is room.
use super::{Manager, Stage, Wanted};
use crate::pods::admission::with_measures;
use crate::pods::mailbox::ResizeNews;
use crate::pods::resize::allocation::Allocation;
use crate::pods::resize::judge::{self, Waiting, judge};
use crate::pods::resize::{Refused, Why, tell};
use k8s_openapi::api::core::v1::{Node, Pod};
use orlop_api::pod::{name, namespace, uid};
use orlop_client::events::EventType;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What a pod asks for and was not given.
pub struct Asked {
    pod: Arc<Pod>,
    since: Instant,
    /// What it was told.
    refused: Option<Refused>,
}

impl Manager {
    fn directory_of(&self, id: &str) -> PathBuf {
        self.agent.settings.root.join("pods").join(id)
    }

    /// An API pod about to start, with what an earlier agent had given it: it may ask for something else by now.
    pub(super) fn as_given_before(&mut self, pod: Arc<Pod>) -> Arc<Pod> {
        let Some(allocation) = Allocation::load(&self.directory_of(uid(&pod))) else {
            return pod;
        };
        let given = allocation.applied(&pod);
        if !Arc::ptr_eq(&given, &pod) {
            self.agent.pods.update(given.clone());
            if let Some(wanted) = self.wanted.get_mut(uid(&pod)) {
                wanted.pod = given.clone();
                wanted.asked = Some(Asked::new(pod, None));
            }
        }
        given
    }

    /// Notes on disk what a pod was given. A restarted agent that finds nothing takes what the pod asks for then.
    pub(super) fn keep_given(&self, pod: &Pod) {
        let (directory, allocation) = (self.directory_of(uid(pod)), Allocation::of(pod));
        if allocation.is_empty() || Allocation::load(&directory).as_ref() == Some(&allocation) {
            return;
        }
        if let Err(error) = allocation.save(&directory) {
            tracing::warn!(
                pod = name(pod), namespace = namespace(pod), uid = uid(pod), %error,
                "cannot note what the pod was given"
            );
        }
    }

    /// A new version of an API pod, with the resources it gets.
    pub(super) fn with_what_it_gets(&mut self, pod: Arc<Pod>, node: Option<&Node>) -> Arc<Pod> {
        let id = uid(&pod).to_owned();
        let Some(wanted) = self.wanted.get_mut(&id).filter(|one| one.stage == Stage::Running) else {
            return pod;
        };
        let given = Allocation::of(&wanted.pod);
        if given.is_same(&Allocation::of(&pod)) {
            if wanted.asked.take().is_some()
                && let Some(working) = self.workers.get(&id)
            {
                working.mailbox.resize(ResizeNews::default());
            }
            return pod;
        }
        wanted.pod = given.applied(&pod);
        wanted.asked = Some(Asked::new(pod, wanted.asked.take()));
        self.try_resize(&id, node);
        self.wanted[&id].pod.clone()
    }

    /// Gives a pod what it asks for, if there is room; else it is told why not. Before every source has spoken nobody
    /// knows how much room there is.
    fn try_resize(&mut self, id: &str, node: Option<&Node>) {
        if !self.is_ready() {
            return;
        }
        let running = self
            .wanted
            .get(id)
            .filter(|wanted| wanted.stage == Stage::Running);
        let Some(wanted) = running else { return };
        let Some(asked) = wanted.asked.as_ref().map(|asked| asked.pod.clone()) else {
            return;
        };
        let others = |other: &&Wanted| other.stage == Stage::Running && uid(&other.pod) != id;
        let others = self.wanted.values().filter(others);
        let others: Vec<Arc<Pod>> = others.map(|other| other.pod.clone()).collect();
        let known = node.map(|node| with_measures(node, &self.machine));
        match judge(&asked, known.as_ref().unwrap_or(&self.machine), &others) {
            Ok(()) => self.give(id, asked),
            Err((why, message)) => self.refuse(id, &asked, why, message),
        }
    }

    fn give(&mut self, id: &str, pod: Arc<Pod>) {
        let generation = pod.metadata.generation;
        self.keep_given(&pod);
        self.agent.pods.update(pod.clone());
        tracing::info!(
            pod = name(&pod),
            namespace = namespace(&pod),
            uid = id,
            "resizing pod"
        );
        let message = tell::message("started", &pod, generation, None);
        self.agent
            .event(&pod, EventType::Normal, "ResizeStarted", message);
        if let Some(working) = self.workers.get(id) {
            working.mailbox.post(|mail| mail.pod = Some(pod.clone()));
            working.mailbox.resize(ResizeNews {
                refused: None,
                given: Some(generation),
            });
        }
        if let Some(wanted) = self.wanted.get_mut(id) {
            wanted.pod = pod;
            wanted.asked = None;
        }
        // It may have given something back.
        self.room_made = true;
    }

    fn refuse(&mut self, id: &str, pod: &Arc<Pod>, why: Why, message: String) {
        let refused = Refused {
            why,
            message,
            generation: pod.metadata.generation,
        };
        let Some(asked) = self.wanted.get_mut(id).and_then(|wanted| wanted.asked.as_mut()) else {
            return;
        };
        if asked.refused.as_ref() == Some(&refused) {
            return;
        }
        asked.refused = Some(refused.clone());
        let (message, generation) = (Some(refused.message.as_str()), refused.generation);
        tracing::info!(
            pod = name(pod),
            namespace = namespace(pod),
            uid = id,
            why = why.as_str(),
            message,
            "pod not resized"
        );
        let event = match why {
            Why::Deferred => "ResizeDeferred",
            Why::Infeasible => "ResizeInfeasible",
        };
        let told = tell::message(why.as_str(), pod, generation, message);
        self.agent.event(pod, EventType::Warning, event, told);
        if let Some(working) = self.workers.get(id) {
            working.mailbox.resize(ResizeNews {
                refused: Some(refused),
                given: None,
            });
        }
    }

    /// Room may have been made: who waits for it has its turn.
    pub(super) fn try_resizes(&mut self, node: Option<&Node>) {
        let waiting = self.wanted.values().filter_map(|wanted| {
            let asked = wanted.asked.as_ref()?;
            Some(Waiting {
                asked: asked.pod.clone(),
                given: wanted.pod.clone(),
                since: asked.since,
            })
        });
        let mut waiting: Vec<Waiting> = waiting.collect();
        judge::in_order(&mut waiting);
        for one in waiting {
            self.try_resize(uid(&one.asked), node);
        }
    }
}

impl Asked {
    fn new(pod: Arc<Pod>, earlier: Option<Asked>) -> Self {
        let (since, refused) =
            earlier.map_or((Instant::now(), None), |earlier| (earlier.since, earlier.refused));
        Self { pod, since, refused }
    }
}
