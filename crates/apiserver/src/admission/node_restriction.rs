//! A node writes itself and its own pods, nothing else (contract §17, static-and-mirror-pods §5).
use super::{Attempt, Operation};
use crate::authz::{self, Attributes, Decision, Reference, audiences, drivers_and_claims, references};
use crate::resources;
use crate::status::ApiError;
use serde_json::Value;
use std::collections::BTreeSet;

/// Labels in Kubernetes' own domains that a node may set on itself.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
const OWN_PREFIXES: &[&str] = &["kubelet.kubernetes.io/", "node.kubernetes.io/"];
const RESTRICTED_PREFIX: &str = "node-restriction.kubernetes.io";

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let user = attempt.user;
    let Some(node) = user.node_name() else {
        return Ok(());
    };
    match (
        attempt.resource.group,
        attempt.resource.plural,
        attempt.subresource,
    ) {
        ("", "pods", "") => pods(attempt, node),
        ("", "pods", "status") => pod_status(attempt, node),
        ("", "pods", "eviction") => evicted_pod(attempt, node),
        ("", "pods", subresource) => {
            Err(attempt.forbidden(&format!("unexpected pod subresource {subresource:?}")))
        }
        ("", "nodes", _) => nodes(attempt, node),
        ("coordination.k8s.io", "leases", _) => named_after_node(attempt, node, "kube-node-lease"),
        ("", "persistentvolumeclaims", "status") => claim_status(attempt, node),
        ("", "serviceaccounts", "token") => token(attempt, node),
        ("resource.k8s.io", "resourceslices", "") => slices(attempt, node),
        ("storage.k8s.io", "csinodes", _) => named_after_node(attempt, node, ""),
        _ => Ok(()),
    }
}

fn named_after_node(attempt: &Attempt<'_>, node: &str, namespace: &str) -> Result<(), ApiError> {
    if attempt.name == node && attempt.namespace == namespace {
        return Ok(());
    }
    Err(attempt.forbidden("can only access node lease with the same name as the requesting node"))
}

/// Of a claim, a node says how large it has become.
fn claim_status(attempt: &Attempt<'_>, node: &str) -> Result<(), ApiError> {
    let (Some(new), Some(old)) = (attempt.object.as_deref(), attempt.old) else {
        return Ok(());
    };
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for member in [
            "capacity",
            "conditions",
            "allocatedResources",
            "allocatedResourceStatuses",
        ] {
            if let Some(status) = claim["status"].as_object_mut() {
                status.remove(member);
            }
        }
        for member in ["resourceVersion", "managedFields"] {
            if let Some(metadata) = claim["metadata"].as_object_mut() {
                metadata.remove(member);
            }
        }
        claim
    };
    if rest(new) == rest(old) {
        return Ok(());
    }
    Err(attempt.forbidden(&format!(
        "node {node:?} is not allowed to update fields other than status.capacity and status.conditions"
    )))
}

