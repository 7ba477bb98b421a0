//! Builders for the cases of this folder's tests.

use orlop_client::informer::Projection;
use serde_json::{Value, json};

use crate::cache::StatefulSetView;
pub use crate::owned::testing::{PodBuilder, names, now, pod};

/// StatefulSet `web` of three pods as the API server fills it in; `spec` is merged over its spec.
pub fn set(spec: Value) -> StatefulSetView {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "s", "generation": 1},
        "spec": {"replicas": 3, "podManagementPolicy": "OrderedReady", "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}},
    });
    orlop_api::patch::merge(&mut set["spec"], &spec);
    StatefulSetView::project(serde_json::from_value(set).unwrap())
}
