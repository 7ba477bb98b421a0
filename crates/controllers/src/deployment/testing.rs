//! Builders for the cases of this folder's tests.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use orlop_api::selector::LabelSelector;
use orlop_client::informer::{Cached, ObjectKey, Projection};
use serde_json::{Value, json};

use crate::cache::{DeploymentView, ReplicaSet, ReplicaSetView, Replicas};
pub use crate::owned::testing::now;

/// Deployment `web` in generation 1; `spec` is merged over its spec.
pub fn deployment(spec: Value) -> DeploymentView {
    let mut deployment = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}},
    });
    orlop_api::patch::merge(&mut deployment["spec"], &spec);
    DeploymentView::project(serde_json::from_value(deployment).unwrap())
}

pub struct SetBuilder(String, ReplicaSetView);

/// A set that wants `replicas` pods and has none.
pub fn set(name: &str, replicas: i32) -> SetBuilder {
    SetBuilder(
        name.to_owned(),
        ReplicaSetView {
            template_print: 0,
            common: Replicas {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    ..ObjectMeta::default()
                },
                controller: None,
                replicas,
                min_ready_seconds: 0,
                selector: LabelSelector::nothing(),
                template: None,
                status: ReplicaSetStatus::default(),
            },
        },
    )
}

impl SetBuilder {
    /// It has that many pods, of which some are available.
    pub fn has(mut self, pods: i32, available: i32) -> Self {
        let status = &mut self.1.common.status;
        status.replicas = pods;
        status.ready_replicas = Some(available);
        status.available_replicas = Some(available);
        self
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.1
            .common
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn age(mut self, seconds: i64) -> Self {
        let created = crate::owned::testing::ago(seconds);
        self.1.common.metadata.creation_timestamp = Some(Time(created));
        self
    }

    pub fn build(self) -> ReplicaSet {
        Arc::new(Cached {
            key: ObjectKey::new("ns", self.0.as_str()),
            uid: self.0.as_str().into(),
            resource_version: 1,
            object: self.1,
        })
    }
}
