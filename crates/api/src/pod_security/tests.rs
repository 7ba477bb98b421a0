//! Cases of the Pod Security Standards.

use serde_json::{Value, json};

use super::*;

fn standard(text: &str) -> Standard {
    let (level, version) = text.split_once(':').unwrap_or((text, "latest"));
    Standard {
        level: match level {
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            _ => Level::Privileged,
        },
        version: match version.strip_prefix("v1.") {
            Some(minor) => Version::Minor(minor.parse().unwrap()),
            None => Version::Latest,
        },
    }
}

fn pod(spec: Value) -> k8s_openapi::api::core::v1::Pod {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": []}});
    for (key, value) in spec.as_object().unwrap() {
        if key == "annotations" {
            pod["metadata"]["annotations"] = value.clone();
        } else {
            pod["spec"][key] = value.clone();
        }
    }
    serde_json::from_value(pod).unwrap()
}

fn found(at: &str, spec: Value) -> String {
    let pod = pod(spec);
    describe(&violations(
        standard(at),
        &pod.metadata,
        pod.spec.as_ref().unwrap(),
    ))
}

/// Containers named in order, each with this security context.
fn with(contexts: &[Value]) -> Value {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let container = |(name, context): (&str, &Value)| match context {
        Value::Null => json!({"name": name}),
        context => json!({"name": name, "securityContext": context}),
    };
    names.into_iter().zip(contexts).map(container).collect()
}

/// What every container must set at the restricted level, with more set besides.
fn hardened(more: Value) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    for (key, value) in more.as_object().unwrap() {
        context[key] = value.clone();
    }
    context
}

/// M01, and the four things a pod without a word about security lacks.
#[test]
fn what_users_meet_most_often() {
    assert_eq!(
        found(
            "baseline",
            json!({"hostNetwork": true, "containers": [{"name": "c", "securityContext": {"privileged": true}}]})
        ),
        "host namespaces (hostNetwork=true), privileged (container \"c\" must not set securityContext.privileged=true)"
    );
    assert_eq!(
        found("restricted", json!({"containers": [{"name": "c"}]})),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(
        found("restricted", json!({"containers": with(&[hardened(json!({}))])})),
        ""
    );
    assert_eq!(found("privileged", json!({"hostPID": true})), "");
    assert_eq!(found("baseline", json!({"containers": [{"name": "c"}]})), "");
}

#[test]
fn baseline() {
    for (spec, want) in [
        (
            json!({"hostPID": true, "hostIPC": true, "hostNetwork": true}),
            "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
        ),
        (
            json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}]}),
            "hostPath volumes (volume \"a\")",
        ),
        (
            json!({"containers": [
                {"name": "a", "ports": [{"containerPort": 1}]},
                {"name": "b", "ports": [{"containerPort": 1, "hostPort": 10}, {"containerPort": 2, "hostPort": 20}]},
                {"name": "c", "ports": [{"containerPort": 1, "hostPort": 10}, {"containerPort": 3, "hostPort": 30}]}]}),
            "hostPort (containers \"b\", \"c\" use hostPorts 10, 20, 30)",
        ),
        (
            json!({"containers": [{"name": "b", "ports": [{"containerPort": 1, "hostPort": 20}]}]}),
            "hostPort (container \"b\" uses hostPort 20)",
        ),
        (
            json!({"containers": with(&[json!({"capabilities": {"add": ["FOO", "CHOWN"]}}),
                json!({"capabilities": {"add": ["BAR"]}})])}),
            "non-default capabilities (containers \"a\", \"b\" must not include \"BAR\", \"FOO\" in securityContext.capabilities.add)",
        ),
        (
            json!({"initContainers": with(&[json!({"procMount": "Unmasked"})]), "hostUsers": true}),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"containers": with(&[json!({"procMount": "Unmasked"})]), "hostUsers": false}),
            "",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "foo", "user": "u", "role": "r"}},
                "containers": with(&[json!({"seLinuxOptions": {"type": "container_engine_t"}}),
                    json!({"seLinuxOptions": {"type": "bar"}}), json!({"seLinuxOptions": {"user": "u"}})])}),
            "seLinuxOptions (pod and containers \"b\", \"c\" set forbidden securityContext.seLinuxOptions: types \"bar\", \"foo\"; user may not be set; role may not be set)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}},
                "containers": with(&[Value::Null, json!({"seccompProfile": {"type": "Unconfined"}})])}),
            "seccompProfile (pod and container \"b\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.sem", "value": "1"},
                {"name": "net.ipv4.tcp_wmem", "value": "1"}, {"name": "fs.x", "value": "1"}]}}),
            "forbidden sysctls (kernel.sem, fs.x)",
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}},
                "containers": with(&[json!({"windowsOptions": {"hostProcess": true}}), Value::Null])}),
            "hostProcess (pod and container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"port": 1, "host": "a.com"}}},
                {"name": "b", "lifecycle": {"preStop": {"tcpSocket": {"port": 1, "host": "b.com"}}},
                 "readinessProbe": {"httpGet": {"port": 1, "host": ""}}}]}),
            "probe or lifecycle host (containers \"a\", \"b\" use probe or lifecycle hosts \"a.com\", \"b.com\")",
        ),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}},
                "containers": with(&[json!({"appArmorProfile": {"type": "Localhost"}})])}),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined",
                "container.apparmor.security.beta.kubernetes.io/b": "localhost/x"},
                "containers": with(&[json!({"appArmorProfile": {"type": "Unconfined"}})])}),
            "forbidden AppArmor profiles (container \"a\" and annotation must not set AppArmor profile type to \"Unconfined\", container.apparmor.security.beta.kubernetes.io/a=\"unconfined\")",
        ),
        (
            json!({"ephemeralContainers": with(&[json!({"privileged": true})])}),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
    ] {
        assert_eq!(found("baseline", spec.clone()), want, "{spec}");
    }
}

