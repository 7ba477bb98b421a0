//! A new pod, or a pod template (contract api-server §12.3).
use super::{duplicate, invalid_all, list, text};
use crate::resources::is_mirror;
use crate::status::{Cause, cause};
use orlop_api::{names, quantity};
use serde_json::{Value, json};

/// Members of a volume that are no source.
const VOLUME_NAME: &str = "name";

/// Checks a new pod.
pub fn pod_create(pod: &Value) -> Vec<Cause> {
    let mut causes = pod_spec(&pod["spec"], "spec");
    let spec = &pod["spec"];
    if !list(spec, "ephemeralContainers").is_empty() {
        causes.push(cause::forbidden(
            "spec.ephemeralContainers",
            "cannot be set on create",
        ));
    }
    if is_mirror(pod) {
        let field = "metadata.annotations[kubernetes.io/config.mirror]";
        if text(spec, "nodeName").is_empty() {
            let mirror = &pod["metadata"]["annotations"][orlop_api::annotations::CONFIG_MIRROR];
            causes.push(cause::invalid(
                field,
                mirror,
                "must set spec.nodeName if mirror pod annotation is set",
            ));
        }
        if !list(spec, "resourceClaims").is_empty() {
            causes.push(cause::forbidden(
                "spec.resourceClaims",
                "static pods do not support resource claims",
            ));
        }
    }
    causes
}

/// Checks a pod's spec below `path`.
pub fn pod_spec(spec: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let volumes = volumes(spec, path, &mut causes);
    if list(spec, "containers").is_empty() {
        causes.push(cause::required(&format!("{path}.containers"), ""));
    }
    let mut seen = Vec::new();
    for (kind, init) in [("initContainers", true), ("containers", false)] {
        for (index, container) in list(spec, kind).iter().enumerate() {
            let path = format!("{path}.{kind}[{index}]");
            container_causes(container, &path, init, &volumes, &mut causes);
            let name = &container["name"];
            if name.is_string() && seen.contains(&name) {
                causes.push(duplicate(&format!("{path}.name"), name));
            }
            seen.push(name);
        }
    }
    one_of(
        spec,
        "restartPolicy",
        path,
        &["Always", "OnFailure", "Never"],
        &mut causes,
    );
    one_of(
        spec,
        "dnsPolicy",
        path,
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        &mut causes,
    );
    if text(spec, "dnsPolicy") == "None" && list(&spec["dnsConfig"], "nameservers").is_empty() {
        causes.push(cause::required(
            &format!("{path}.dnsConfig.nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ));
    }
    let node = text(spec, "nodeName");
    if !node.is_empty() {
        let field = format!("{path}.nodeName");
        causes.extend(invalid_all(
            &field,
            &spec["nodeName"],
            names::check_dns_subdomain(node),
        ));
    }
    if spec["activeDeadlineSeconds"].as_i64().is_some_and(|n| n < 1) {
        causes.push(cause::invalid(
            &format!("{path}.activeDeadlineSeconds"),
            &spec["activeDeadlineSeconds"],
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    causes.extend(super::metadata::labels(
        &spec["nodeSelector"],
        &format!("{path}.nodeSelector"),
    ));
    tolerations(spec, path, &mut causes);
    causes
}

fn one_of(object: &Value, key: &str, path: &str, allowed: &[&str], causes: &mut Vec<Cause>) {
    let value = text(object, key);
    if !value.is_empty() && !allowed.contains(&value) {
        causes.push(cause::unsupported(&format!("{path}.{key}"), value, allowed));
    }
}

/// Checks volumes; answers their names.
fn volumes<'s>(spec: &'s Value, path: &str, causes: &mut Vec<Cause>) -> Vec<&'s str> {
    let mut seen = Vec::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{index}]");
        let field = format!("{path}.name");
        let name = text(volume, "name");
        if name.is_empty() {
            causes.push(cause::required(&field, ""));
        } else {
            causes.extend(invalid_all(&field, &volume["name"], names::check_dns_label(name)));
            if seen.contains(&name) {
                causes.push(duplicate(&field, &volume["name"]));
            }
        }
        seen.push(name);
        let mut sources: Vec<&String> = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| *key != VOLUME_NAME && !value.is_null())
            .map(|(key, _)| key)
            .collect();
        sources.sort();
        match sources.as_slice() {
            [] => causes.push(cause::required(&path, "must specify a volume type")),
            [_] => {}
            [_, more @ ..] => causes.extend(more.iter().map(|source| {
                cause::forbidden(
                    &format!("{path}.{source}"),
                    "may not specify more than 1 volume type",
                )
            })),
        }
        if volume["hostPath"].is_object() {
            let host = text(&volume["hostPath"], "path");
            let field = format!("{path}.hostPath.path");
            if host.is_empty() {
                causes.push(cause::required(&field, ""));
            } else if host.split('/').any(|part| part == "..") {
                causes.push(cause::invalid(&field, &json!(host), "must not contain '..'"));
            }
        }
    }
    seen
}

fn container_causes(container: &Value, path: &str, init: bool, volumes: &[&str], causes: &mut Vec<Cause>) {
    let name = text(container, "name");
    if name.is_empty() {
        causes.push(cause::required(&format!("{path}.name"), ""));
    } else {
        let field = format!("{path}.name");
        causes.extend(invalid_all(
            &field,
            &container["name"],
            names::check_dns_label(name),
        ));
    }
    if text(container, "image").is_empty() {
        causes.push(cause::required(&format!("{path}.image"), ""));
    }
    one_of(
        container,
        "imagePullPolicy",
        path,
        &["Always", "IfNotPresent", "Never"],
        causes,
    );
    ports(container, path, causes);
    for (index, env) in list(container, "env").iter().enumerate() {
        let field = format!("{path}.env[{index}].name");
        match text(env, "name") {
            "" => causes.push(cause::required(&field, "")),
            name => causes.extend(invalid_all(&field, &env["name"], names::check_env_name(name))),
        }
    }
    mounts(container, path, volumes, causes);
    resources(container, path, causes);
    let sidecar = text(container, "restartPolicy") == "Always";
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let field = format!("{path}.{probe}");
        if container[probe].is_null() {
            continue;
        }
        if init && !sidecar {
            causes.push(cause::forbidden(
                &field,
                "may not be set for init containers without restartPolicy=Always",
            ));
            continue;
        }
        probe_causes(&container[probe], &field, probe, causes);
    }
    if init && !sidecar && !container["lifecycle"].is_null() {
        causes.push(cause::forbidden(
            &format!("{path}.lifecycle"),
            "may not be set for init containers without restartPolicy=Always",
        ));
    }
}

