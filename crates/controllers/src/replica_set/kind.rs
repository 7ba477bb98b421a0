//! What differs between ReplicaSets and ReplicationControllers.

use std::ops::Deref;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use kube::Resource;
use orlop_api::selector::LabelSelector;
use orlop_client::informer::{Cached, Informer};

use crate::cache::{BY_DEPLOYMENT, Cache, ReplicaSetView, Replicas, ReplicationControllerView};
use crate::owned::OwnerView;

/// One of the two kinds.
pub trait ReplicaKind: OwnerView + Deref<Target = Replicas> {
    /// The API type.
    type Api: Resource<DynamicType = ()>;
    /// Its apiVersion.
    const API_VERSION: &'static str;
    /// Who tells events.
    const COMPONENT: &'static str;
    /// Name of the controller in the log.
    const CONTROLLER: &'static str;
    /// Whether the status counts terminating pods.
    const COUNTS_TERMINATING: bool;
    /// uids of all sets that replace each other, this one among them.
    fn siblings(cache: &Cache, set: &Cached<Self>) -> Vec<Arc<str>>;
}

impl OwnerView for ReplicaSetView {
    const KIND: &'static str = "ReplicaSet";
    fn informer(cache: &Cache) -> &Informer<Self> {
        &cache.replica_sets
    }
    fn selector(&self) -> &LabelSelector {
        &self.selector
    }
    fn min_ready_seconds(&self) -> i32 {
        self.min_ready_seconds
    }
}

impl ReplicaKind for ReplicaSetView {
    type Api = ReplicaSet;
    const API_VERSION: &'static str = "apps/v1";
    const COMPONENT: &'static str = "replicaset-controller";
    const CONTROLLER: &'static str = "replicaset";
    const COUNTS_TERMINATING: bool = true;
    fn siblings(cache: &Cache, set: &Cached<Self>) -> Vec<Arc<str>> {
        match &set.controller {
            Some(controller) => cache
                .replica_sets
                .store()
                .by_index(BY_DEPLOYMENT, &controller.uid)
                .iter()
                .map(|sibling| sibling.uid.clone())
                .collect(),
            None => vec![set.uid.clone()],
        }
    }
}

impl OwnerView for ReplicationControllerView {
    const KIND: &'static str = "ReplicationController";
    fn informer(cache: &Cache) -> &Informer<Self> {
        &cache.replication_controllers
    }
    fn selector(&self) -> &LabelSelector {
        &self.selector
    }
    fn min_ready_seconds(&self) -> i32 {
        self.min_ready_seconds
    }
}

impl ReplicaKind for ReplicationControllerView {
    type Api = ReplicationController;
    const API_VERSION: &'static str = "v1";
    const COMPONENT: &'static str = "replication-controller";
    const CONTROLLER: &'static str = "replicationcontroller";
    const COUNTS_TERMINATING: bool = false;
    fn siblings(_: &Cache, set: &Cached<Self>) -> Vec<Arc<str>> {
        vec![set.uid.clone()]
    }
}
