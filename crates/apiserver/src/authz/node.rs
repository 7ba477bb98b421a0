//! What a node's agent may do: its own node, its own pods, and what those pods name (contract §16).
use super::policy::{Attributes, Decision};
use super::references::{Reference, references, volume_secrets};
use crate::ApiServer;
use crate::resources;
use serde_json::Value;

const NO_RELATION: &str = "no relationship found between node '{node}' and this object";
const READ: &[&str] = &["get", "list", "watch"];
/// Stands in every pod that has a claim whose name does not.
const EPHEMERAL: &str = "\"ephemeral\"";

pub fn decide(server: &ApiServer, node: &str, asked: &Attributes) -> Decision {
    let verb = asked.verb.as_str();
    let read = READ.contains(&verb);
    let allow_if = |allowed: bool, why: String| {
        if allowed {
            Decision::Allow(None)
        } else {
            Decision::deny(why)
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
            "list" | "watch" if asked.node_selector.as_deref() == Some(node) => Decision::Allow(None),
            "list" | "watch" if asked.name.is_empty() => {
                Decision::deny("can only list/watch pods with spec.nodeName field selector")
            }
            // Of one pod, as a read.
            "list" | "watch" | "get" => allow_if(is_bound(server, node, asked), no_relation()),
            // Which pods is decided by NodeRestriction, which sees the object.
            "create" | "delete" => Decision::Allow(None),
            _ => Decision::deny(""),
        },
        // It shows the whole pod.
        ("", "pods/status") if verb == "get" => allow_if(is_bound(server, node, asked), no_relation()),
        ("", "pods/status") => plain(matches!(verb, "update" | "patch")),
        ("", "pods/eviction") => plain(verb == "create"),
        ("", "secrets") if read => allow_if(
            names(server, node, asked, Reference::Secret) || mounts_with(server, node, asked),
            no_relation(),
        ),
        ("", "configmaps") if read => {
            allow_if(names(server, node, asked, Reference::ConfigMap), no_relation())
        }
        ("", "persistentvolumeclaims") if read => {
            allow_if(names(server, node, asked, Reference::Claim), no_relation())
        }
        ("", "persistentvolumeclaims/status") => allow_if(
            matches!(verb, "update" | "patch") && names(server, node, asked, Reference::Claim),
            no_relation(),
        ),
        ("", "persistentvolumes") if verb == "get" => allow_if(mounts(server, node, asked), no_relation()),
        ("storage.k8s.io", "volumeattachments") if verb == "get" => {
            allow_if(says_node(server, node, asked), no_relation())
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
        ("resource.k8s.io", "resourceclaims") if verb == "get" => allow_if(
            names(server, node, asked, Reference::ResourceClaim),
            no_relation(),
        ),
        ("resource.k8s.io", "resourceclaims") => {
            Decision::deny("can only get individual resources of this type".to_owned())
        }
        ("resource.k8s.io", "resourceslices") => match verb {
            // Of what it makes, and of each object that a collection loses, NodeRestriction sees the content.
            "create" => Decision::Allow(None),
            "get" | "update" | "patch" | "delete" => allow_if(says_node(server, node, asked), no_relation()),
            "list" | "watch" | "deletecollection" => allow_if(
                asked.node_selector.as_deref() == Some(node),
                "can only list/watch/deletecollection resourceslices with nodeName field selector".to_owned(),
            ),
            _ => Decision::deny(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
                    .to_owned(),
            ),
        },
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
        _ => Decision::deny(""),
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

/// Whether the object says that it is about the node: the devices of a slice, an attachment.
fn says_node(server: &ApiServer, node: &str, asked: &Attributes) -> bool {
    let object = resources::find(&asked.group, "v1", &asked.resource)
        .and_then(|resource| server.cache.object(resource, "", &asked.name));
    object.is_some_and(|object| object.value()["spec"]["nodeName"] == node)
}

/// Whether a pod on the node names the object.
fn names(server: &ApiServer, node: &str, asked: &Attributes, kind: Reference) -> bool {
    is_named(server, node, &asked.namespace, &asked.name, kind)
}

/// Mirror pods give their node no access.
fn is_named(server: &ApiServer, node: &str, namespace: &str, name: &str, kind: Reference) -> bool {
    if name.is_empty() || namespace.is_empty() {
        return false;
    }
    let Some(storage) = resources::find("", "v1", "pods").and_then(|pods| server.cache.storage(pods)) else {
        return false;
    };
    let quoted = format!("{name:?}");
    server
        .cache
        .snapshot_of_node(storage, namespace, node)
        .objects
        .iter()
        // Most pods do not even contain the name: look before parsing.
        .filter(|pod| pod.may_name(&quoted) || (kind == Reference::Claim && pod.may_name(EPHEMERAL)))
        .map(|pod| pod.value())
        .any(|pod| {
            !resources::is_mirror(&pod)
                && references(&pod)
                    .iter()
                    .any(|(k, other)| *k == kind && *other == name)
        })
}

/// Whether a pod on the node uses the claim that the volume is bound to.
fn mounts(server: &ApiServer, node: &str, asked: &Attributes) -> bool {
    let volume = server.cache.core_object("persistentvolumes", "", &asked.name);
    volume.is_some_and(|volume| is_claimed(server, node, &volume.value()))
}

fn is_claimed(server: &ApiServer, node: &str, volume: &Value) -> bool {
    let claim = |member: &str| volume["spec"]["claimRef"][member].as_str().unwrap_or_default();
    is_named(server, node, claim("namespace"), claim("name"), Reference::Claim)
}

/// Whether a volume that is mounted on the node needs the Secret.
fn mounts_with(server: &ApiServer, node: &str, asked: &Attributes) -> bool {
    if asked.name.is_empty() || asked.namespace.is_empty() {
        return false;
    }
    let quoted = format!("{:?}", asked.name);
    let volumes = server.cache.core_objects("persistentvolumes", "");
    volumes
        .iter()
        .filter(|volume| volume.may_name(&quoted))
        .map(|volume| volume.value())
        .any(|volume| {
            let needed = volume_secrets(&volume);
            needed.contains(&(asked.namespace.clone(), asked.name.clone()))
                && is_claimed(server, node, &volume)
        })
}
