//! Pods and templates that are accepted although they are probably not meant (contract §10).
use super::{list, text};
use orlop_api::{names, quantity};
use serde_json::Value;
use std::collections::HashMap;

/// Labels of nodes that have another name by now: old name, since when, new name.
const OLD_NODE_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    (
        "beta.kubernetes.io/instance-type",
        "v1.17",
        "node.kubernetes.io/instance-type",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "v1.17",
        "topology.kubernetes.io/region",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "v1.17",
        "topology.kubernetes.io/zone",
    ),
];

/// Volume sources that nothing serves any more.
const OLD_VOLUMES: &[(&str, &str)] = &[
    (
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Resources of which there are no fractions.
const WHOLE_BYTES: &[&str] = &["memory", "ephemeral-storage"];

/// Of a Pod.
pub fn pod_warnings(pod: &Value) -> Vec<String> {
    let mut warnings = names_hosts(pod, "the Pod's hostname");
    annotations(&pod["metadata"]["annotations"], "metadata", &mut warnings);
    spec(&pod["spec"], "spec", &mut warnings);
    warnings
}

/// Of a workload whose template is at `spec.template` and whose pods have names that begin with its own.
pub fn workload_warnings(object: &Value) -> Vec<String> {
    let mut warnings = names_hosts(object, "Pod names and hostnames");
    template(&object["spec"]["template"], "spec.template", &mut warnings);
    warnings
}

/// Of a template at this path.
pub fn template_warnings(object: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    template(object, path, &mut warnings);
    warnings
}

fn template(template: &Value, path: &str, warnings: &mut Vec<String>) {
    annotations(
        &template["metadata"]["annotations"],
        &format!("{path}.metadata"),
        warnings,
    );
    spec(&template["spec"], &format!("{path}.spec"), warnings);
}

fn names_hosts(object: &Value, used_in: &str) -> Vec<String> {
    let name = text(&object["metadata"], "name");
    let problems = names::check_dns_label(name);
    if name.is_empty() || problems.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is recommended: [{}]",
        problems.join(" ")
    )]
}

fn annotations(annotations: &Value, path: &str, warnings: &mut Vec<String>) {
    for key in annotations.as_object().into_iter().flat_map(|map| map.keys()) {
        let why = if key == "seccomp.security.alpha.kubernetes.io/pod"
            || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
        {
            "non-functional in v1.27+; use the \"seccompProfile\" field instead"
        } else if key.starts_with("container.apparmor.security.beta.kubernetes.io/") {
            "deprecated since v1.30; use the \"appArmorProfile\" field instead"
        } else if key == "security.alpha.kubernetes.io/sysctls"
            || key == "security.alpha.kubernetes.io/unsafe-sysctls"
        {
            "non-functional in v1.11+; use the \"sysctls\" field instead"
        } else {
            continue;
        };
        warnings.push(format!("{path}.annotations[{key}]: {why}"));
    }
}

fn old_label(key: &str) -> Option<String> {
    let (_, since, new) = OLD_NODE_LABELS.iter().find(|(old, ..)| *old == key)?;
    Some(format!("deprecated since {since}; use {new:?} instead"))
}

fn spec(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for key in spec["nodeSelector"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys())
    {
        if let Some(why) = old_label(key) {
            warnings.push(format!("{path}.nodeSelector[{key}]: {why}"));
        }
    }
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let key = text(constraint, "topologyKey");
        if let Some(why) = old_label(key) {
            let path = format!("{path}.topologySpreadConstraints[{index}].topologyKey");
            warnings.push(format!("{path}: {key} is {why}"));
        }
    }
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            warnings.push(format!(
                "{path}.imagePullSecrets[{index}]: invalid empty name \"\""
            ));
        }
    }
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        for (source, why) in OLD_VOLUMES {
            if volume[*source].is_object() {
                warnings.push(format!("{path}.volumes[{index}].{source}: {why}"));
            }
        }
    }
    if spec["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0)
    {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    for kind in ["initContainers", "containers"] {
        for (index, one) in list(spec, kind).iter().enumerate() {
            container(one, &format!("{path}.{kind}[{index}]"), warnings);
        }
    }
}

fn container(container: &Value, path: &str, warnings: &mut Vec<String>) {
    for part in ["limits", "requests"] {
        for resource in WHOLE_BYTES {
            let value = text(&container["resources"][part], resource);
            if is_fraction(value) {
                let path = format!("{path}.resources.{part}[{resource}]");
                warnings.push(format!(
                    "{path}: fractional byte value {value:?} is invalid, must be an integer"
                ));
            }
        }
    }
    let mut names = HashMap::new();
    for (index, variable) in list(container, "env").iter().enumerate() {
        let name = text(variable, "name");
        if names.insert(name, index).is_some() {
            warnings.push(format!(
                "{path}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
    let mut ports = HashMap::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let number = port["containerPort"].as_i64().unwrap_or_default();
        let key = (number, text(port, "protocol"), port["hostPort"].as_i64());
        if number != 0
            && let Some(first) = ports.insert(key, index)
        {
            warnings.push(format!(
                "{path}.ports[{index}]: duplicate port definition with {path}.ports[{first}]"
            ));
            ports.insert(key, first);
        }
    }
}

fn is_fraction(value: &str) -> bool {
    quantity::parse(value).is_ok_and(|amount| !amount.is_whole())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_meant_draws_no_warning() {
        let pod = json!({"metadata": {"name": "p", "annotations": {"a": "b"}}, "spec": {
            "nodeSelector": {"kubernetes.io/os": "linux"}, "imagePullSecrets": [{"name": "s"}],
            "volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c",
                "env": [{"name": "A"}, {"name": "B"}], "resources": {"limits": {"memory": "1Mi", "cpu": "100m"}},
                "ports": [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]}]}});
        assert!(pod_warnings(&pod).is_empty());
    }

    #[test]
    fn what_is_probably_not_meant_is_told() {
        let pod = json!({"metadata": {"name": "a.b", "annotations": {"container.apparmor.security.beta.kubernetes.io/c": "x"}},
            "spec": {"terminationGracePeriodSeconds": -1, "volumes": [{"name": "v", "gitRepo": {}}],
                "containers": [{"name": "c", "resources": {"limits": {"memory": "1500m"}}}]}});
        assert_eq!(
            pod_warnings(&pod),
            [
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
            ]
        );
    }
}
