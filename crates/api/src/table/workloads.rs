//! Kinds that make pods, and what belongs to them.

use serde_json::Value;

use super::cells::{NONE, age, containers, list, name, number, pairs, selector, text, truth};
use super::{AGE, Column, NAME, TableSpec, integer, string};

const CONTAINERS: Column = string("Containers", "Containers of the template.").wide();
const IMAGES: Column = string("Images", "Images of the template.").wide();
const SELECTOR: Column = string("Selector", "Which pods belong to it.").wide();
const TEMPLATE: &str = "/spec/template/spec/containers";

pub(super) static DAEMON_SETS: TableSpec = TableSpec::new(
    &[
        NAME,
        integer("Desired", "Nodes that should run the daemon."),
        integer("Current", "Nodes that run it and should."),
        integer("Ready", "Nodes whose daemon is ready."),
        integer("Up-to-date", "Nodes that run the latest template."),
        integer("Available", "Nodes whose daemon has been ready long enough."),
        string("Node Selector", "Labels a node must have."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    |ds, now| {
        let (names, images) = containers(ds, TEMPLATE);
        vec![
            name(ds),
            number(ds, "/status/desiredNumberScheduled").into(),
            number(ds, "/status/currentNumberScheduled").into(),
            number(ds, "/status/numberReady").into(),
            number(ds, "/status/updatedNumberScheduled").into(),
            number(ds, "/status/numberAvailable").into(),
            pairs(ds, "/spec/template/spec/nodeSelector").into(),
            age(ds, now),
            names.into(),
            images.into(),
            selector(ds, "/spec/selector").into(),
        ]
    },
);

pub(super) static CONTROLLER_REVISIONS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Controller", "Whose history it is part of."),
        string("Revision", "Its number."),
        AGE,
    ],
    |revision, now| {
        vec![
            name(revision),
            controller(revision).into(),
            number(revision, "/revision").into(),
            age(revision, now),
        ]
    },
);

/// `daemonset.apps/name` of the owner that controls the object.
fn controller(object: &Value) -> String {
    let owner = list(object, "/metadata/ownerReferences")
        .iter()
        .find(|o| truth(o, "/controller"));
    let Some(owner) = owner else {
        return NONE.to_owned();
    };
    let kind = text(owner, "/kind").to_lowercase();
    match text(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "/name")),
        None => format!("{kind}/{}", text(owner, "/name")),
    }
}

fn ready_of_desired(object: &Value) -> Value {
    format!(
        "{}/{}",
        number(object, "/status/readyReplicas"),
        number(object, "/spec/replicas")
    )
    .into()
}

pub(super) static DEPLOYMENTS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Ready", "Pods that are ready, of all that should be."),
        string("Up-to-date", "Pods of the latest template."),
        string("Available", "Pods that have been ready long enough."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    |deployment, now| {
        let (names, images) = containers(deployment, TEMPLATE);
        vec![
            name(deployment),
            ready_of_desired(deployment),
            number(deployment, "/status/updatedReplicas").into(),
            number(deployment, "/status/availableReplicas").into(),
            age(deployment, now),
            names.into(),
            images.into(),
            selector(deployment, "/spec/selector").into(),
        ]
    },
);

pub(super) static REPLICA_SETS: TableSpec = TableSpec::new(
    &[
        NAME,
        integer("Desired", "Pods there should be."),
        integer("Current", "Pods there are."),
        integer("Ready", "Pods that are ready."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    |set, now| {
        let (names, images) = containers(set, TEMPLATE);
        vec![
            name(set),
            number(set, "/spec/replicas").into(),
            number(set, "/status/replicas").into(),
            number(set, "/status/readyReplicas").into(),
            age(set, now),
            names.into(),
            images.into(),
            replicated(set).into(),
        ]
    },
);

/// A replication controller's selector is a plain map, a replica set's a label selector.
fn replicated(set: &Value) -> String {
    let labelled = ["matchLabels", "matchExpressions"];
    match set.pointer("/spec/selector") {
        Some(Value::Object(map)) if !labelled.iter().any(|key| map.contains_key(*key)) => {
            pairs(set, "/spec/selector")
        }
        _ => selector(set, "/spec/selector"),
    }
}

pub(super) static STATEFUL_SETS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Ready", "Pods that are ready, of all that should be."),
        AGE,
        CONTAINERS,
        IMAGES,
    ],
    |set, now| {
        let (names, images) = containers(set, TEMPLATE);
        vec![
            name(set),
            ready_of_desired(set),
            age(set, now),
            names.into(),
            images.into(),
        ]
    },
);

pub(super) static SCALES: TableSpec = TableSpec::new(
    &[
        NAME,
        integer("Desired", "Replicas there should be."),
        integer("Available", "Replicas there are."),
        AGE,
    ],
    |scale, now| {
        vec![
            name(scale),
            number(scale, "/spec/replicas").into(),
            number(scale, "/status/replicas").into(),
            age(scale, now),
        ]
    },
);

pub(super) static POD_TEMPLATES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Containers", "Containers of the template."),
        string("Images", "Images of the template."),
        string("Pod Labels", "Labels its pods get."),
        AGE,
    ],
    |template, now| {
        let (names, images) = containers(template, "/template/spec/containers");
        let labels = pairs(template, "/template/metadata/labels");
        vec![
            name(template),
            names.into(),
            images.into(),
            labels.into(),
            age(template, now),
        ]
    },
);

pub(super) static DISRUPTION_BUDGETS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Min Available", "Pods that must stay available."),
        string("Max Unavailable", "Pods that may be unavailable."),
        integer("Allowed Disruptions", "Pods that may be evicted now."),
        AGE,
    ],
    |budget, now| {
        let amount = |path| match budget.pointer(path) {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Number(n)) => n.to_string(),
            _ => "N/A".to_owned(),
        };
        vec![
            name(budget),
            amount("/spec/minAvailable").into(),
            amount("/spec/maxUnavailable").into(),
            number(budget, "/status/disruptionsAllowed").into(),
            age(budget, now),
        ]
    },
);