#[test]
fn restricted() {
    let refused = |at: &str, more: Value| found(at, json!({"containers": with(&[hardened(more)])}));
    for (more, want) in [
        (
            json!({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
            "",
        ),
        (
            json!({"capabilities": {"drop": ["CHOWN"], "add": ["SYS_TIME"]}}),
            "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; \
             container \"a\" must not include \"SYS_TIME\" in securityContext.capabilities.add)",
        ),
        (
            json!({"runAsUser": 0}),
            "runAsUser=0 (container \"a\" must not set runAsUser=0)",
        ),
        (
            json!({"runAsNonRoot": false}),
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false)",
        ),
        (
            json!({"seccompProfile": {"type": "Unconfined"}}),
            "seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
    ] {
        assert_eq!(refused("restricted", more.clone()), want, "{more}");
    }
    let safe = hardened(json!({}));
    let volumes = json!([
        {"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "nfs": {"server": "s", "path": "/"}},
        {"name": "x", "emptyDir": {}}, {"name": "y", "image": {}}, {"name": "z"}]);
    assert_eq!(
        found(
            "restricted",
            json!({"containers": with(&[safe]), "volumes": volumes})
        ),
        "restricted volume types (volumes \"v\", \"w\", \"z\" use restricted volume types \"hostPath\", \"nfs\", \"unknown\")"
    );
}

#[test]
fn what_the_pod_says_counts_for_containers_that_say_nothing() {
    let bare = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = |context: Value, contexts: &[Value]| {
        found(
            "restricted",
            json!({"securityContext": context, "containers": with(contexts)}),
        )
    };
    let good =
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "Localhost", "localhostProfile": "x"}});
    assert_eq!(pod(good, &[bare.clone(), bare.clone()]), "");
    assert_eq!(
        pod(
            json!({"runAsNonRoot": false, "seccompProfile": {"type": "RuntimeDefault"}}),
            std::slice::from_ref(&bare)
        ),
        "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)"
    );
    assert_eq!(
        pod(json!({}), &[bare.clone(), bare]),
        "runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
}

#[test]
fn versions_choose_the_form_of_a_check() {
    let spec = || json!({"containers": [{"name": "c"}], "os": {"name": "windows"}});
    assert!(found("restricted:v1.24", spec()).contains("allowPrivilegeEscalation"));
    assert_eq!(
        found("restricted:v1.25", spec()),
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)"
    );
    let annotated = json!({"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/c": "unknown",
        "container.seccomp.security.alpha.kubernetes.io/other": "unknown"}, "containers": [{"name": "c"}]});
    assert_eq!(
        found("baseline:v1.18", annotated.clone()),
        "seccompProfile (forbidden annotations container.seccomp.security.alpha.kubernetes.io/c=\"unknown\", \
         seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
    );
    assert_eq!(found("baseline:v1.19", annotated), "");
    let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
    for (name, since) in [
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_rmem", 32),
    ] {
        assert_ne!(
            found(&format!("baseline:v1.{}", since - 1), sysctl(name)),
            "",
            "{name}"
        );
        assert_eq!(found(&format!("baseline:v1.{since}"), sysctl(name)), "", "{name}");
    }
    let host =
        json!({"containers": [{"name": "c", "startupProbe": {"tcpSocket": {"port": 1, "host": "h"}}}]});
    assert_eq!(found("baseline:v1.33", host.clone()), "");
    assert_ne!(found("baseline:v1.34", host.clone()), "");
    assert_ne!(found("baseline:v1.99", host), "");
}