/// A node gets tokens for its own pods, which end with them, and for whom those pods' volumes say.
fn token(attempt: &Attempt<'_>, node: &str) -> Result<(), ApiError> {
    let (Operation::Create, Some(request)) = (attempt.operation, attempt.object.as_deref()) else {
        return Ok(());
    };
    let refuse = |why: String| Err(attempt.forbidden(&why));
    let bound = &request["spec"]["boundObjectRef"];
    let text = |member: &str| bound[member].as_str().unwrap_or_default();
    if text("apiVersion") != "v1" || text("kind") != "Pod" || text("name").is_empty() {
        return refuse("node requested token not bound to a pod".to_owned());
    }
    if text("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid".to_owned());
    }
    let pod = attempt
        .server
        .cache
        .core_object("pods", attempt.namespace, text("name"))
        .ok_or_else(|| ApiError::not_found_in("", "pods", text("name")))?
        .value();
    if pod["metadata"]["uid"] != bound["uid"] {
        return refuse(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            text("uid")
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return refuse("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    let wanted = request["spec"]["audiences"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let wanted = match wanted {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return refuse("node may only request 0 or 1 audiences".to_owned()),
    };
    if audiences(&pod).contains(&wanted) || drivers_ask(attempt, &pod, wanted) || is_granted(attempt, wanted)
    {
        return Ok(());
    }
    refuse(format!(
        "audience {wanted:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        attempt.user.name
    ))
}

/// Whether a role lets the node ask for tokens of this account for the audience, as to pull images with.
fn is_granted(attempt: &Attempt<'_>, audience: &str) -> bool {
    let asked = Attributes {
        is_resource: true,
        verb: "request-serviceaccounts-token-audience".to_owned(),
        resource: audience.to_owned(),
        namespace: attempt.namespace.to_owned(),
        name: attempt.name.to_owned(),
        ..Attributes::default()
    };
    let decision = (!audience.is_empty()).then(|| authz::decide_now(attempt.server, attempt.user, &asked));
    matches!(decision.flatten(), Some(Decision::Allow(_)))
}

/// Whether a CSI driver of the pod's volumes asks for tokens for this audience.
fn drivers_ask(attempt: &Attempt<'_>, pod: &Value, audience: &str) -> bool {
    let cache = &attempt.server.cache;
    let (own, claims) = drivers_and_claims(pod);
    let mut drivers: Vec<String> = own.into_iter().map(str::to_owned).collect();
    for claim in claims {
        let claim = cache.core_object("persistentvolumeclaims", attempt.namespace, &claim);
        let volume = claim.and_then(|claim| {
            let claim = claim.value();
            cache.core_object("persistentvolumes", "", claim["spec"]["volumeName"].as_str()?)
        });
        let driver =
            volume.and_then(|volume| Some(volume.value()["spec"]["csi"]["driver"].as_str()?.to_owned()));
        drivers.extend(driver);
    }
    let Some(kind) = resources::find("storage.k8s.io", "v1", "csidrivers") else {
        return false;
    };
    drivers.iter().any(|driver| {
        let driver = cache.object(kind, "", driver).map(|driver| driver.value());
        let asked = driver
            .as_ref()
            .and_then(|driver| driver["spec"]["tokenRequests"].as_array());
        asked.is_some_and(|asked| {
            asked
                .iter()
                .any(|one| one["audience"].as_str().unwrap_or_default() == audience)
        })
    })
}

/// Which slice a node reads or changes is the authorizer's question; what is in one that it makes, and in each that goes
/// with a collection, is seen here only.
fn slices(attempt: &Attempt<'_>, node: &str) -> Result<(), ApiError> {
    let (slice, done) = match attempt.operation {
        Operation::Create => (attempt.object.as_deref(), "create"),
        Operation::Delete => (attempt.old, "delete"),
        Operation::Update | Operation::Connect => return Ok(()),
    };
    if slice.is_some_and(|slice| slice["spec"]["nodeName"] == node) {
        return Ok(());
    }
    Err(attempt.forbidden(&format!(
        "can only {done} ResourceSlice with the same NodeName as the requesting node"
    )))
}

fn pods(attempt: &Attempt<'_>, node: &str) -> Result<(), ApiError> {
    match (attempt.operation, attempt.object.as_deref()) {
        (Operation::Create, Some(pod)) => create_pod(attempt, node, pod),
        (Operation::Delete, _) => own_pod(attempt, node),
        _ => Err(attempt.forbidden(&format!("unexpected operation {:?}", "UPDATE"))),
    }
}

fn own_pod(attempt: &Attempt<'_>, node: &str) -> Result<(), ApiError> {
    if attempt.old.is_some_and(|pod| pod["spec"]["nodeName"] == node) {
        return Ok(());
    }
    Err(attempt.forbidden(&format!(
        "node {node:?} can only delete pods with spec.nodeName set to itself"
    )))
}

/// The object of an eviction is the Eviction.
fn evicted_pod(attempt: &Attempt<'_>, node: &str) -> Result<(), ApiError> {
    let pod = attempt
        .server
        .cache
        .core_object("pods", attempt.namespace, attempt.name)
        .ok_or_else(|| ApiError::not_found_in("", "pods", attempt.name))?
        .value();
    if pod["spec"]["nodeName"] == node {
        return Ok(());
    }
    Err(attempt.forbidden(&format!(
        "node {node:?} can only evict pods with spec.nodeName set to itself"
    )))
}

fn pod_status(attempt: &Attempt<'_>, node: &str) -> Result<(), ApiError> {
    let (Some(new), Some(old)) = (attempt.object.as_deref(), attempt.old) else {
        return Ok(());
    };
    if old["spec"]["nodeName"] != node {
        return Err(attempt.forbidden(&format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        )));
    }
    if new["metadata"]["labels"] != old["metadata"]["labels"] {
        return Err(attempt.forbidden(&format!("node {node:?} cannot update labels through pod status")));
    }
    // What a pod's status names there, its node may read.
    for (member, what) in [
        ("resourceClaimStatuses", "resource claim statuses"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ] {
        if new["status"][member] != old["status"][member] {
            return Err(attempt.forbidden(&format!("node {node:?} cannot update {what}")));
        }
    }
    Ok(())
}

fn create_pod(attempt: &Attempt<'_>, node: &str, pod: &Value) -> Result<(), ApiError> {
    let refuse = |why: String| Err(attempt.forbidden(&why));
    if !resources::is_mirror(pod) {
        return refuse(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return refuse(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        ));
    }
    let owners = pod["metadata"]["ownerReferences"]
        .as_array()
        .map_or(&[][..], |o| o.as_slice());
    let [owner] = owners else {
        return refuse(format!(
            "node {node:?} can only create pods with a single owner reference set to itself"
        ));
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return refuse(format!(
            "node {node:?} can only create pods with an owner reference set to itself"
        ));
    }
    if owner["controller"] != true {
        return refuse(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return refuse(format!(
            "node {node:?} must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let nodes = resources::find("", "v1", "nodes").ok_or_else(ApiError::no_such_resource)?;
    let cache = &attempt.server.cache;
    let live = cache
        .storage(nodes)
        .and_then(|id| cache.get(id, node))
        .ok_or_else(|| ApiError::not_found(nodes, node))?
        .value();
    if owner["uid"] != live["metadata"]["uid"] {
        return refuse(format!(
            "node {node} UID mismatch: expected {} got {}",
            live["metadata"]["uid"], owner["uid"]
        ));
    }
    // A claim from a template has no name yet.
    let claims = pod["spec"]["resourceClaims"]
        .as_array()
        .is_some_and(|claims| !claims.is_empty());
    let named = references(pod).first().map(|(kind, _)| *kind);
    if let Some(kind) = named.or(claims.then_some(Reference::ResourceClaim)) {
        return refuse(format!(
            "node {node:?} can not create pods that reference {}",
            kind.plural()
        ));
    }
    Ok(())
}

fn nodes(attempt: &Attempt<'_>, node: &str) -> Result<(), ApiError> {
    let name = match attempt.object.as_deref() {
        Some(object) if attempt.name.is_empty() => object["metadata"]["name"].as_str().unwrap_or_default(),
        _ => attempt.name,
    };
    if name != node {
        return Err(attempt.forbidden(&format!("node {node:?} is not allowed to modify node {name:?}")));
    }
    let Some(new) = attempt.object.as_deref() else {
        return Ok(());
    };
    let Some(old) = attempt.old else {
        let bad = restricted(labels(new));
        if bad.is_empty() {
            return Ok(());
        }
        return Err(attempt.forbidden(&format!(
            "node {node:?} is not allowed to set the following labels: {}",
            bad.join(", ")
        )));
    };
    if new["spec"]["configSource"] != old["spec"]["configSource"] {
        return Err(attempt.forbidden(&format!("node {node:?} is not allowed to update configSource")));
    }
    if new["spec"]["taints"] != old["spec"]["taints"] {
        return Err(attempt.forbidden(&format!("node {node:?} is not allowed to modify taints")));
    }
    if new["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
        return Err(attempt.forbidden(&format!("node {node:?} is not allowed to modify ownerReferences")));
    }
    let changed = labels(new).symmetric_difference(&labels(old)).cloned().collect();
    let bad = restricted(changed);
    if bad.is_empty() {
        return Ok(());
    }
    Err(attempt.forbidden(&format!("is not allowed to modify labels: {}", bad.join(", "))))
}

/// Labels with their values, so that a changed value counts as a change.
fn labels(node: &Value) -> BTreeSet<(String, String)> {
    node["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.to_string()))
        .collect()
}

fn restricted(labels: BTreeSet<(String, String)>) -> Vec<String> {
    let mut keys: Vec<String> = labels
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| is_restricted(key))
        .collect();
    keys.dedup();
    keys
}

fn is_restricted(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let below = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if below(RESTRICTED_PREFIX) {
        return true;
    }
    if !below("kubernetes.io") && !below("k8s.io") {
        return false;
    }
    let prefixed = OWN_PREFIXES.iter().any(|prefix| {
        let parent = prefix.trim_end_matches('/');
        below(parent)
    });
    !prefixed && !OWN_LABELS.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S12
    #[test]
    fn a_node_may_only_label_itself_with_what_is_its_own() {
        assert!(is_restricted("node-restriction.kubernetes.io/x"));
        assert!(is_restricted("foo.kubernetes.io/x"));
        assert!(is_restricted("node-role.kubernetes.io/control-plane"));
        for own in [
            "kubernetes.io/hostname",
            "node.kubernetes.io/x",
            "example.com/y",
            "plain",
            "beta.kubernetes.io/os",
        ] {
            assert!(!is_restricted(own), "{own}");
        }
    }
}
