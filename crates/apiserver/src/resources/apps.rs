//! Workload kinds of `apps` other than DaemonSet (contract §18).
use super::definition::{Resource, SCALE, STATUS};
use super::meaning::{fill, items_at};
use super::rules::{Rules, StatusMetadata};
use super::validation::{self, amount, not_negative, selector, update};
use crate::status::{Cause, cause};
use orlop_api::defaults;
use serde_json::{Value, json};

pub const DEPLOYMENTS: Resource = Resource::new("apps", "deployments", "deployment", "Deployment")
    .short(&["deploy"])
    .in_all()
    .with_subresources(&[SCALE, STATUS])
    .with_rules(Rules {
        status_metadata: StatusMetadata::LabelsKept,
        default: default_deployment,
        prepare_create: |object| object["status"] = json!({}),
        validate_create: validate_deployment,
        validate_update: |new, old| update(new, old, validate_deployment),
        warnings: validation::workload_warnings,
        ..Rules::WITH_GENERATION
    });

pub const REPLICASETS: Resource = Resource::new("apps", "replicasets", "replicaset", "ReplicaSet")
    .short(&["rs"])
    .in_all()
    .with_subresources(&[SCALE, STATUS])
    .with_rules(Rules {
        default: |set| {
            fill(&mut set["spec"], "replicas", || json!(1));
            defaults::pod_template(&mut set["spec"]["template"]);
        },
        prepare_create: |set| set["status"] = json!({"replicas": 0}),
        validate_create: |set| validate_common(set, "replicaset"),
        validate_update: |new, old| update(new, old, |set| validate_common(set, "replicaset")),
        warnings: validation::workload_warnings,
        ..Rules::WITH_GENERATION
    });

pub const STATEFULSETS: Resource = Resource::new("apps", "statefulsets", "statefulset", "StatefulSet")
    .short(&["sts"])
    .in_all()
    .with_subresources(&[SCALE, STATUS])
    .with_rules(Rules {
        default: default_stateful_set,
        prepare_create: |set| set["status"] = json!({"replicas": 0, "availableReplicas": 0}),
        validate_create: validate_stateful_set,
        validate_update: |new, old| {
            let mut causes = validate_stateful_set(new);
            causes.extend(frozen(new, old));
            causes
        },
        warnings: validation::workload_warnings,
        ..Rules::WITH_GENERATION
    });

fn default_deployment(deployment: &mut Value) {
    let spec = &mut deployment["spec"];
    fill(spec, "replicas", || json!(1));
    fill(spec, "strategy", || json!({}));
    let strategy = &mut spec["strategy"];
    fill(strategy, "type", || json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, "rollingUpdate", || json!({}));
        fill(&mut strategy["rollingUpdate"], "maxUnavailable", || json!("25%"));
        fill(&mut strategy["rollingUpdate"], "maxSurge", || json!("25%"));
    }
    fill(spec, "revisionHistoryLimit", || json!(10));
    fill(spec, "progressDeadlineSeconds", || json!(600));
    defaults::pod_template(&mut spec["template"]);
}

fn default_stateful_set(set: &mut Value) {
    let spec = &mut set["spec"];
    fill(spec, "replicas", || json!(1));
    fill(spec, "podManagementPolicy", || json!("OrderedReady"));
    fill(spec, "updateStrategy", || json!({}));
    let strategy = &mut spec["updateStrategy"];
    fill(strategy, "type", || json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, "rollingUpdate", || json!({}));
        fill(&mut strategy["rollingUpdate"], "partition", || json!(0));
    }
    fill(spec, "revisionHistoryLimit", || json!(10));
    fill(spec, "persistentVolumeClaimRetentionPolicy", || json!({}));
    for when in ["whenDeleted", "whenScaled"] {
        fill(&mut spec["persistentVolumeClaimRetentionPolicy"], when, || {
            json!("Retain")
        });
    }
    for claim in items_at(spec, "/volumeClaimTemplates") {
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        fill(&mut claim["spec"], "volumeMode", || json!("Filesystem"));
        fill(&mut claim["status"], "phase", || json!("Pending"));
    }
    defaults::pod_template(&mut spec["template"]);
}

/// Selector, template and counts.
fn validate_common(object: &Value, kind: &str) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = selector(spec, kind);
    causes.extend(validation::template(&spec["template"], &["Always"]));
    for key in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        causes.extend(not_negative(spec, key, &format!("spec.{key}")));
    }
    causes
}

