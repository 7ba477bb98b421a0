//! HorizontalPodAutoscalers. What pods use comes from node agents, which these clusters don't have: how numbers follow
//! from that has its cases beside the code.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::harness::{Cluster, eventually};

#[tokio::test]
async fn an_autoscaler_keeps_its_bounds_and_says_what_it_cannot_see() {
    // Without a node nobody has to be asked what pods use.
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), "default");
    let scalers: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client.clone(), "default");
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "10m"}}}]}}}});
    let params = PostParams::default();
    let deployment = serde_json::from_value(deployment).unwrap();
    deployments.create(&params, &deployment).await.unwrap();
    let scaler = |name: &str, target: &str| {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"minReplicas": 2, "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}}}),
        )
        .unwrap()
    };
    scalers.create(&params, &scaler("web", "web")).await.unwrap();
    scalers.create(&params, &scaler("lost", "nobody")).await.unwrap();
    let condition = |name: &'static str, kind: &'static str| {
        let scalers = scalers.clone();
        async move {
            let status = scalers.get(name).await.unwrap().status?;
            let condition = status
                .conditions?
                .into_iter()
                .find(|condition| condition.type_ == kind)?;
            Some(format!("{} {}", condition.status, condition.reason?))
        }
    };
    let replicas = || async { deployments.get("web").await.unwrap().spec.unwrap().replicas };
    eventually("as many as there have to be", || async {
        (replicas().await == Some(2)).then_some(())
    })
    .await;
    eventually("a target that isn't there", || async {
        (condition("lost", "AbleToScale").await? == "False FailedGetScale").then_some(())
    })
    .await;
    // It is looked at again at once when it says something else.
    let more = Patch::Merge(json!({"spec": {"minReplicas": 3}}));
    scalers
        .patch("web", &PatchParams::default(), &more)
        .await
        .unwrap();
    eventually("one more", || async {
        (replicas().await == Some(3)).then_some(())
    })
    .await;
    let fewer = Patch::Merge(json!({"spec": {"minReplicas": 1}}));
    scalers
        .patch("web", &PatchParams::default(), &fewer)
        .await
        .unwrap();
    eventually("what can't be seen", || async {
        (condition("web", "ScalingActive").await? == "False FailedGetResourceMetric").then_some(())
    })
    .await;
    assert_eq!(replicas().await, Some(3));
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    eventually("the events", || async {
        let list = events.list(&ListParams::default()).await.unwrap().items;
        let messages = |reason: &str| -> Vec<String> {
            let of = list
                .iter()
                .filter(|event| event.reason.as_deref() == Some(reason));
            of.filter_map(|event| event.message.clone()).collect()
        };
        let rescaled = messages("SuccessfulRescale");
        let why = "reason: Current number of replicas below Spec.MinReplicas";
        (rescaled.contains(&format!("New size: 2; {why}"))
            && rescaled.contains(&format!("New size: 3; {why}"))
            && !messages("FailedComputeMetricsReplicas").is_empty())
        .then_some(())
    })
    .await;
}
