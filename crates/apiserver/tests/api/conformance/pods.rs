//! "Pods", "Ephemeral Containers" and "Pod … API" of upstream's suites, where `api/pods.rs` does not say it.
use crate::support::{Cluster, PODS, pod, version};
use http::Method;
use serde_json::{Value, json};

const DAEMONSETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

#[tokio::test]
async fn o02_the_pull_policy_follows_from_the_image() {
    let admin = Cluster::start().await.admin();
    let digest = format!("x@sha256:{}", "0".repeat(64));
    let tagged = format!("host:5000/x:latest@sha256:{}", "0".repeat(64));
    for (number, (image, policy)) in [
        ("nginx", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/x", "Always"),
        (digest.as_str(), "IfNotPresent"),
        ("x:latest", "Always"),
        ("host:5000/a/b:v2", "IfNotPresent"),
        (tagged.as_str(), "Always"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut made = pod(&format!("p{number}"));
        made["spec"]["containers"][0]["image"] = json!(image);
        made["spec"]["initContainers"] = json!([{"name": "i", "image": image}]);
        let made = admin.post(PODS, made).await.ok();
        for kind in ["containers", "initContainers"] {
            assert_eq!(made["spec"][kind][0]["imagePullPolicy"], policy, "{kind} {image}");
        }
    }
}

#[tokio::test]
async fn o03_requests_equal_limits_in_a_pod_and_not_in_a_template() {
    let admin = Cluster::start().await.admin();
    let resources = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
    let mut made = pod("p");
    made["spec"]["containers"][0]["resources"] = resources.clone();
    made["spec"]["initContainers"] =
        json!([{"name": "i", "image": "i:1", "resources": {"limits": {"cpu": "2"}}}]);
    let made = admin.post(PODS, made).await.ok();
    assert_eq!(
        made["spec"]["containers"][0]["resources"]["requests"],
        json!({"cpu": "500m", "memory": "1Gi"})
    );
    assert_eq!(
        made["spec"]["initContainers"][0]["resources"]["requests"],
        json!({"cpu": "2"})
    );
    let set = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1"}}}]}}}});
    let set = admin.post(DAEMONSETS, set).await.ok();
    assert_eq!(
        set["spec"]["template"]["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "1"}})
    );
}

/// "will start an ephemeral container in an existing pod", "should update the ephemeral containers in an existing pod"
#[tokio::test]
async fn o11_ephemeral_containers_come_through_their_subresource_and_stay() {
    let admin = Cluster::start().await.admin();
    admin.post(PODS, pod("p")).await.ok();
    let (main, part) = (format!("{PODS}/p"), format!("{PODS}/p/ephemeralcontainers"));
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debugger", "image": "busybox:1", "stdin": true, "tty": true}]}});
    let patched = admin.patch(&part, "strategic-merge", debugger.clone()).await.ok();
    let added = &patched["spec"]["ephemeralContainers"][0];
    assert_eq!(added["imagePullPolicy"], "IfNotPresent");
    assert_eq!(added["terminationMessagePolicy"], "File");
    assert_eq!(patched["metadata"]["generation"], 2);
    assert_eq!(
        admin.get(&part).await.ok()["spec"]["ephemeralContainers"][0]["name"],
        "debugger"
    );
    let second = json!({"spec": {"ephemeralContainers": [{"name": "second", "image": "busybox:1", "targetContainerName": "c"}]}});
    admin.patch(&part, "strategic-merge", second).await.ok();

    let mut fewer = admin.get(&part).await.ok();
    fewer["spec"]["ephemeralContainers"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    let message = admin.put(&part, fewer).await.refused(422);
    assert!(
        message.contains("existing ephemeral containers \"second\" may not be removed"),
        "{message}"
    );
    let mut other = admin.get(&part).await.ok();
    other["spec"]["ephemeralContainers"][1]["image"] = json!("other:1");
    let message = admin.put(&part, other).await.refused(422);
    assert!(
        message.contains("existing ephemeral containers \"debugger\" may not be changed"),
        "{message}"
    );
    let unknown = json!({"spec": {"ephemeralContainers": [{"name": "x", "image": "i:1", "targetContainerName": "nobody"}]}});
    let message = admin.patch(&part, "strategic-merge", unknown).await.refused(422);
    assert!(
        message.contains("spec.ephemeralContainers[0].targetContainerName: Not found: \"nobody\""),
        "{message}"
    );
    let ports = json!({"spec": {"ephemeralContainers": [{"name": "x", "image": "i:1", "ports": [{"containerPort": 80}]}]}});
    let message = admin.patch(&part, "strategic-merge", ports).await.refused(422);
    assert!(
        message.contains(
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"
        ),
        "{message}"
    );
    let resources = json!({"spec": {"ephemeralContainers": [{"name": "x", "image": "i:1", "resources": {"limits": {"cpu": "1"}}}]}});
    let message = admin
        .patch(&part, "strategic-merge", resources)
        .await
        .refused(422);
    assert!(
        message.contains(
            "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container"
        ),
        "{message}"
    );
    let same = json!({"spec": {"ephemeralContainers": [{"name": "c", "image": "i:1"}]}});
    let message = admin.patch(&part, "strategic-merge", same).await.refused(422);
    assert!(
        message.contains("spec.ephemeralContainers[0].name: Duplicate value: \"c\""),
        "{message}"
    );
    // The main resource takes none, neither then nor at the beginning.
    let more = json!({"spec": {"ephemeralContainers": [{"name": "third", "image": "i:1"}]}});
    admin.patch(&main, "strategic-merge", more).await.refused(422);
    let mut born = pod("q");
    born["spec"]["ephemeralContainers"] = json!([{"name": "x", "image": "i:1"}]);
    let message = admin.post(PODS, born).await.refused(422);
    assert!(
        message.contains("spec.ephemeralContainers: Forbidden: cannot be set on create"),
        "{message}"
    );
}

/// "pod generation should start at 1 and increment per update", "… when deleted"
#[tokio::test]
async fn generations_of_pods_follow_their_spec_and_their_end() {
    let admin = Cluster::start().await.admin();
    let mut made = pod("p");
    made["spec"]["nodeName"] = json!("n1");
    made["metadata"]["generation"] = json!(100);
    let made = admin.post(PODS, made).await.ok();
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{PODS}/p");
    for (change, generation) in [
        (json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (json!({"metadata": {"annotations": {"a": "b"}}}), 1),
        (json!({"spec": {"activeDeadlineSeconds": 500}}), 2),
        (
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}),
            3,
        ),
        (
            json!({"spec": {"tolerations": [{"key": "x", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]}}),
            4,
        ),
    ] {
        let changed = admin.patch(&path, "strategic-merge", change.clone()).await.ok();
        assert_eq!(changed["metadata"]["generation"], generation, "{change}");
    }
    let status = json!({"status": {"phase": "Running", "observedGeneration": 4}});
    let status = admin.patch(&format!("{path}/status"), "merge", status).await.ok();
    assert_eq!(status["metadata"]["generation"], 4);
    assert_eq!(status["status"]["observedGeneration"], 4);
    let ending = admin.delete(&path, json!({"gracePeriodSeconds": 30})).await.ok();
    assert_eq!(ending["metadata"]["generation"], 5);
}

/// "should delete a collection of pods", "should patch a pod status"
#[tokio::test]
async fn pods_are_deleted_together_with_their_grace() {
    let admin = Cluster::start().await.admin();
    for (name, node) in [("a", ""), ("b", ""), ("c", "n1")] {
        let mut made = pod(name);
        made["metadata"]["labels"] = json!({"type": "Testing"});
        if !node.is_empty() {
            made["spec"]["nodeName"] = json!(node);
        }
        admin.post(PODS, made).await.ok();
    }
    let mut other = pod("other");
    other["metadata"]["labels"] = json!({"type": "Else"});
    admin.post(PODS, other).await.ok();
    let gone = admin
        .delete(&format!("{PODS}?labelSelector=type%3DTesting"), Value::Null)
        .await
        .ok();
    assert_eq!(
        (gone["kind"].as_str(), gone["apiVersion"].as_str()),
        (Some("PodList"), Some("v1"))
    );
    assert_eq!(gone["items"].as_array().unwrap().len(), 3);
    let left = admin.get(PODS).await.ok();
    let names: Vec<_> = left["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["metadata"]["name"])
        .collect();
    assert_eq!(names, ["c", "other"], "the bound one ends gracefully");
    assert!(left["items"][0]["metadata"]["deletionTimestamp"].is_string());
}

/// "should reject invalid sysctls", and other things that pods cannot have.
#[tokio::test]
async fn what_a_pod_cannot_be_is_refused_with_every_cause() {
    let admin = Cluster::start().await.admin();
    let spec = |change: Value| {
        let mut made = pod("p");
        for (key, value) in change.as_object().unwrap() {
            made["spec"][key] = value.clone();
        }
        made
    };
    let container = |change: Value| {
        let mut made = pod("p");
        for (key, value) in change.as_object().unwrap() {
            made["spec"]["containers"][0][key] = value.clone();
        }
        made
    };
    for (body, text) in [
        (
            spec(json!({"securityContext": {"sysctls": [{"name": "foo-", "value": "bar"}]}})),
            "spec.securityContext.sysctls[0].name: Invalid value: \"foo-\": must have at most 253 characters and match regex",
        ),
        (
            spec(
                json!({"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "kernel.shm_rmid_forced", "value": "1"}]}}),
            ),
            "spec.securityContext.sysctls[1].name: Duplicate value: \"kernel.shm_rmid_forced\"",
        ),
        (
            spec(json!({"dnsPolicy": "None"})),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            spec(
                json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}]}),
            ),
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            spec(
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
            ),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (
            spec(json!({"hostname": "A.b"})),
            "spec.hostname: Invalid value: \"A.b\": a lowercase RFC 1123 label",
        ),
        (
            spec(json!({"readinessGates": [{"conditionType": "a b"}]})),
            "spec.readinessGates[0].conditionType: Invalid value: \"a b\"",
        ),
        (
            container(json!({"image": " i"})),
            "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",
        ),
        (
            container(
                json!({"ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}]}),
            ),
            "spec.containers[0].ports[1].hostPort: Duplicate value",
        ),
        (
            container(
                json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            ),
            "spec.containers[0].env[0].valueFrom: Invalid value",
        ),
        (
            container(
                json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.bogus"}}}]}),
            ),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.bogus\": error converting fieldPath: field label not supported: spec.bogus",
        ),
        (
            container(json!({"resources": {"limits": {"bogus": "1"}}})),
            "spec.containers[0].resources.limits[bogus]: Invalid value: \"bogus\": must be a standard resource type or fully qualified",
        ),
        (
            container(json!({"lifecycle": {"postStart": {}}})),
            "spec.containers[0].lifecycle.postStart: Required value: must specify a handler type",
        ),
        (
            container(json!({"terminationMessagePolicy": "x"})),
            "spec.containers[0].terminationMessagePolicy: Unsupported value",
        ),
        (
            container(json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}})),
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
        (
            spec(json!({"restartPolicy": "Sometimes"})),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            spec(json!({"dnsPolicy": "Custom"})),
            "spec.dnsPolicy: Unsupported value: \"Custom\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
        ),
        (
            spec(json!({"activeDeadlineSeconds": 0})),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            spec(json!({"activeDeadlineSeconds": 3_000_000_000_i64})),
            "spec.activeDeadlineSeconds: Invalid value: 3000000000: must be between 1 and 2147483647, inclusive",
        ),
        (
            spec(json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]})),
            "Forbidden: may not specify more than 1 volume type",
        ),
        (
            spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/x/../y"}}]})),
            "spec.volumes[0].hostPath.path: Invalid value: \"/x/../y\": must not contain '..'",
        ),
        (
            spec(json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]})),
            "spec.volumes[1].name: Duplicate value: \"v\"",
        ),
        (
            spec(json!({"nodeName": "A_b"})),
            "spec.nodeName: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
        ),
        (
            spec(json!({"tolerations": [{"key": "k", "operator": "Exists", "value": "v"}]})),
            "value must be empty when `operator` is 'Exists'",
        ),
        (
            spec(
                json!({"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}]}),
            ),
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
        (
            spec(
                json!({"initContainers": [{"name": "i", "image": "i:1", "readinessProbe": {"exec": {"command": ["x"]}}}]}),
            ),
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
        (
            spec(json!({"initContainers": [{"name": "c", "image": "i:1"}]})),
            "Duplicate value: \"c\"",
        ),
        (
            container(json!({"name": "A"})),
            "spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label",
        ),
        (
            container(json!({"image": ""})),
            "spec.containers[0].image: Required value",
        ),
        (
            container(json!({"ports": [{"containerPort": 0}]})),
            "spec.containers[0].ports[0].containerPort: Required value",
        ),
        (
            container(json!({"ports": [{"containerPort": 70000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            container(json!({"ports": [{"containerPort": 80, "protocol": "ICMP"}]})),
            "spec.containers[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            container(
                json!({"ports": [{"name": "a", "containerPort": 80}, {"name": "a", "containerPort": 81}]}),
            ),
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
        ),
        (
            container(json!({"env": [{"name": ""}]})),
            "spec.containers[0].env[0].name: Required value",
        ),
        (
            container(json!({"volumeMounts": [{"name": "nov", "mountPath": "/x"}]})),
            "spec.containers[0].volumeMounts[0].name: Not found: \"nov\"",
        ),
        (
            container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            container(json!({"resources": {"limits": {"cpu": "-1"}}})),
            "spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            container(json!({"livenessProbe": {"exec": {"command": ["x"]}, "httpGet": {"port": 80}}})),
            "Forbidden: may not specify more than 1 handler type",
        ),
        (
            container(json!({"livenessProbe": {}})),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            container(json!({"livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}})),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            container(json!({"imagePullPolicy": "Never ever"})),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Never ever\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
    ] {
        let reply = admin.post(PODS, body.clone()).await;
        assert_eq!(reply.code, 422, "{text}: {}", reply.text);
        let status = reply.json();
        assert_eq!(status["reason"], "Invalid");
        assert_eq!(status["details"]["kind"], "Pod");
        let message = status["message"].as_str().unwrap();
        assert!(message.starts_with("Pod \"p\" is invalid: "), "{message}");
        assert!(message.contains(text), "{text}\nis not in\n{message}");
    }
    // All of them at once.
    let many = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "A", "image": ""}], "restartPolicy": "x"}});
    let reply = admin.post(PODS, many).await.json();
    assert_eq!(reply["details"]["causes"].as_array().unwrap().len(), 3, "{reply}");
}

/// X02 to X05 once more, with the numbers of §7.5 and the uid that a kubelet sends.
#[tokio::test]
async fn x02_x03_a_kubelets_last_word_ends_a_pod_and_only_that_pod() {
    let admin = Cluster::start().await.admin();
    let mut made = pod("p");
    made["spec"]["nodeName"] = json!("n1");
    let made = admin.post(PODS, made.clone()).await.ok();
    let path = format!("{PODS}/p");
    let first = admin
        .send(Method::DELETE, &format!("{path}?gracePeriodSeconds=20"), &[], "")
        .await
        .ok();
    assert_eq!(first["metadata"]["deletionGracePeriodSeconds"], 20);
    let longer = admin
        .send(Method::DELETE, &format!("{path}?gracePeriodSeconds=100"), &[], "")
        .await
        .ok();
    assert_eq!(
        version(&longer),
        version(&first),
        "it is never lengthened, and nothing is written"
    );
    let shorter = admin
        .send(Method::DELETE, &format!("{path}?gracePeriodSeconds=2"), &[], "")
        .await
        .ok();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 2);
    let other = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "another"}});
    let message = admin.delete(&path, other).await.refused(409);
    let uid = made["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        message,
        format!(
            "Operation cannot be fulfilled on Pod \"p\": the UID in the precondition (another) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        )
    );
    let own = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    let last = admin.delete(&path, own).await.ok();
    assert_eq!(last["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(admin.get(&path).await.code, 404);
}
