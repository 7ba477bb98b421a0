//! What is true of pods on this node and what the API server has of them, side by side.
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use orlop_api::pod::{full_name, is_mirror, uid};
use orlop_client::workqueue::WorkQueue;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// A pod that has, or had, containers here.
#[derive(Clone, Debug)]
pub struct Local {
    /// As it is wanted.
    pub pod: Arc<Pod>,
    /// From a manifest.
    pub is_static: bool,
    /// Its source still has it.
    pub is_wanted: bool,
    /// What it came to so far.
    pub status: Option<Arc<PodStatus>>,
    /// It holds nothing on this node any more.
    pub has_ended: bool,
    /// The status is in part a guess, which the API server may know better: it is not told.
    pub is_guessed: bool,
}

/// A status that was sent, to tell a lost write from a fight over it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// To which object.
    pub uid: String,
    /// What.
    pub status: Arc<PodStatus>,
    /// When.
    pub at: Instant,
}

/// All there is to know about one full name.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The static pod of that name: one that is wanted before one that is being stopped.
    pub static_pod: Option<Local>,
    /// The local pod that the API object is of.
    pub api_pod: Option<Local>,
    /// The API object.
    pub object: Option<Arc<Pod>>,
    /// The own Node object.
    pub node: Option<Arc<Node>>,
    /// Every source has spoken.
    pub is_ready: bool,
    /// The last status sent.
    pub sent: Option<Sent>,
}

#[derive(Debug, Default)]
struct State {
    locals: HashMap<String, Local>,
    objects: HashMap<String, Arc<Pod>>,
    sent: HashMap<String, Sent>,
    node: Option<Arc<Node>>,
    is_ready: bool,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    queue: WorkQueue<String>,
}

/// The board; clones are the same one. Without an API server nobody reads it and it stays empty.
#[derive(Clone, Debug)]
pub struct Board {
    inner: Arc<Inner>,
    is_read: bool,
}

impl Board {
    /// A board; `is_read` when there is an API server to be told.
    pub fn new(is_read: bool) -> Self {
        Self {
            inner: Arc::default(),
            is_read,
        }
    }

    /// Full names with something to do.
    pub fn queue(&self) -> &WorkQueue<String> {
        &self.inner.queue
    }

    fn write(&self, full_name: String, change: impl FnOnce(&mut State)) {
        if self.is_read {
            change(&mut self.inner.state.lock());
            self.inner.queue.add(full_name);
        }
    }

    /// A pod has its turn on this node.
    pub fn start(&self, pod: &Arc<Pod>, is_static: bool) {
        let local = Local {
            pod: pod.clone(),
            is_static,
            is_wanted: true,
            status: None,
            has_ended: false,
            is_guessed: false,
        };
        self.write(full_name(pod), |state| {
            state.locals.insert(uid(pod).to_owned(), local);
        });
    }

    /// A pod has a new status; `has_ended` when it is the last.
    pub fn set_status(&self, pod: &Pod, status: Arc<PodStatus>, has_ended: bool) {
        self.write(full_name(pod), |state| {
            if let Some(local) = state.locals.get_mut(uid(pod)) {
                local.status = Some(status);
                local.has_ended |= has_ended;
            }
        });
    }

    /// Whether a pod's status is a guess.
    pub fn set_guessed(&self, uid: &str, is_guessed: bool) {
        self.change_local(uid, |state| {
            if let Some(local) = state.locals.get_mut(uid) {
                local.is_guessed = is_guessed;
            }
        });
    }

    fn change_local(&self, uid: &str, change: impl FnOnce(&mut State)) {
        let name = self
            .inner
            .state
            .lock()
            .locals
            .get(uid)
            .map(|local| full_name(&local.pod));
        if let Some(name) = name {
            self.write(name, change);
        }
    }

    /// A pod's source does not have it any more; it is being stopped.
    pub fn retire(&self, uid: &str) {
        self.change_local(uid, |state| {
            if let Some(local) = state.locals.get_mut(uid) {
                local.is_wanted = false;
            }
        });
    }

    /// A pod that is not wanted any more is gone from this node.
    pub fn forget(&self, uid: &str) {
        self.change_local(uid, |state| {
            state.locals.remove(uid);
        });
    }

    /// The API server has this version of an object; an older one than is known changes nothing.
    pub fn set_object(&self, object: Arc<Pod>) {
        self.write(full_name(&object), |state| {
            let known = state.objects.get(&full_name(&object));
            if known.is_none_or(|known| version(known) <= version(&object)) {
                state.objects.insert(full_name(&object), object);
            }
        });
    }

