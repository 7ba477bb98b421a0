use super::*;

fn errors(spec: serde_json::Value) -> Vec<String> {
    let object = serde_json::json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec});
    let mut pod: Pod = serde_json::from_value(object).unwrap();
    crate::defaults::typed(&mut pod, crate::defaults::pod).unwrap();
    pod_create(&pod).iter().map(ToString::to_string).collect()
}

fn container(extra: serde_json::Value) -> serde_json::Value {
    let mut container = serde_json::json!({"name": "c", "image": "i:1"});
    container
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    serde_json::json!({"containers": [container]})
}

#[test]
fn pods_have_a_name_and_a_namespace() {
    let told = |meta: serde_json::Value| -> Vec<String> {
        names(&serde_json::from_value(meta).unwrap())
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    for (meta, want) in [
        (
            serde_json::json!({"name": "a", "generateName": "b-", "namespace": "n"}),
            None,
        ),
        (
            serde_json::json!({"namespace": "n"}),
            Some("metadata.name: Required value: name or generateName is required"),
        ),
        (
            serde_json::json!({"name": "A", "namespace": "n"}),
            Some("metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomai"),
        ),
        (
            serde_json::json!({"name": "a"}),
            Some("metadata.namespace: Required value"),
        ),
        (
            serde_json::json!({"name": "a", "namespace": "a.b"}),
            Some("metadata.namespace: Invalid value: \"a.b\": must not contain dots"),
        ),
    ] {
        let found = told(meta);
        assert_eq!(found.len(), usize::from(want.is_some()), "{found:?}");
        assert!(
            found
                .iter()
                .all(|text| text.starts_with(want.unwrap_or_default())),
            "{found:?}"
        );
    }
}

#[test]
fn good_pod_has_no_errors() {
    assert_eq!(errors(container(serde_json::json!({}))), Vec::<String>::new());
}

#[test]
fn host_names_that_are_given_as_a_whole_stand_alone() {
    let with = |extra: serde_json::Value| {
        let mut spec = container(serde_json::json!({}));
        spec.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        errors(spec)
    };
    assert!(with(serde_json::json!({"hostnameOverride": "a.example.host", "subdomain": "t"})).is_empty());
    for bad in [
        serde_json::json!({"hostnameOverride": "Not-RFC1123"}),
        serde_json::json!({"hostnameOverride": "a".repeat(65)}),
        serde_json::json!({"hostnameOverride": "a", "setHostnameAsFQDN": true}),
        serde_json::json!({"hostnameOverride": "a", "hostNetwork": true}),
    ] {
        let told = with(bad.clone());
        assert!(
            told.len() == 1 && told[0].starts_with("spec.hostnameOverride: "),
            "{bad} {told:?}"
        );
    }
}

#[test]
fn what_users_hit_is_told_with_its_field() {
    let cases = [
        (
            serde_json::json!({"containers": []}),
            "spec.containers: Required value",
        ),
        (
            container(serde_json::json!({"image": ""})),
            "spec.containers[0].image: Required value",
        ),
        (
            container(serde_json::json!({"ports": [{"containerPort": 70000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            container(serde_json::json!({"volumeMounts": [{"name": "nov", "mountPath": "/x"}]})),
            "spec.containers[0].volumeMounts[0].name: Not found: \"nov\"",
        ),
        (
            container(serde_json::json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            container(
                serde_json::json!({"livenessProbe": {"successThreshold": 2, "exec": {"command": ["x"]}}}),
            ),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            container(serde_json::json!({"lifecycle": {"stopSignal": "SIGUSR1"}})),
            "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`",
        ),
        (
            container(serde_json::json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}})),
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative integer less than terminationGracePeriodSeconds (30)",
        ),
        (
            container(serde_json::json!({"readinessProbe":
                {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 1}})),
            "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
        ),
        (
            serde_json::json!({"os": {"name": "windows"}, "containers": [
                {"name": "c", "image": "i:1", "lifecycle": {"stopSignal": "SIGUSR1"}}]}),
            "spec.containers[0].lifecycle.stopSignal: Unsupported value: \"SIGUSR1\": supported values: \"SIGKILL\", \"SIGTERM\"",
        ),
        (
            serde_json::json!({"volumes": [{"name": "v", "image": {}}],
                "containers": [{"name": "c", "image": "i:1"}]}),
            "spec.volumes[0].image.reference: Required value",
        ),
        (
            serde_json::json!({"volumes": [{"name": "v", "image": {"reference": "a:1", "pullPolicy": "Often"}}],
                "containers": [{"name": "c", "image": "i:1"}]}),
            "spec.volumes[0].image.pullPolicy: Unsupported value: \"Often\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
    ];
    for (spec, expected) in cases {
        let found = errors(spec);
        assert!(
            found.iter().any(|error| error == expected),
            "{expected}\n{found:?}"
        );
    }
}

#[test]
fn stop_signals_of_the_pods_system_are_taken() {
    let spec = serde_json::json!({"os": {"name": "linux"}, "containers": [
        {"name": "c", "image": "i:1", "lifecycle": {"stopSignal": "SIGRTMIN+3"}}]});
    assert_eq!(errors(spec), Vec::<String>::new());
}

#[test]
fn a46_mirror_needs_a_node() {
    let object = serde_json::json!({
        "metadata": {"name": "p", "namespace": "d", "annotations": {CONFIG_MIRROR: "h"}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let mut pod: Pod = serde_json::from_value(object).unwrap();
    crate::defaults::typed(&mut pod, crate::defaults::pod).unwrap();
    let found = pod_create(&pod);
    assert!(
        found[0]
            .to_string()
            .contains("must set spec.nodeName if mirror pod annotation is set"),
        "{found:?}"
    );
}
