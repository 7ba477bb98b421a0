//! Whole looks.

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::autoscaler::AutoscalerConfig;
use crate::cache::Cache;
use crate::testing::server;

/// The status after a look at an autoscaler from 1 to 5 pods of a target with one pod and `replicas` wanted. It goes by a
/// metric that nobody serves, and by processors.
async fn status_with(replicas: i32) -> Value {
    let (client, asked) = server(move |method, path, body| match (method, path) {
        (_, path) if path.contains("/events") => (200, body),
        (&Method::PUT, _) => (200, body),
        (_, "/apis/apps/v1/namespaces/ns/deployments/web/scale") => {
            let scale = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"replicas": replicas},
                "status": {"replicas": replicas, "selector": "app=web"}});
            (200, scale)
        }
        (_, "/api/v1/namespaces/ns/pods") => {
            let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
                {"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
                "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            (200, json!({"metadata": {}, "items": [pod]}))
        }
        (_, "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods") => {
            let metrics = json!({"metadata": {"name": "p"}, "timestamp": "2026-01-01T01:00:00Z", "window": "30s",
                "containers": [{"name": "c", "usage": {"cpu": "50m"}}]});
            (200, json!({"metadata": {}, "items": [metrics]}))
        }
        (_, path) => {
            let message = format!("{path} not found");
            (
                404,
                json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": message}),
            )
        }
    });
    let scalers = Autoscalers::new(client, &Arc::new(Cache::default()), AutoscalerConfig::default());
    let measured = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "1"}}});
    let scaler = json!({"metadata": {"name": "s", "namespace": "ns", "uid": "s", "resourceVersion": "7"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "9"}}},
                {"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 50}}}]},
        "status": {"currentReplicas": 1, "desiredReplicas": 1, "currentMetrics": [measured]}});
    scalers
        .scalers
        .store()
        .apply(serde_json::from_value(scaler).unwrap());
    let scaler = scalers.scalers.store().all().remove(0);
    scalers.sync(&scaler).await.unwrap();
    let asked = asked.lock().unwrap();
    let written = asked.iter().rfind(|(_, path, _)| path.ends_with("/s/status"));
    written.unwrap().2["status"].clone()
}

#[tokio::test]
async fn what_metrics_say_stands_where_they_stand_in_the_spec() {
    let current = status_with(1).await["currentMetrics"].clone();
    assert_eq!(current[0]["type"], "", "it can't be read: {current}");
    assert_eq!(current[1]["resource"]["current"]["averageUtilization"], 50);
    assert_eq!(current.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_measured_before_is_not_shown_when_nobody_is_asked() {
    for replicas in [0, 9] {
        assert_eq!(
            status_with(replicas).await["currentMetrics"],
            Value::Null,
            "{replicas} pods"
        );
    }
}
