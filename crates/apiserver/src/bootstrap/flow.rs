//! The priority levels and flow schemas every cluster starts with, by upstream's names (contract §20).
use serde_json::{Value, json};

/// They may be changed; whoever takes this annotation's word away keeps their change.
const AUTO: &str = "apf.kubernetes.io/autoupdate-spec";

/// Name, shares, per cent that may be lent, and queues (0: nobody waits) with the hand's size.
const LEVELS: &[(&str, u32, u32, u32, u32)] = &[
    ("catch-all", 5, 0, 0, 0),
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

/// Requests of one queue that may wait.
const QUEUE_LENGTH: u32 = 50;

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}})
}

fn on(verbs: &[&str], groups: &[&str], resources: &[&str], namespaces: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": namespaces})
}

/// Subjects, whatever they ask for.
fn all(subjects: &[Value]) -> Value {
    json!([{
        "subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }])
}

fn rules(subjects: &[Value], resources: &[Value]) -> Value {
    json!([{"subjects": subjects, "resourceRules": resources}])
}

/// Every object with its plural.
pub fn objects() -> Vec<(&'static str, Value)> {
    let metadata = |name: &str| json!({"name": name, "annotations": {AUTO: "true"}});
    let mut objects = vec![(
        "prioritylevelconfigurations",
        json!({"metadata": metadata("exempt"), "spec": {"type": "Exempt",
            "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}}),
    )];
    for (name, shares, lendable, queues, hand) in LEVELS {
        let response = match queues {
            0 => json!({"type": "Reject"}),
            queues => json!({"type": "Queue", "queuing":
                {"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}}),
        };
        objects.push((
            "prioritylevelconfigurations",
            json!({"metadata": metadata(name), "spec": {"type": "Limited", "limited": {
                "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}}}),
        ));
    }
    let everybody = [group("system:unauthenticated"), group("system:authenticated")];
    let (by_user, by_namespace) = (json!({"type": "ByUser"}), json!({"type": "ByNamespace"}));
    let locks = ["get", "create", "update"];
    let leases = |namespaces: &[&str]| on(&locks, &["coordination.k8s.io"], &["leases"], namespaces);
    let leaders = [
        user("system:kube-controller-manager"),
        user("system:kube-scheduler"),
        account("*"),
    ];
    let endpoints = [
        on(&locks, &[""], &["endpoints"], &["*"]),
        on(&locks, &["discovery.k8s.io"], &["endpointslices"], &["*"]),
    ];
    let endpoint_controllers = [
        user("system:kube-controller-manager"),
        account("endpoint-controller"),
        account("endpointslice-controller"),
    ];
    let nodes = [group("system:nodes")];
    let node_status = json!({"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"],
        "clusterScope": true});
    let node_rules = [
        node_status,
        on(&["*"], &["coordination.k8s.io"], &["leases"], &["*"]),
    ];
    let probes = json!([{"subjects": everybody, "nonResourceRules":
        [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}]);
    for (name, level, precedence, distinguisher, rules) in [
        (
            "exempt",
            "exempt",
            1,
            Value::Null,
            all(&[group("system:masters")]),
        ),
        ("probes", "exempt", 2, Value::Null, probes),
        (
            "system-leader-election",
            "leader-election",
            100,
            by_user.clone(),
            rules(&leaders, &[leases(&["*"])]),
        ),
        (
            "endpoint-controller",
            "workload-high",
            150,
            by_user.clone(),
            rules(&endpoint_controllers, &endpoints),
        ),
        (
            "workload-leader-election",
            "leader-election",
            200,
            by_user.clone(),
            rules(&[account("*")], &[leases(&["*"])]),
        ),
        (
            "system-node-high",
            "node-high",
            400,
            by_user.clone(),
            rules(&nodes, &node_rules),
        ),
        ("system-nodes", "system", 500, by_user.clone(), all(&nodes)),
        (
            "kube-controller-manager",
            "workload-high",
            800,
            by_namespace.clone(),
            all(&[user("system:kube-controller-manager")]),
        ),
        (
            "kube-scheduler",
            "workload-high",
            800,
            by_namespace.clone(),
            all(&[user("system:kube-scheduler")]),
        ),
        (
            "kube-system-service-accounts",
            "workload-high",
            900,
            by_namespace,
            all(&[account("*")]),
        ),
        (
            "service-accounts",
            "workload-low",
            9000,
            by_user.clone(),
            all(&[group("system:serviceaccounts")]),
        ),
        (
            "global-default",
            "global-default",
            9900,
            by_user.clone(),
            all(&everybody),
        ),
        ("catch-all", "catch-all", 10_000, by_user, all(&everybody)),
    ] {
        let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
            "rules": rules});
        if !distinguisher.is_null() {
            spec["distinguisherMethod"] = distinguisher;
        }
        let object = json!({"metadata": metadata(name), "spec": spec, "status": {"conditions": [
            {"type": "Dangling", "status": "False", "reason": "Found", "lastTransitionTime": crate::registry::now(),
            "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists")}]}});
        objects.push(("flowschemas", object));
    }
    objects
}
