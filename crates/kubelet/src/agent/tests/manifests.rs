//! Manifests that are removed, written again and changed while their pods are being stopped.
use super::*;

impl Cluster {
    /// Writes another manifest, and waits for its pod: what happened in the directory before has then been taken in.
    pub(super) async fn settle(&self) {
        let other = "apiVersion: v1\nkind: Pod\nmetadata: {name: other}\nspec: {containers: [{name: other, image: 'i:1'}]}\n";
        std::fs::write(self.manifests.join("other.yaml"), other).unwrap();
        self.runtime.until("StartContainer other").await;
    }
}

/// A14: the same manifest again is another life of the same pod, whose restarts are counted on.
#[tokio::test]
async fn a14_manifest_that_is_removed_and_written_again_unchanged_restarts_its_pod() {
    let cluster = Cluster::start().await;
    cluster.write("i:1");
    let first = cluster.until_running_but("the mirror", "web-n1", "").await;
    let hash = first.metadata.annotations.as_ref().unwrap()["kubernetes.io/config.hash"].clone();
    // As a runtime would have written it.
    let logs = cluster._dir.path().join(format!("logs/default_web-n1_{hash}/c"));
    std::fs::write(logs.join("0.log"), "").unwrap();
    cluster.runtime.stubborn.lock().push("c".into());
    std::fs::remove_file(cluster.manifests.join("web.yaml")).unwrap();
    cluster.runtime.until("StopContainer c 30").await;
    cluster.write("i:1");
    cluster.settle().await;
    assert_eq!(cluster.starts(), 2, "the first life is not over");
    cluster.runtime.end_stubborn();
    let runs_again = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        statuses.is_some_and(|statuses| statuses[0].restart_count == 1 && statuses[0].ready)
    };
    let again = cluster.until("a restart", "web-n1", runs_again).await.unwrap();
    assert_eq!(orlop_api::pod::phase(&again), "Running");
    let calls = cluster.runtime.calls();
    assert!(
        calls.iter().any(|call| call == "CreateContainer c 1"),
        "{calls:#?}"
    );
    std::fs::remove_file(cluster.manifests.join("web.yaml")).unwrap();
    cluster
        .until("the mirror to go", "web-n1", |pod| pod.is_none())
        .await;
}

/// A18: of versions that came and went while the pod was being stopped nothing is left.
#[tokio::test]
async fn a18_manifest_that_is_edited_twice_while_its_pod_stops_and_then_removed_starts_nothing() {
    let cluster = Cluster::start().await;
    cluster.write("i:1");
    let first = cluster.until_running_but("the mirror", "web-n1", "").await;
    cluster.runtime.stubborn.lock().push("c".into());
    cluster.write("i:2");
    cluster.runtime.until("StopContainer c 30").await;
    cluster.write("i:3");
    std::fs::remove_file(cluster.manifests.join("web.yaml")).unwrap();
    cluster.settle().await;
    let during = cluster.pods.get("web-n1").await.unwrap();
    assert_eq!(uid_of(&during), uid_of(&first), "its mirror stays meanwhile");
    cluster.runtime.end_stubborn();
    cluster
        .until("the mirror to go", "web-n1", |pod| pod.is_none())
        .await;
    let made = cluster.runtime.count("RunPodSandbox");
    assert_eq!(made, 2, "its own and the other's: {:#?}", cluster.runtime.calls());
}

/// A21: a pod whose manifest gives its UID stays that pod whatever else changes: only what changed begins anew.
#[tokio::test]
async fn a21_changed_image_of_a_pod_with_a_fixed_uid_restarts_its_container_in_the_same_sandbox() {
    let cluster = Cluster::start().await;
    let write = |image: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, uid: fixed}}\nspec: {{containers: [{{name: c, image: '{image}'}}]}}\n"
        );
        let hidden = cluster.manifests.join(".fixed");
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, cluster.manifests.join("web.yaml")).unwrap();
    };
    write("i:1");
    let first = cluster.until_running_but("the mirror", "web-n1", "").await;
    write("i:2");
    let restarted = |pod: Option<&Pod>| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        statuses.is_some_and(|statuses| statuses[0].restart_count == 1 && statuses[0].ready)
    };
    let second = cluster.until("a restart", "web-n1", restarted).await.unwrap();
    let of = |pod: &Pod| {
        let annotations = pod.metadata.annotations.as_ref().unwrap();
        (uid_of(pod), annotations["kubernetes.io/config.hash"].clone())
    };
    assert_eq!(of(&second), of(&first));
    assert_eq!(of(&first).1, "fixed");
    let made = cluster.runtime.count("RunPodSandbox");
    assert_eq!(made, 1, "{:#?}", cluster.runtime.calls());
}
