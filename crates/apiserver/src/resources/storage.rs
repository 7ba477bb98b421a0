//! `storage.k8s.io` (contract §18).
use super::definition::{Resource, STATUS};
use super::meaning::fill;
use super::rules::Rules;
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
        ..Rules::GENERIC
    });

pub const VOLUMEATTACHMENTS: Resource =
    Resource::new(GROUP, "volumeattachments", "volumeattachment", "VolumeAttachment")
        .cluster_scoped()
        .with_subresources(&[STATUS])
        .with_rules(VERSIONED);

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
