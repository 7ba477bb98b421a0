//! Volumes that are images.
use super::*;

fn with_volume() -> Arc<Pod> {
    let volumes = json!([{"name": "data", "image": {"reference": "data:1", "pullPolicy": "IfNotPresent"}}]);
    let mounts = json!([{"name": "data", "mountPath": "/data"},
        {"name": "data", "mountPath": "/part", "subPath": "etc"}]);
    let container = json!({"name": "c", "image": "i:1", "volumeMounts": mounts});
    pod(json!({"volumes": volumes, "containers": [container]}))
}

#[tokio::test]
async fn image_volume_is_pulled_and_mounted_by_the_runtime() {
    let bench = Bench::new();
    bench.runtime.absent.lock().push("data:1".into());
    bench.run(&with_volume(), SeenPod::default());
    bench.runtime.until("StartContainer c").await;
    assert!(bench.runtime.calls().contains(&"PullImage data:1".to_owned()));
    let mounted = |path: &str| (path.to_owned(), "sha256:data:1".to_owned(), "data:1".to_owned());
    assert_eq!(
        bench.runtime.mounted_images(),
        [mounted("/data"), mounted("/part")]
    );
    let parts = &bench.runtime.beyond()[0].image_sub_paths;
    assert_eq!(*parts, HashMap::from([("/part".to_owned(), "etc".to_owned())]));
}

#[tokio::test]
async fn container_waits_while_the_image_of_its_volume_cannot_be_pulled() {
    let bench = Bench::new();
    bench.runtime.absent.lock().push("data:1".into());
    bench.runtime.failing.lock().push("PullImage".into());
    bench.run(&with_volume(), SeenPod::default());
    bench.runtime.until("PullImage data:1").await;
    let waits = async {
        loop {
            let status = bench.agent.pods.by_uid("u").unwrap().pod.status.clone();
            let statuses = status
                .and_then(|status| status.container_statuses)
                .unwrap_or_default();
            let state = statuses.first().and_then(|status| status.state.clone()?.waiting);
            if state.is_some_and(|waiting| waiting.reason.as_deref() == Some("ErrImagePull")) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits)
        .await
        .unwrap();
    let calls = bench.runtime.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("CreateContainer")),
        "{calls:?}"
    );
}
