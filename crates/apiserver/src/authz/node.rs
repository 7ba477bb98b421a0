//! What a node's agent may do: its own node, its own pods, and what those pods name (contract §16).
use super::policy::{Attributes, Decision};
use super::references::{Reference, references};
use crate::ApiServer;
use crate::resources;

const NO_RELATION: &str = "no relationship found between node '{node}' and this object";
const READ: &[&str] = &["get", "list", "watch"];

pub fn decide(server: &ApiServer, node: &str, asked: &Attributes) -> Decision {
    let verb = asked.verb.as_str();
    let read = READ.contains(&verb);
    let allow_if = |allowed: bool, why: String| {
        if allowed {
            Decision::Allow(None)
        } else {
            Decision::Deny(why)
        }
    };
    let plain = |allowed: bool| allow_if(allowed, String::new());
    let no_relation = || NO_RELATION.replace("{node}", node);
    match (asked.group.as_str(), asked.target().as_str()) {
        ("", "nodes") if read => allow_if(
            asked.name == node,
            if asked.name.is_empty() {
                format!("node '{node}' cannot read all nodes, only its own Node object")
            } else {
                format!(
                    "node '{node}' cannot read '{}', only its own Node object",
                    asked.name
                )
            },
        ),
        ("", "nodes") => plain(matches!(verb, "create" | "update" | "patch")),
        ("", "nodes/status") => plain(matches!(verb, "update" | "patch")),
        ("", "pods") => match verb {
            "list" | "watch" => allow_if(
                asked.node_selector.as_deref() == Some(node),
                "can only list/watch pods with spec.nodeName field selector".to_owned(),
            ),
            "get" => allow_if(is_bound(server, node, asked), no_relation()),
            // Which pods is decided by NodeRestriction, which sees the object.
            "create" | "delete" => Decision::Allow(None),
            _ => Decision::Deny(String::new()),
        },
        ("", "pods/status") => plain(matches!(verb, "get" | "update" | "patch")),
        ("", "pods/eviction") => plain(verb == "create"),
        ("", "secrets") if read => allow_if(names(server, node, asked, Reference::Secret), no_relation()),
        ("", "configmaps") if read => {
            allow_if(names(server, node, asked, Reference::ConfigMap), no_relation())
        }
        ("", "persistentvolumeclaims") if read => {
            allow_if(names(server, node, asked, Reference::Claim), no_relation())
        }
        ("", "serviceaccounts") if verb == "get" => allow_if(
            names(server, node, asked, Reference::ServiceAccount),
            no_relation(),
        ),
        ("", "serviceaccounts/token") if verb == "create" => allow_if(
            names(server, node, asked, Reference::ServiceAccount),
            no_relation(),
        ),
        ("coordination.k8s.io", "leases") => {
            let own = asked.namespace == "kube-node-lease"
                && (asked.name == node || (verb == "create" && asked.name.is_empty()));
            let known = matches!(verb, "create" | "get" | "update" | "patch" | "delete");
            allow_if(
                own && known,
                "can only access node lease with the same name as the requesting node".to_owned(),
            )
        }
        ("storage.k8s.io", "csinodes") => {
            let own = asked.name == node || (verb == "create" && asked.name.is_empty());
            let known = matches!(verb, "create" | "get" | "update" | "patch" | "delete");
            allow_if(
                own && known,
                "can only access CSINode with the same name as the requesting node".to_owned(),
            )
        }
        ("", "services" | "endpoints")
        | ("discovery.k8s.io", "endpointslices")
        | ("node.k8s.io", "runtimeclasses")
        | ("storage.k8s.io", "csidrivers") => plain(read),
        ("certificates.k8s.io", "certificatesigningrequests") => plain(read || verb == "create"),
        ("" | "events.k8s.io", "events") => plain(matches!(verb, "create" | "patch" | "update")),
        ("authentication.k8s.io", "tokenreviews")
        | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => {
            plain(verb == "create")
        }
        _ => Decision::Deny(String::new()),
    }
}

fn is_bound(server: &ApiServer, node: &str, asked: &Attributes) -> bool {
    let Some(pods) = resources::find("", "v1", "pods") else {
        return false;
    };
    server
        .cache
        .object(pods, &asked.namespace, &asked.name)
        .is_some_and(|pod| pods.field(&pod, "spec.nodeName") == Some(node))
}

/// Whether a pod on the node names the object. Mirror pods give their node no access.
fn names(server: &ApiServer, node: &str, asked: &Attributes, kind: Reference) -> bool {
    if asked.name.is_empty() || asked.namespace.is_empty() {
        return false;
    }
    let Some(storage) = resources::find("", "v1", "pods").and_then(|pods| server.cache.storage(pods)) else {
        return false;
    };
    let quoted = format!("{:?}", asked.name);
    server
        .cache
        .snapshot_of_node(storage, &asked.namespace, node)
        .objects
        .iter()
        // Most pods do not even contain the name: look before parsing.
        .filter(|pod| contains(&pod.json(), quoted.as_bytes()))
        .map(|pod| pod.value())
        .any(|pod| {
            !resources::is_mirror(&pod)
                && references(&pod)
                    .iter()
                    .any(|(k, name)| *k == kind && *name == asked.name)
        })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