    /// The API server does not have this object any more.
    pub fn remove_object(&self, object: &Pod) {
        self.write(full_name(object), |state| {
            let name = full_name(object);
            if state
                .objects
                .get(&name)
                .is_some_and(|known| uid(known) == uid(object))
            {
                state.objects.remove(&name);
                state.sent.remove(&name);
            }
        });
    }

    /// A status was sent.
    pub fn note_sent(&self, full_name: &str, sent: Sent) {
        self.inner.state.lock().sent.insert(full_name.to_owned(), sent);
    }

    /// Every source has spoken: mirrors without a static pod may go.
    pub fn set_ready(&self) {
        self.change_all(|state| state.is_ready = true);
    }

    /// The own Node object: mirrors belong to it.
    pub fn set_node(&self, node: Option<Arc<Node>>) {
        let identity = |node: &Option<Arc<Node>>| {
            node.as_ref().map(|node| {
                (
                    node.metadata.uid.clone(),
                    node.metadata.deletion_timestamp.is_some(),
                )
            })
        };
        // Heartbeats change the Node all the time, and nothing here.
        if identity(&self.inner.state.lock().node) != identity(&node) {
            self.change_all(|state| state.node = node);
        }
    }

    fn change_all(&self, change: impl FnOnce(&mut State)) {
        if !self.is_read {
            return;
        }
        let mut state = self.inner.state.lock();
        change(&mut state);
        let locals = state.locals.values().map(|local| full_name(&local.pod));
        for name in locals.chain(state.objects.keys().cloned()) {
            self.inner.queue.add(name);
        }
    }

    /// Mirror UIDs with the UIDs of their static pods.
    pub fn mirrors(&self) -> Vec<(String, String)> {
        let state = self.inner.state.lock();
        let static_pods = state.locals.values().filter(|local| local.is_static);
        static_pods
            .filter_map(|local| {
                let mirror = state
                    .objects
                    .get(&full_name(&local.pod))
                    .filter(|object| is_mirror(object))?;
                Some((uid(mirror).to_owned(), uid(&local.pod).to_owned()))
            })
            .collect()
    }

    /// The API object of a full name.
    pub fn object(&self, name: &str) -> Option<Arc<Pod>> {
        self.inner.state.lock().objects.get(name).cloned()
    }

    /// All about one full name.
    pub fn page(&self, name: &str) -> Page {
        let state = self.inner.state.lock();
        let object = state.objects.get(name).cloned();
        let mut static_pods: Vec<&Local> = state
            .locals
            .values()
            .filter(|local| local.is_static && full_name(&local.pod) == name)
            .collect();
        static_pods.sort_by_key(|local| !local.is_wanted);
        let of_object = object.as_ref().and_then(|object| state.locals.get(uid(object)));
        Page {
            static_pod: static_pods.first().map(|local| Local::clone(local)),
            api_pod: of_object.filter(|local| !local.is_static).cloned(),
            object,
            node: state.node.clone(),
            is_ready: state.is_ready,
            sent: state.sent.get(name).cloned(),
        }
    }
}

fn version(pod: &Pod) -> u64 {
    pod.metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, version: &str) -> Arc<Pod> {
        let object = serde_json::json!({"metadata":
            {"name": "p", "namespace": "d", "uid": uid, "resourceVersion": version}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn late_news_of_an_older_object_changes_nothing() {
        let board = Board::new(true);
        board.set_object(pod("new", "12"));
        board.set_object(pod("old", "9"));
        board.remove_object(&pod("old", "9"));
        assert_eq!(board.page("p_d").object.as_deref().map(uid), Some("new"));
    }

    #[test]
    fn a18_wanted_static_pod_comes_before_the_one_being_stopped() {
        let board = Board::new(true);
        board.start(&pod("a", ""), true);
        board.retire("a");
        board.start(&pod("b", ""), true);
        let page = board.page("p_d");
        assert_eq!(
            page.static_pod.map(|local| uid(&local.pod).to_owned()),
            Some("b".into())
        );
    }

    #[test]
    fn nothing_piles_up_without_an_api_server() {
        let board = Board::new(false);
        board.start(&pod("a", ""), true);
        assert!(board.page("p_d").static_pod.is_none() && board.queue().is_empty());
    }
}