fn ports(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let mut seen = Vec::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        for (key, required) in [("containerPort", true), ("hostPort", false)] {
            let number = port[key].as_i64().unwrap_or_default();
            let field = format!("{path}.{key}");
            if number == 0 && required {
                causes.push(cause::required(&field, ""));
            } else if number != 0 && !(1..=65535).contains(&number) {
                causes.push(cause::invalid(
                    &field,
                    &port[key],
                    "must be between 1 and 65535, inclusive",
                ));
            }
        }
        one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"], causes);
        let name = text(port, "name");
        if !name.is_empty() {
            let field = format!("{path}.name");
            causes.extend(invalid_all(&field, &port["name"], names::check_port_name(name)));
            if seen.contains(&name) {
                causes.push(duplicate(&field, &port["name"]));
            }
            seen.push(name);
        }
    }
}

fn mounts(container: &Value, path: &str, volumes: &[&str], causes: &mut Vec<Cause>) {
    let mut seen = Vec::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let name = text(mount, "name");
        if name.is_empty() {
            causes.push(cause::required(&format!("{path}.name"), ""));
        } else if !volumes.contains(&name) {
            causes.push(Cause::new(
                "FieldValueNotFound",
                format!("{path}.name"),
                format!("Not found: {name:?}"),
            ));
        }
        let target = text(mount, "mountPath");
        let field = format!("{path}.mountPath");
        if target.is_empty() {
            causes.push(cause::required(&field, ""));
        } else if seen.contains(&target) {
            causes.push(cause::invalid(&field, &mount["mountPath"], "must be unique"));
        }
        seen.push(target);
    }
}