/// The stricter of two checks on the same thing speaks alone.
#[test]
fn a_restricted_check_replaces_its_baseline_one() {
    let spec = json!({"containers": with(&[hardened(json!({"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}}))])});
    assert_eq!(
        found("restricted", spec.clone()),
        "unrestricted capabilities (container \"a\" must not include \"SYS_TIME\" in securityContext.capabilities.add)"
    );
    assert_eq!(
        found("restricted:v1.21", spec),
        "non-default capabilities (container \"a\" must not include \"SYS_TIME\" in securityContext.capabilities.add)"
    );
}

#[test]
fn tightening_a_namespace_tells_of_the_pods_in_it() {
    let named = |name: &str, spec: Value| {
        let mut pod = pod(spec);
        pod.metadata.name = Some(name.to_owned());
        pod
    };
    let host = || json!({"hostNetwork": true});
    let pods = [
        named("z", host()),
        named("b", host()),
        named(
            "c",
            json!({"hostPID": true, "containers": with(&[json!({"privileged": true})])}),
        ),
        named("m", host()),
        named("good", json!({})),
    ];
    let tell =
        |old: &str, new: &str, total| existing_pods("psa", (standard(old), standard(new)), &pods, total);
    assert_eq!(
        tell("privileged", "baseline", 5),
        [
            "existing pods in namespace \"psa\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "b (and 2 other pods): host namespaces",
            "c: host namespaces, privileged",
        ]
    );
    assert!(tell("restricted", "baseline", 5).is_empty(), "relaxed");
    assert!(tell("baseline", "baseline", 5).is_empty(), "unchanged");
    assert!(tell("baseline", "privileged", 5).is_empty());
    assert_eq!(
        tell("restricted:v1.20", "baseline", 5).len(),
        3,
        "another version is looked at"
    );
    assert_eq!(
        tell("privileged", "baseline", 9)[0],
        "new PodSecurity enforce level only checked against the first 5 of 9 existing pods"
    );
}

#[test]
fn only_changes_of_images_and_containers_are_looked_at() {
    let one = |image: &str| pod(json!({"containers": [{"name": "c", "image": image}]}));
    let mut labelled = one("a");
    labelled.metadata.labels = Some([("l".to_owned(), "1".to_owned())].into());
    assert!(!is_significant(&labelled, &one("a")));
    assert!(is_significant(&one("b"), &one("a")));
    let debugged =
        pod(json!({"containers": [{"name": "c", "image": "a"}], "ephemeralContainers": [{"name": "d"}]}));
    assert!(is_significant(&debugged, &one("a")));
    let annotated = pod(json!({"containers": [{"name": "c", "image": "a"}],
        "annotations": {"container.seccomp.security.alpha.kubernetes.io/c": "unconfined"}}));
    assert!(is_significant(&annotated, &one("a")));
}
