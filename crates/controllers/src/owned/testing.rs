//! Builders for the cases of the controllers' tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use orlop_client::informer::{Cached, ObjectKey};

use crate::cache::{JobPod, Phase, Pod, PodAddress, PodView, Ready, Restarts};

/// The moment all tests take place.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

pub fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// One label.
pub fn labelled(key: &str, value: &str) -> Arc<BTreeMap<String, String>> {
    Arc::new([(key.to_owned(), value.to_owned())].into())
}

pub struct PodBuilder {
    name: String,
    view: PodView,
}

/// A pending pod called `name` with the hash `old`.
pub fn pod(name: &str) -> PodBuilder {
    let view = PodView {
        generation: 1,
        labels: labelled(orlop_api::annotations::CONTROLLER_REVISION_HASH, "old"),
        controller: None,
        node: None,
        target: None,
        phase: Phase::Pending,
        terminating: false,
        created: Some(ago(100)),
        ready: Ready::Absent,
        evicted: false,
        tolerations: Arc::default(),
        restarts: Restarts::default(),
        deletion_cost: 0,
        address: None,
        job: None,
        disrupted: None,
        needs_upgrade: None,
        has_ephemeral_claims: false,
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
        if self.view.phase == Phase::Pending {
            self.view.phase = Phase::Running;
        }
        self
    }

    pub fn pinned(mut self, node: &str) -> Self {
        self.view.target = Some(node.into());
        self
    }

    pub fn hash(mut self, hash: &str) -> Self {
        Arc::make_mut(&mut self.view.labels).insert(
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

    pub fn pending(mut self) -> Self {
        self.view.phase = Phase::Pending;
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        Arc::make_mut(&mut self.view.labels).insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn cost(mut self, cost: i32) -> Self {
        self.view.deletion_cost = cost;
        self
    }

    pub fn restarts(mut self, containers: i32) -> Self {
        self.view.restarts.containers = containers;
        self
    }

    pub fn address(mut self, address: PodAddress) -> Self {
        self.view.address = Some(Box::new(address));
        self
    }

    pub fn job(mut self, job: JobPod) -> Self {
        self.view.job = Some(Box::new(job));
        self
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

pub fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.key.name.to_string()).collect()
}