/// Its pods get a volume for each of its claims, in place of one that the template has under that name.
fn validate_stateful_set(set: &Value) -> Vec<Cause> {
    let claims = set["spec"]["volumeClaimTemplates"].as_array();
    let volumes = claims.into_iter().flatten().map(|claim| {
        let name = &claim["metadata"]["name"];
        json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
    });
    let volumes: Vec<Value> = volumes.collect();
    if volumes.is_empty() {
        return validate_common(set, "statefulset");
    }
    let mut as_pods = set.clone();
    let of_template = &mut as_pods["spec"]["template"]["spec"]["volumes"];
    let mut all = of_template.as_array().cloned().unwrap_or_default();
    for volume in volumes {
        // In its place: what is wrong with others is told by where they are.
        match all.iter_mut().find(|own| own["name"] == volume["name"]) {
            Some(own) => *own = volume,
            None => all.push(volume),
        }
    }
    *of_template = Value::Array(all);
    validate_common(&as_pods, "statefulset")
}

fn validate_deployment(deployment: &Value) -> Vec<Cause> {
    let spec = &deployment["spec"];
    let mut causes = validate_common(deployment, "deployment");
    let number = |key: &str| spec[key].as_i64().unwrap_or_default();
    if spec["progressDeadlineSeconds"].is_number()
        && number("progressDeadlineSeconds") <= number("minReadySeconds")
    {
        causes.push(cause::invalid(
            "spec.progressDeadlineSeconds",
            &spec["progressDeadlineSeconds"],
            "must be greater than minReadySeconds",
        ));
    }
    let strategy = &spec["strategy"];
    match strategy["type"].as_str() {
        Some("RollingUpdate") => causes.extend(validate_rolling(&strategy["rollingUpdate"])),
        Some("Recreate") => {
            if strategy["rollingUpdate"].is_object() {
                causes.push(cause::forbidden(
                    "spec.strategy.rollingUpdate",
                    "may not be specified when strategy `type` is 'Recreate'",
                ));
            }
        }
        other => causes.push(cause::unsupported(
            "spec.strategy.type",
            other.unwrap_or_default(),
            &["Recreate", "RollingUpdate"],
        )),
    }
    causes
}

fn validate_rolling(rolling: &Value) -> Vec<Cause> {
    let path = "spec.strategy.rollingUpdate";
    let mut causes = Vec::new();
    let mut all_zero = true;
    for key in ["maxUnavailable", "maxSurge"] {
        // Surging may go beyond the whole.
        match amount(&rolling[key]) {
            Ok(amount) => all_zero &= amount == 0,
            Err(why) if key == "maxUnavailable" || !why.contains("100%") => {
                causes.push(cause::invalid(&format!("{path}.{key}"), &rolling[key], why));
                all_zero = false;
            }
            Err(_) => all_zero = false,
        }
    }
    if all_zero {
        causes.push(cause::invalid(
            &format!("{path}.maxUnavailable"),
            &rolling["maxUnavailable"],
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    causes
}

fn frozen(new: &Value, old: &Value) -> Option<Cause> {
    const MAY_CHANGE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |set: &Value| {
        let mut spec = set["spec"].clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|key, _| !MAY_CHANGE.contains(&key.as_str()));
        }
        spec
    };
    (rest(new) != rest(old)).then(|| {
        cause::forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_a_stateful_set_mount_its_claims() {
        let set = |mount: &str, volumes: Value| {
            let mut set = json!({"metadata": {"name": "s"}, "spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"volumes": volumes, "containers": [{"name": "c", "image": "i",
                    "volumeMounts": [{"name": mount, "mountPath": "/data"}]}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}}}}]}});
            default_stateful_set(&mut set);
            let causes = validate_stateful_set(&set).into_iter();
            causes.map(|cause| cause.field).collect::<Vec<_>>()
        };
        let replaced = json!([{"name": "data", "emptyDir": {}}, {"name": "x", "emptyDir": {}}]);
        for (mount, volumes) in [("data", json!(null)), ("data", replaced.clone()), ("x", replaced)] {
            assert_eq!(set(mount, volumes), Vec::<String>::new(), "{mount}");
        }
        assert_eq!(
            set("other", json!(null)),
            ["spec.template.spec.containers[0].volumeMounts[0].name"]
        );
    }
}
