//! Small kinds of the cluster itself.

use serde_json::Value;

use super::cells::{age, name, number, text, truth};
use super::{AGE, NAME, TableSpec, boolean, integer, string};

pub(super) static NAME_AND_AGE: TableSpec =
    TableSpec::new(&[NAME, AGE], |object, now| vec![name(object), age(object, now)]);

pub(super) static COMPONENT_STATUSES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Status", "Healthy, Unhealthy or Unknown."),
        string("Message", "What the component said."),
        string("Error", "Why it could not be asked."),
    ],
    |component, _| {
        let conditions = component["conditions"].as_array();
        let healthy = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Healthy");
        let status = match healthy.map(|condition| condition["status"] == "True") {
            Some(true) => "Healthy",
            Some(false) => "Unhealthy",
            None => "Unknown",
        };
        let healthy = healthy.unwrap_or(&Value::Null);
        vec![
            name(component),
            status.into(),
            text(healthy, "/message").into(),
            text(healthy, "/error").into(),
        ]
    },
);

pub(super) static NAMESPACES: TableSpec = TableSpec::new(
    &[NAME, string("Status", "Active or Terminating."), AGE],
    |namespace, now| {
        vec![
            name(namespace),
            text(namespace, "/status/phase").into(),
            age(namespace, now),
        ]
    },
);

pub(super) static LEASES: TableSpec = TableSpec::new(
    &[NAME, string("Holder", "Who holds the lease."), AGE],
    |lease, now| {
        vec![
            name(lease),
            text(lease, "/spec/holderIdentity").into(),
            age(lease, now),
        ]
    },
);

pub(super) static RUNTIME_CLASSES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Handler", "What the container runtime calls it."),
        AGE,
    ],
    |class, now| vec![name(class), text(class, "/handler").into(), age(class, now)],
);

pub(super) static PRIORITY_CLASSES: TableSpec = TableSpec::new(
    &[
        NAME,
        integer("Value", "The priority."),
        boolean("Global-Default", "Whether pods that name none get this one."),
        AGE,
        string("PreemptionPolicy", "Whether its pods may displace others."),
    ],
    |class, now| {
        vec![
            name(class),
            number(class, "/value").into(),
            truth(class, "/globalDefault").into(),
            age(class, now),
            text(class, "/preemptionPolicy").into(),
        ]
    },
);

pub(super) static RESOURCE_QUOTAS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Request", "Used of what may be requested."),
        string("Limit", "Used of the limits."),
        AGE,
    ],
    |quota, now| {
        let (limits, requests): (Vec<String>, Vec<String>) = usages(quota)
            .into_iter()
            .partition(|usage| usage.starts_with("limits."));
        vec![
            name(quota),
            requests.join(", ").into(),
            limits.join(", ").into(),
            age(quota, now),
        ]
    },
);

/// `resource: used/hard`, sorted by resource.
fn usages(quota: &Value) -> Vec<String> {
    let Some(Value::Object(hard)) = quota.pointer("/status/hard") else {
        return Vec::new();
    };
    let used = |resource: &str| {
        let used = quota
            .pointer("/status/used")
            .and_then(|u| u.get(resource))
            .and_then(Value::as_str);
        used.unwrap_or("0").to_owned()
    };
    let usage = |(resource, hard): (&String, &Value)| {
        format!("{resource}: {}/{}", used(resource), hard.as_str().unwrap_or("0"))
    };
    let mut usages: Vec<String> = hard.iter().map(usage).collect();
    usages.sort_unstable();
    usages
}
