//! Kinds that hold data, and what reports about volumes.

use serde_json::Value;

use super::cells::{NONE, UNSET, age, count, list, name, or, text, texts, truth};
use super::{AGE, NAME, TableSpec, boolean, integer, string};

pub(super) static CONFIG_MAPS: TableSpec =
    TableSpec::new(&[NAME, string("Data", "Number of keys."), AGE], |map, now| {
        vec![
            name(map),
            (count(map, "/data") + count(map, "/binaryData")).into(),
            age(map, now),
        ]
    });

pub(super) static SECRETS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Type", "What the secret is for."),
        string("Data", "Number of keys."),
        AGE,
    ],
    |secret, now| {
        vec![
            name(secret),
            text(secret, "/type").into(),
            count(secret, "/data").into(),
            age(secret, now),
        ]
    },
);

pub(super) static CSI_NODES: TableSpec = TableSpec::new(
    &[NAME, integer("Drivers", "Number of drivers on the node."), AGE],
    |node, now| vec![name(node), count(node, "/spec/drivers").into(), age(node, now)],
);

pub(super) static CSI_DRIVERS: TableSpec = TableSpec::new(
    &[
        NAME,
        boolean("AttachRequired", "Whether volumes are attached to a node first."),
        boolean("PodInfoOnMount", "Whether the driver is told about the pod."),
        boolean("StorageCapacity", "Whether scheduling looks at free capacity."),
        string("TokenRequests", "Audiences of the tokens the driver gets."),
        boolean(
            "RequiresRepublish",
            "Whether volumes are published again from time to time.",
        ),
        string("Modes", "Lifecycles of its volumes."),
        AGE,
    ],
    |driver, now| {
        // Attaching is what happens unless the driver says otherwise.
        let attach = driver
            .pointer("/spec/attachRequired")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let audiences: Vec<&str> = list(driver, "/spec/tokenRequests")
            .iter()
            .map(|t| text(t, "/audience"))
            .collect();
        vec![
            name(driver),
            attach.into(),
            truth(driver, "/spec/podInfoOnMount").into(),
            truth(driver, "/spec/storageCapacity").into(),
            or(&audiences.join(","), UNSET).into(),
            truth(driver, "/spec/requiresRepublish").into(),
            or(&texts(driver, "/spec/volumeLifecycleModes").join(","), NONE).into(),
            age(driver, now),
        ]
    },
);
