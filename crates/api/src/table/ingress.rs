//! Ways into the cluster, and rules between pods.

use serde_json::Value;

use super::cells::{NONE, age, list, name, or, selector, text, texts};
use super::{AGE, NAME, TableSpec, string};

pub(super) static INGRESSES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Class", "Whose it is."),
        string("Hosts", "Names it answers to."),
        string("Address", "Where it is reached."),
        string("Ports", "On which ports."),
        AGE,
    ],
    |ingress, now| {
        let secured = !list(ingress, "/spec/tls").is_empty();
        let addresses: Vec<&str> = list(ingress, "/status/loadBalancer/ingress")
            .iter()
            .map(|point| or(text(point, "/ip"), text(point, "/hostname")))
            .filter(|address| !address.is_empty())
            .collect();
        vec![
            name(ingress),
            or(text(ingress, "/spec/ingressClassName"), NONE).into(),
            hosts(ingress).into(),
            addresses.join(",").into(),
            if secured { "80, 443" } else { "80" }.into(),
            age(ingress, now),
        ]
    },
);

/// The first three names, or `*`.
fn hosts(ingress: &Value) -> String {
    const SHOWN: usize = 3;
    let all: Vec<&str> = list(ingress, "/spec/rules")
        .iter()
        .map(|rule| text(rule, "/host"))
        .filter(|host| !host.is_empty())
        .collect();
    match all.len() {
        0 => "*".to_owned(),
        n if n <= SHOWN => all.join(","),
        n => format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN),
    }
}

pub(super) static INGRESS_CLASSES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Controller", "Who serves it."),
        string("Parameters", "Where that is configured."),
        AGE,
    ],
    |class, now| {
        let reference = |member: &str| text(class, &format!("/spec/parameters/{member}")).to_owned();
        let parameters = match (reference("apiGroup"), reference("kind")) {
            (_, kind) if kind.is_empty() => NONE.to_owned(),
            (group, kind) if group.is_empty() => format!("{kind}/{}", reference("name")),
            (group, kind) => format!("{kind}.{group}/{}", reference("name")),
        };
        vec![
            name(class),
            text(class, "/spec/controller").into(),
            parameters.into(),
            age(class, now),
        ]
    },
);

pub(super) static NETWORK_POLICIES: TableSpec = TableSpec::new(
    &[NAME, string("Pod-Selector", "Which pods it is about."), AGE],
    |policy, now| {
        vec![
            name(policy),
            selector(policy, "/spec/podSelector").into(),
            age(policy, now),
        ]
    },
);

pub(super) static IP_ADDRESSES: TableSpec = TableSpec::new(
    &[NAME, string("ParentRef", "Whose address it is."), AGE],
    |address, now| {
        let part = |member: &str| text(address, &format!("/spec/parentRef/{member}"));
        let group = part("group");
        let parts = [part("resource"), group, part("namespace"), part("name")];
        let resource = match group {
            "" => parts[0].to_owned(),
            group => format!("{}.{group}", parts[0]),
        };
        let path: Vec<&str> = [resource.as_str(), parts[2], parts[3]]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        vec![name(address), path.join("/").into(), age(address, now)]
    },
);

pub(super) static SERVICE_CIDRS: TableSpec = TableSpec::new(
    &[NAME, string("CIDRs", "The ranges of addresses."), AGE],
    |cidr, now| {
        vec![
            name(cidr),
            texts(cidr, "/spec/cidrs").join(",").into(),
            age(cidr, now),
        ]
    },
);
