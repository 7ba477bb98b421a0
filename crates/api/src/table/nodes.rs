//! Nodes.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{NONE, UNKNOWN, age, list, name, or, text, truth};
use super::{AGE, NAME, TableSpec, string};
use crate::conditions::condition;

pub(super) static NODES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Status", "Whether the node takes and runs pods."),
        string("Roles", "Roles from the node's labels."),
        AGE,
        string("Version", "Version of the node agent."),
        string("Internal-IP", "Address within the cluster's network.").wide(),
        string("External-IP", "Address from outside.").wide(),
        string("OS-Image", "Operating system.").wide(),
        string("Kernel-Version", "Kernel and architecture.").wide(),
        string("Container-Runtime", "Container runtime and its version.").wide(),
    ],
    cells,
);

fn cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let address = |ty: &str| {
        let found = list(node, "/status/addresses")
            .iter()
            .find(|a| text(a, "/type") == ty);
        Value::from(or(found.map_or("", |a| text(a, "/address")), NONE))
    };
    let fact = |path: &str| Value::from(or(text(node, path), UNKNOWN));
    let kernel = text(node, "/status/nodeInfo/kernelVersion");
    let architecture = text(node, "/status/nodeInfo/architecture");
    vec![
        name(node),
        status(node).into(),
        roles(node).into(),
        age(node, now),
        text(node, "/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        fact("/status/nodeInfo/osImage"),
        match (kernel, architecture) {
            ("", _) => UNKNOWN.into(),
            (kernel, "") => kernel.into(),
            (kernel, architecture) => format!("{kernel} ({architecture})").into(),
        },
        fact("/status/nodeInfo/containerRuntimeVersion"),
    ]
}

fn status(node: &Value) -> String {
    let ready = match condition(node, "Ready").map(|c| text(c, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let closed = if truth(node, "/spec/unschedulable") {
        ",SchedulingDisabled"
    } else {
        ""
    };
    format!("{ready}{closed}")
}

fn roles(node: &Value) -> String {
    let Some(Value::Object(labels)) = node.pointer("/metadata/labels") else {
        return NONE.to_owned();
    };
    let mut roles: Vec<&str> = labels
        .iter()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None if key == "kubernetes.io/role" => value.as_str(),
                None => None,
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or(&roles.join(","), NONE).to_owned()
}
