//! Builders for the cases of this folder's tests.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use orlop_client::informer::{Cached, ObjectKey};

use super::grouping::NodeChoice;
use crate::cache::{Phase, Pod, PodView, Ready};

/// The moment all tests take place.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

pub fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

pub struct PodBuilder {
    name: String,
    view: PodView,
}

/// A pending pod called `name` with the hash `old`.
pub fn pod(name: &str) -> PodBuilder {
    let view = PodView {
        labels: [(
            orlop_api::annotations::CONTROLLER_REVISION_HASH.to_owned(),
            "old".to_owned(),
        )]
        .into(),
        controller: None,
        node: None,
        target: None,
        phase: Phase::Pending,
        terminating: false,
        created: Some(ago(100)),
        ready: Ready::Absent,
        evicted: false,
        tolerations: Box::default(),
    };
    PodBuilder {
        name: name.to_owned(),
        view,
    }
}

impl PodBuilder {
    pub fn on(mut self, node: &str) -> Self {
        self.view.node = Some(node.into());
        self.view.target = Some(node.into());
        self.view.phase = Phase::Running;
        self
    }

    pub fn pinned(mut self, node: &str) -> Self {
        self.view.target = Some(node.into());
        self
    }

    pub fn hash(mut self, hash: &str) -> Self {
        self.view.labels.insert(
            orlop_api::annotations::CONTROLLER_REVISION_HASH.to_owned(),
            hash.to_owned(),
        );
        self
    }

    pub fn age(mut self, seconds: i64) -> Self {
        self.view.created = Some(ago(seconds));
        self
    }

    pub fn ready_for(mut self, seconds: i64) -> Self {
        self.view.ready = Ready::Since(Some(ago(seconds)));
        self
    }

    pub fn ready(self) -> Self {
        self.ready_for(1000)
    }

    pub fn failed(mut self) -> Self {
        self.view.phase = Phase::Failed;
        self
    }

    pub fn succeeded(mut self) -> Self {
        self.view.phase = Phase::Succeeded;
        self
    }

    pub fn terminating(mut self) -> Self {
        self.view.terminating = true;
        self
    }

    pub fn build(self) -> Pod {
        Arc::new(Cached {
            key: ObjectKey::new("ns", self.name.as_str()),
            uid: self.name.as_str().into(),
            resource_version: 1,
            object: self.view,
        })
    }
}

/// Nodes that should run the pod.
pub fn nodes<const N: usize>(names: [&str; N]) -> Vec<NodeChoice> {
    names.into_iter().map(|name| choice(name, true, true)).collect()
}

pub fn choice(name: &str, run: bool, keep: bool) -> NodeChoice {
    NodeChoice {
        name: name.into(),
        run,
        keep,
    }
}

pub fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.key.name.to_string()).collect()
}
