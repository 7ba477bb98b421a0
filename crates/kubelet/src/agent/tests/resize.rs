//! In-place resize, from the API to the runtime.
use super::*;
use k8s_openapi::api::core::v1::PodCondition;

impl Cluster {
    async fn resize(&self, name: &str, cpu: &str) {
        let patch = kube::api::Patch::Strategic(
            json!({"spec": {"containers": [{"name": name, "resources": {"requests": {"cpu": cpu}}}]}}),
        );
        let resized = self
            .pods
            .patch_subresource("resize", name, &Default::default(), &patch)
            .await;
        resized.unwrap();
    }

    fn with_room(&self, cpu: &str) {
        self.node.send_modify(|node| {
            let mut small = Node::clone(node.as_ref().unwrap());
            let allocatable = json!({"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "10"}});
            small.status = serde_json::from_value(allocatable).unwrap();
            *node = Some(Arc::new(small));
        });
    }

    async fn create_sized(&self, name: &str, cpu: &str) -> Pod {
        let container = json!({"name": name, "image": "i:1", "resources": {"requests": {"cpu": cpu}}});
        self.create_with(name, json!({"containers": [container]})).await;
        self.until_running_but("the pod", name, "").await
    }
}

fn condition(pod: &Pod, kind: &str) -> Option<PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .cloned()
}

/// What the first container was given, and what it has.
fn shown(pod: &Pod) -> Option<(String, String)> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let given = container.allocated_resources.as_ref()?.get("cpu")?.0.clone();
    let has = container
        .resources
        .as_ref()?
        .requests
        .as_ref()?
        .get("cpu")?
        .0
        .clone();
    Some((given, has))
}

#[tokio::test]
async fn pod_that_asks_for_what_there_is_gets_it_while_it_runs() {
    let cluster = Cluster::start().await;
    cluster.with_room("2");
    let pod = cluster.create_sized("p", "500m").await;
    assert_eq!(shown(&pod), Some(("500m".into(), "500m".into())));
    cluster.resize("p", "1").await;
    cluster.runtime.until("UpdateContainerResources p 1024 0 0").await;
    let resized = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| {
            shown(pod) == Some(("1".into(), "1".into()))
                && condition(pod, "PodResizeInProgress").is_none()
                && condition(pod, "PodResizePending").is_none()
        })
    };
    let pod = cluster.until("the resize", "p", resized).await.unwrap();
    let status = pod.status.unwrap();
    assert_eq!(status.container_statuses.unwrap()[0].restart_count, 0);
    assert_eq!(status.observed_generation, pod.metadata.generation);
}

#[tokio::test]
async fn resize_without_room_is_deferred_until_another_pod_goes() {
    let cluster = Cluster::start().await;
    cluster.with_room("1");
    cluster.create_sized("other", "500m").await;
    cluster.create_sized("p", "250m").await;
    cluster.resize("p", "750m").await;
    let pending = |pod: Option<&Pod>| pod.is_some_and(|pod| condition(pod, "PodResizePending").is_some());
    let pod = cluster.until("the pending resize", "p", pending).await.unwrap();
    let told = condition(&pod, "PodResizePending").unwrap();
    assert_eq!(
        (told.status.as_str(), told.reason.as_deref()),
        ("True", Some("Deferred"))
    );
    assert_eq!(
        told.message.as_deref(),
        Some("Node didn't have enough resource: cpu, requested: 750, used: 500, capacity: 1000")
    );
    assert_eq!(told.observed_generation, pod.metadata.generation);
    assert_eq!(shown(&pod), Some(("250m".into(), "250m".into())));
    // It counts with what it has, not with what it asks for.
    cluster.create_sized("third", "250m").await;
    cluster.pods.delete("other", &force()).await.unwrap();
    cluster.runtime.until("UpdateContainerResources p 768 0 0").await;
    let done = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| {
            condition(pod, "PodResizePending").is_none() && shown(pod) == Some(("750m".into(), "750m".into()))
        })
    };
    cluster.until("the resize", "p", done).await;
}

#[tokio::test]
async fn resize_beyond_the_node_is_infeasible_and_can_be_taken_back() {
    let cluster = Cluster::start().await;
    cluster.with_room("1");
    cluster.create_sized("p", "250m").await;
    cluster.resize("p", "3").await;
    let pending = |pod: Option<&Pod>| pod.is_some_and(|pod| condition(pod, "PodResizePending").is_some());
    let pod = cluster.until("the refused resize", "p", pending).await.unwrap();
    let told = condition(&pod, "PodResizePending").unwrap();
    assert_eq!(told.reason.as_deref(), Some("Infeasible"));
    assert_eq!(
        told.message.as_deref(),
        Some("Node didn't have enough capacity: cpu, requested: 3000, capacity: 1000")
    );
    cluster.resize("p", "250m").await;
    let gone = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| {
            condition(pod, "PodResizePending").is_none()
                && pod.status.as_ref().and_then(|status| status.observed_generation)
                    == pod.metadata.generation
        })
    };
    cluster.until("the end of it", "p", gone).await;
    let calls = cluster.runtime.calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("UpdateContainerResources")),
        "{calls:#?}"
    );
}
