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
    let with = |name: &str, secret: Option<&str>, policy: &str| {
        let mut main = container("main", FOREVER);
        main["image"] = json!(image);
        main["imagePullPolicy"] = json!(policy);
        let mut pod = pod(name, &shared, vec![], vec![main]);
        if let Some(secret) = secret {
            pod["spec"]["imagePullSecrets"] = json!([{"name": secret}]);
        }
        pod
    };
    let of = |name: &str, secret: Option<&str>| with(name, secret, "Always");
    let refused = |name: &str, reasons: &[&str]| {
        eventually("the stranger is refused", || {
            let pod = node.kubectl.json(&format!("get pod {name}"));
            let reason = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
            let is_refused = reasons.iter().any(|wanted| reason == wanted);
            is_refused
                .then_some(())
                .ok_or_else(|| format!("{:#}", pod["status"]))
        });
    };
    let not_pulled = ["ErrImagePull", "ImagePullBackOff"];
    apply(&node, &of("b05-stranger", None));
    refused("b05-stranger", &not_pulled);
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
    // Now that it is there it is still only for those who may have it, whatever secret says so.
    node.kubectl.ok(&format!(
        "create secret docker-registry b05-same --docker-server={} --docker-username=somebody --docker-password=secret",
        registry.address()
    ));
    apply(&node, &with("b05-present", None, "IfNotPresent"));
    apply(&node, &with("b05-never", None, "Never"));
    apply(&node, &with("b05-same", Some("b05-same"), "Never"));
    apply(&node, &with("b05-own", Some("b05"), "IfNotPresent"));
    refused("b05-present", &not_pulled);
    refused("b05-never", &["ErrImageNeverPull"]);
    for name in ["b05-same", "b05-own"] {
        wait_phase(&node, name, "Running");
        let events = node
            .kubectl
            .ok(&format!("get events --field-selector involvedObject.name={name}"));
        assert!(events.contains("can be accessed by the pod"), "{events}");
    }
    node.kubectl
        .ok("delete pod b05 b07 b05-stranger b05-present b05-never b05-same b05-own --now");
    node.kubectl.ok("delete secret b05 b05-same");
}
