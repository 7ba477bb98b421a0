//! PodDisruptionBudgets: what they count, and over pods of owners of any kind.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, EvictParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::{Cluster, PATIENCE, eventually};

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + serde::Serialize,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap()
}

fn budgets(cluster: &Cluster) -> Api<PodDisruptionBudget> {
    Api::namespaced(cluster.client.clone(), "default")
}

/// allowed, healthy, desired, expected, and the reason of condition DisruptionAllowed.
fn sums(status: &PodDisruptionBudgetStatus) -> (i32, i32, i32, i32, String) {
    let conditions = status.conditions.iter().flatten();
    let reason = conditions
        .filter(|condition| condition.type_ == "DisruptionAllowed")
        .map(|condition| condition.reason.clone())
        .next();
    let number = |number: Option<i32>| number.unwrap_or(-1);
    (
        number(status.disruptions_allowed),
        number(status.current_healthy),
        number(status.desired_healthy),
        number(status.expected_pods),
        reason.unwrap_or_default(),
    )
}

async fn expect(cluster: &Cluster, budget: &str, want: (i32, i32, i32, i32, &str)) {
    let budgets = budgets(cluster);
    let mut last = None;
    for _ in 0..PATIENCE.as_millis() / 20 {
        let status = budgets.get(budget).await.unwrap().status.unwrap_or_default();
        let found = sums(&status);
        if (found.0, found.1, found.2, found.3, found.4.as_str()) == want {
            return;
        }
        last = Some(found);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{budget} is at {last:?}, not {want:?}");
}

#[tokio::test]
async fn the_pods_of_a_custom_resource_count_by_its_scale() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let definition = json!({"metadata": {"name": "rings.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "rings", "singular": "ring", "kind": "Ring"}, "versions": [{"name": "v1", "served": true,
            "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas"}}}]}});
    create(&definitions, definition).await;
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("example.com", "v1", "Ring"), "rings");
    let rings: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), "default", &resource);
    let ring = eventually("the kind", || async {
        let ring = json!({"apiVersion": "example.com/v1", "kind": "Ring", "metadata": {"name": "r"},
            "spec": {"replicas": 4}});
        let ring = serde_json::from_value(ring).unwrap();
        rings.create(&PostParams::default(), &ring).await.ok()
    })
    .await;
    let owner = json!([{"apiVersion": "example.com/v1", "kind": "Ring", "name": "r", "uid": ring.metadata.uid,
        "controller": true}]);
    let pods: Api<Pod> = cluster.pods();
    for number in 0..3 {
        create(&pods, json!({"metadata": {"name": format!("r-{number}"), "labels": {"app": "r"}, "ownerReferences": owner},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}))
        .await;
    }
    let budget = json!({"metadata": {"name": "b"}, "spec": {"maxUnavailable": 2, "selector": {"matchLabels": {"app": "r"}}}});
    create(&budgets(&cluster), budget).await;
    expect(&cluster, "b", (1, 3, 2, 4, "SufficientPods")).await;
    pods.evict("r-0", &EvictParams::default()).await.unwrap();
    expect(&cluster, "b", (0, 2, 2, 4, "InsufficientPods")).await;
    let refused = pods.evict("r-1", &EvictParams::default()).await;
    let Err(kube::Error::Api(status)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(status.code, 429);
    assert_eq!(
        status.message,
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    let cause = &status.details.as_ref().unwrap().causes[0];
    assert_eq!(cause.reason, "DisruptionBudget");
    assert_eq!(
        cause.message,
        "The disruption budget b needs 2 healthy pods and has 2 currently"
    );
}

#[tokio::test]
async fn a_budget_over_pods_whose_owner_has_no_scale_says_so() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1", json!({})).await;
    cluster.create_set("d", json!({})).await;
    cluster.expect_running("d", ["n1 img:1 ready"]).await;
    let budget = json!({"metadata": {"name": "b"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "d"}}}});
    create(&budgets(&cluster), budget).await;
    let message = eventually("the condition", || async {
        let status = budgets(&cluster).get("b").await.unwrap().status?;
        let failed = status
            .conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.reason == "SyncFailed")?;
        Some(failed.message)
    })
    .await;
    assert_eq!(
        message,
        "daemonsets.apps does not implement the scale subresource"
    );
    // By a number of pods it can be counted all the same.
    let by_number = Patch::Merge(json!({"spec": {"maxUnavailable": null, "minAvailable": 1}}));
    budgets(&cluster)
        .patch("b", &PatchParams::default(), &by_number)
        .await
        .unwrap();
    expect(&cluster, "b", (0, 1, 1, 1, "InsufficientPods")).await;
}
