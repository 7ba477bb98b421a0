//! `storage.k8s.io` (contract §18).
use super::definition::{Resource, STATUS};
use super::meaning::fill;
use super::rules::{Rules, StatusMetadata};
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const GROUP: &str = "storage.k8s.io";

const VERSIONED: Rules = Rules {
    unconditional_update: false,
    delete_answers_object: true,
    ..Rules::GENERIC
};

pub const CSIDRIVERS: Resource = Resource::new(GROUP, "csidrivers", "csidriver", "CSIDriver")
    .cluster_scoped()
    .with_rules(Rules {
        default: default_driver,
        ..VERSIONED
    });

pub const CSINODES: Resource = Resource::new(GROUP, "csinodes", "csinode", "CSINode")
    .cluster_scoped()
    .with_rules(VERSIONED);

pub const CSISTORAGECAPACITIES: Resource = Resource::new(
    GROUP,
    "csistoragecapacities",
    "csistoragecapacity",
    "CSIStorageCapacity",
)
.with_rules(Rules {
    validate_create: |capacity| needs(capacity, "storageClassName"),
    validate_update: |new, old| {
        let mut causes = needs(new, "storageClassName");
        causes.extend(fixed(new, old, &["storageClassName", "nodeTopology"]));
        causes
    },
    unconditional_update: false,
    ..Rules::GENERIC
});

/// What parameters a volume can be changed to: once made, a class means the same for ever.
pub const VOLUMEATTRIBUTESCLASSES: Resource = Resource::new(
    GROUP,
    "volumeattributesclasses",
    "volumeattributesclass",
    "VolumeAttributesClass",
)
.cluster_scoped()
.short(&["vac"])
.with_rules(Rules {
    validate_create: |class| needs(class, "driverName"),
    validate_update: |new, old| fixed(new, old, &["driverName", "parameters"]),
    delete_answers_object: true,
    ..Rules::GENERIC
});

fn needs(object: &Value, member: &str) -> Vec<Cause> {
    match object[member].as_str() {
        Some(text) if !text.is_empty() => Vec::new(),
        _ => vec![cause::required(member, "")],
    }
}

fn fixed(new: &Value, old: &Value, members: &[&str]) -> Vec<Cause> {
    let changed = members.iter().filter(|member| new[**member] != old[**member]);
    changed
        .map(|member| cause::invalid(member, &new[*member], "field is immutable"))
        .collect()
}

/// A class decides how volumes come to be: only whether they may grow, and where, can change.
fn validate_class(class: &Value) -> Vec<Cause> {
    let mut causes = needs(class, "provisioner");
    for (member, known) in [
        ("reclaimPolicy", ["Delete", "Retain"]),
        ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
    ] {
        let given = class[member].as_str().unwrap_or_default();
        if !known.contains(&given) {
            causes.push(cause::unsupported(member, given, &known));
        }
    }
    causes
}

fn validate_class_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_class(new);
    for (member, why) in [
        ("parameters", "updates to parameters are forbidden."),
        ("provisioner", "updates to provisioner are forbidden."),
        ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
    ] {
        if new[member] != old[member] {
            causes.push(cause::forbidden(member, why));
        }
    }
    causes.extend(fixed(new, old, &["volumeBindingMode"]));
    causes
}

pub const STORAGECLASSES: Resource = Resource::new(GROUP, "storageclasses", "storageclass", "StorageClass")
    .cluster_scoped()
    .short(&["sc"])
    .with_rules(Rules {
        default: |class| {
            for (key, value) in [("reclaimPolicy", "Delete"), ("volumeBindingMode", "Immediate")] {
                fill(class, key, || json!(value));
            }
        },
        delete_answers_object: true,
        validate_create: validate_class,
        validate_update: validate_class_update,
        ..Rules::GENERIC
    });

pub const VOLUMEATTACHMENTS: Resource =
    Resource::new(GROUP, "volumeattachments", "volumeattachment", "VolumeAttachment")
        .cluster_scoped()
        .with_subresources(&[STATUS])
        .with_rules(Rules {
            status_metadata: StatusMetadata::Kept,
            ..VERSIONED
        });

fn default_driver(driver: &mut Value) {
    let Some(spec) = driver.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for (key, value) in [
        ("attachRequired", json!(true)),
        ("podInfoOnMount", json!(false)),
        ("storageCapacity", json!(false)),
        ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
        ("volumeLifecycleModes", json!(["Persistent"])),
        ("requiresRepublish", json!(false)),
    ] {
        spec.entry(key).or_insert(value);
    }
}
