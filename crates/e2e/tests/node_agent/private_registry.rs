//! Images that not everybody may have.
use crate::shared::{FOREVER, Shared, apply, container, node, pod, wait_phase};
use orlop_e2e::{Registry, eventually};
use serde_json::json;

/// B05 and B07: with the right pull secret a private image is pulled and runs, by its digest too; without one it is
/// refused.
#[test]
fn b05_b07_private_image_is_pulled_with_its_secret_by_name_and_digest_and_not_without() {
    let node = node();
    let shared = Shared::new(&node, "b05");
    let registry = Registry::start("somebody", "secret");
    let image = format!("{}/busybox:debian", registry.address());
    let of = |name: &str, secret: Option<&str>| {
        let mut main = container("main", FOREVER);
        main["image"] = json!(image);
        main["imagePullPolicy"] = json!("Always");
        let mut pod = pod(name, &shared, vec![], vec![main]);
        if let Some(secret) = secret {
            pod["spec"]["imagePullSecrets"] = json!([{"name": secret}]);
        }
        pod
    };
    apply(&node, &of("b05-stranger", None));
    eventually("the stranger is refused", || {
        let pod = node.kubectl.json("get pod b05-stranger");
        let reason = pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
        (reason == "ErrImagePull" || reason == "ImagePullBackOff")
            .then_some(())
            .ok_or_else(|| format!("{:#}", pod["status"]))
    });
    node.kubectl.ok(&format!(
        "create secret docker-registry b05 --docker-server={} --docker-username=somebody --docker-password=secret",
        registry.address()
    ));
    apply(&node, &of("b05", Some("b05")));
    wait_phase(&node, "b05", "Running");
    let events = node
        .kubectl
        .ok("get events --field-selector involvedObject.name=b05");
    assert!(events.contains("Successfully pulled image"), "{events}");
    // B07: by its digest it is the same image, and the status says so.
    let digest = registry.digest();
    let mut by_digest = of("b07", Some("b05"));
    by_digest["spec"]["containers"][0]["image"] = json!(format!("{}/busybox@{digest}", registry.address()));
    apply(&node, &by_digest);
    wait_phase(&node, "b07", "Running");
    let id = node
        .kubectl
        .field("pod b07", "/status/containerStatuses/0/imageID");
    assert!(id.ends_with(&digest), "{id}");
    node.kubectl.ok("delete pod b05 b07 b05-stranger --now");
    node.kubectl.ok("delete secret b05");
}