/// What is wrong with the amounts of a container, or of a pod.
pub(super) fn resources(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    let resources = &container["resources"];
    for kind in ["requests", "limits"] {
        for (name, value) in resources[kind].as_object().into_iter().flatten() {
            let amount = quantity::parse(value.as_str().unwrap_or_default());
            if amount.is_ok_and(|a| a.is_negative()) {
                causes.push(cause::invalid(
                    &format!("{path}.resources.{kind}[{name}]"),
                    value,
                    "must be greater than or equal to 0",
                ));
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let Some(limit) = resources["limits"].get(name) else {
            continue;
        };
        let parse = |value: &Value| quantity::parse(value.as_str().unwrap_or_default());
        if let (Ok(request_amount), Ok(limit_amount)) = (parse(request), parse(limit))
            && request_amount > limit_amount
        {
            causes.push(cause::invalid(
                &format!("{path}.resources.requests"),
                request,
                &format!(
                    "must be less than or equal to {name} limit of {}",
                    limit.as_str().unwrap_or_default()
                ),
            ));
        }
    }
}

fn probe_causes(probe: &Value, path: &str, kind: &str, causes: &mut Vec<Cause>) {
    let handlers: Vec<&str> = ["exec", "httpGet", "tcpSocket", "grpc"]
        .into_iter()
        .filter(|handler| !probe[*handler].is_null())
        .collect();
    match handlers.as_slice() {
        [] => causes.push(cause::required(path, "must specify a handler type")),
        [_] => {}
        [_, more @ ..] => causes.extend(more.iter().map(|handler| {
            cause::forbidden(
                &format!("{path}.{handler}"),
                "may not specify more than 1 handler type",
            )
        })),
    }
    for key in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        causes.extend(super::not_negative(probe, key, &format!("{path}.{key}")));
    }
    let successes = probe["successThreshold"].as_i64().unwrap_or(1);
    if kind != "readinessProbe" && successes != 1 {
        causes.push(cause::invalid(
            &format!("{path}.successThreshold"),
            &probe["successThreshold"],
            "must be 1",
        ));
    }
}

fn tolerations(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        let path = format!("{path}.tolerations[{index}]");
        let operator = text(toleration, "operator");
        if text(toleration, "key").is_empty() && operator != "Exists" {
            causes.push(cause::invalid(
                &format!("{path}.operator"),
                &json!(operator),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if operator == "Exists" && !text(toleration, "value").is_empty() {
            causes.push(cause::invalid(
                &format!("{path}.operator"),
                &toleration["value"],
                "value must be empty when `operator` is 'Exists'",
            ));
        }
        if !toleration["tolerationSeconds"].is_null() && text(toleration, "effect") != "NoExecute" {
            causes.push(cause::invalid(
                &format!("{path}.effect"),
                &toleration["effect"],
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        one_of(
            toleration,
            "effect",
            &path,
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            causes,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(spec: Value) -> Vec<String> {
        pod_create(&json!({"metadata": {}, "spec": spec}))
            .into_iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect()
    }

    fn container(more: Value) -> Value {
        let mut container = json!({"name": "c", "image": "i"});
        for (key, value) in more.as_object().unwrap() {
            container[key] = value.clone();
        }
        json!({"containers": [container]})
    }

    /// Contract §12.3, the texts users meet.
    #[test]
    fn what_users_hit() {
        assert_eq!(messages(container(json!({}))), [] as [String; 0]);
        for (spec, expected) in [
            (json!({}), "spec.containers: Required value"),
            (
                json!({"containers": [{"name": "c"}]}),
                "spec.containers[0].image: Required value",
            ),
            (
                json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}),
                "spec.containers[1].name: Duplicate value: \"c\"",
            ),
            (
                container(json!({"ports": [{"containerPort": 70000}]})),
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
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
                container(json!({"livenessProbe": {}})),
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ),
        ] {
            assert_eq!(messages(spec), [expected]);
        }
        let mut volumes = container(json!({}));
        volumes["volumes"] = json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a/../b"}}]);
        assert_eq!(
            messages(volumes),
            [
                "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            ]
        );
    }

    #[test]
    fn a_mirror_names_its_node() {
        let pod = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "h"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let causes = pod_create(&pod);
        assert!(
            causes[0]
                .message
                .ends_with("must set spec.nodeName if mirror pod annotation is set")
        );
    }
}
