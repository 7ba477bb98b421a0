//! Volumes, what asks for them and what makes them.

use serde_json::Value;

use super::cells::{UNSET, age, name, or, text, texts, truth};
use super::{AGE, NAME, TableSpec, boolean, string};

/// `RWO,ROX`.
fn modes(object: &Value, path: &str) -> String {
    let found = texts(object, path);
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let short: Vec<&str> = known
        .iter()
        .filter(|(mode, _)| found.contains(mode))
        .map(|(_, short)| *short)
        .collect();
    short.join(",")
}

/// The class, which older objects name in an annotation.
fn class(object: &Value) -> &str {
    let annotation = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
    or(text(object, annotation), text(object, "/spec/storageClassName"))
}

/// An object that waits for its finalizers is told so whatever its phase.
fn phase(object: &Value) -> &str {
    if text(object, "/metadata/deletionTimestamp").is_empty() {
        text(object, "/status/phase")
    } else {
        "Terminating"
    }
}

pub(super) static PERSISTENT_VOLUMES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Capacity", "How much it holds."),
        string("Access Modes", "How it can be mounted."),
        string("Reclaim Policy", "What becomes of it when its claim goes."),
        string("Status", "Whether it is bound."),
        string("Claim", "Whom it is bound to."),
        string("StorageClass", "Its class."),
        string("VolumeAttributesClass", "The class of its attributes."),
        string("Reason", "Why it is in that state."),
        AGE,
        string("VolumeMode", "Whether it is a filesystem or a block device.").wide(),
    ],
    |volume, now| {
        let claim = match text(volume, "/spec/claimRef/name") {
            "" => String::new(),
            claim => format!("{}/{claim}", text(volume, "/spec/claimRef/namespace")),
        };
        vec![
            name(volume),
            text(volume, "/spec/capacity/storage").into(),
            modes(volume, "/spec/accessModes").into(),
            text(volume, "/spec/persistentVolumeReclaimPolicy").into(),
            phase(volume).into(),
            claim.into(),
            class(volume).into(),
            or(text(volume, "/spec/volumeAttributesClassName"), UNSET).into(),
            text(volume, "/status/reason").into(),
            age(volume, now),
            or(text(volume, "/spec/volumeMode"), UNSET).into(),
        ]
    },
);

pub(super) static PERSISTENT_VOLUME_CLAIMS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Status", "Whether it is bound."),
        string("Volume", "What it is bound to."),
        string("Capacity", "How much it got."),
        string("Access Modes", "How it can be mounted."),
        string("StorageClass", "Its class."),
        string("VolumeAttributesClass", "The class of its attributes."),
        AGE,
        string("VolumeMode", "Whether it is a filesystem or a block device.").wide(),
    ],
    |claim, now| {
        // What an unbound claim would get isn't known.
        let bound = !text(claim, "/spec/volumeName").is_empty();
        let if_bound = |text: String| if bound { text } else { String::new() };
        vec![
            name(claim),
            phase(claim).into(),
            text(claim, "/spec/volumeName").into(),
            if_bound(text(claim, "/status/capacity/storage").to_owned()).into(),
            if_bound(modes(claim, "/status/accessModes")).into(),
            class(claim).into(),
            or(text(claim, "/spec/volumeAttributesClassName"), UNSET).into(),
            age(claim, now),
            or(text(claim, "/spec/volumeMode"), UNSET).into(),
        ]
    },
);

pub(super) static STORAGE_CLASSES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Provisioner", "Who makes its volumes."),
        string("ReclaimPolicy", "What becomes of them when their claims go."),
        string("VolumeBindingMode", "When they are made."),
        boolean("AllowVolumeExpansion", "Whether they can grow."),
        AGE,
    ],
    |class, now| {
        let marks = ["storageclass.kubernetes.io", "storageclass.beta.kubernetes.io"];
        let is_default = marks
            .iter()
            .any(|mark| text(class, &format!("/metadata/annotations/{mark}~1is-default-class")) == "true");
        let own = text(class, "/metadata/name");
        let shown = if is_default {
            format!("{own} (default)")
        } else {
            own.to_owned()
        };
        vec![
            shown.into(),
            text(class, "/provisioner").into(),
            or(text(class, "/reclaimPolicy"), "Delete").into(),
            or(text(class, "/volumeBindingMode"), "Immediate").into(),
            truth(class, "/allowVolumeExpansion").into(),
            age(class, now),
        ]
    },
);

pub(super) static VOLUME_ATTACHMENTS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Attacher", "Who attaches it."),
        string("PV", "What is attached."),
        string("Node", "Where."),
        boolean("Attached", "Whether it is done."),
        AGE,
    ],
    |attachment, now| {
        vec![
            name(attachment),
            text(attachment, "/spec/attacher").into(),
            text(attachment, "/spec/source/persistentVolumeName").into(),
            text(attachment, "/spec/nodeName").into(),
            truth(attachment, "/status/attached").into(),
            age(attachment, now),
        ]
    },
);

pub(super) static CSI_STORAGE_CAPACITIES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("StorageClassName", "Whose volumes fit there."),
        string("Capacity", "How much is free."),
    ],
    |capacity, _| {
        vec![
            name(capacity),
            text(capacity, "/storageClassName").into(),
            or(text(capacity, "/capacity"), UNSET).into(),
        ]
    },
);

pub(super) static VOLUME_ATTRIBUTES_CLASSES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("DriverName", "Whose volumes have these attributes."),
        AGE,
    ],
    |class, now| vec![name(class), text(class, "/driverName").into(), age(class, now)],
);
