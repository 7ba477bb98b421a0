//! Makes sure the Node object exists, with the labels every agent vouches for (contract, node agent §20.1).
use super::NodeContext;
use super::{cloud, post};
use crate::in_time::within;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use orlop_api::annotations::{NODE_ARCH_LABEL, NODE_HOSTNAME_LABEL, NODE_OS_LABEL};
use orlop_api::selector::have_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const ATTACH_DETACH: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// Go's name of this machine's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Labels that are put right at every start.
fn default_labels(node_name: &str) -> BTreeMap<String, String> {
    let arch = architecture();
    [
        (NODE_HOSTNAME_LABEL, node_name),
        (NODE_OS_LABEL, "linux"),
        (NODE_ARCH_LABEL, arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The Node as it is first registered.
fn fresh(context: &NodeContext, status: &NodeStatus) -> Node {
    let configuration = &context.configuration;
    let mut labels = default_labels(&context.node_name);
    labels.extend(context.labels.clone());
    let taints = configuration.register_with_taints.clone();
    let provided = cloud::provided(configuration, &context.node_ips);
    let mut annotations = BTreeMap::from([(ATTACH_DETACH.to_owned(), "true".to_owned())]);
    annotations.extend(provided.map(|ips| (cloud::PROVIDED_IP.to_owned(), ips)));
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    Node {
        metadata: ObjectMeta {
            name: Some(context.node_name.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then_some(taints),
            provider_id: given(&configuration.provider_id),
            ..NodeSpec::default()
        }),
        status: Some(status.clone()),
    }
}

/// The patch that puts default labels and annotations right; `None` if they are. Labels of `--node-labels` were for the
/// first registration only: an administrator may have removed them. `provided`: what a cloud is told of addresses; without it
/// nothing stays of what one was told earlier.
fn repair(node: &Node, node_name: &str, provided: Option<&str>) -> Option<Value> {
    let labels = default_labels(node_name);
    let shown = node.metadata.labels.as_ref();
    let annotations = node.metadata.annotations.as_ref();
    let annotated = annotations.is_some_and(|all| all.contains_key(ATTACH_DETACH));
    let labelled = shown.is_some_and(|shown| have_all(shown, &labels));
    let told = annotations.and_then(|all| all.get(cloud::PROVIDED_IP));
    let is_told = told.map(String::as_str) == provided;
    let mut patch = json!({"metadata": {"labels": labels, "annotations": {ATTACH_DETACH: "true"}}});
    if !is_told {
        patch["metadata"]["annotations"][cloud::PROVIDED_IP] = json!(provided);
    }
    (!annotated || !labelled || !is_told).then_some(patch)
}

/// Whether the labels that schedulers go by are someone else's.
pub fn is_mislabelled(node: &Node) -> bool {
    let have = node.metadata.labels.as_ref();
    let is = |key: &str, value: &str| {
        have.and_then(|labels| labels.get(key))
            .is_some_and(|have| have == value)
    };
    !is(NODE_OS_LABEL, "linux") || !is(NODE_ARCH_LABEL, architecture())
}

/// Creates the Node, or puts right the one that exists, and posts the status. The object before that, if there was one,
/// and as it is now; `None` if this agent is not to register its node and nobody else has.
pub async fn register(
    context: &NodeContext,
    status: &NodeStatus,
) -> Result<Option<(Option<Node>, Node)>, kube::Error> {
    let name = &context.node_name;
    let nodes: Api<Node> = Api::all(context.client.clone());
    let Some(node) = in_time(context, nodes.get_opt(name)).await? else {
        if !context.configuration.register_node {
            return Ok(None);
        }
        let (parameters, fresh) = (PostParams::default(), fresh(context, status));
        let created = in_time(context, nodes.create(&parameters, &fresh)).await?;
        tracing::info!(node = name, "node registered");
        return Ok(Some((None, created)));
    };
    mend(context, &node).await?;
    let status = cloud::left_to_it(&context.configuration, node.status.as_ref(), status.clone());
    let now = patch_status(context, &status, &BTreeMap::new()).await?;
    Ok(Some((Some(node), now)))
}

/// Puts labels right, if they aren't.
pub async fn mend(context: &NodeContext, node: &Node) -> Result<(), kube::Error> {
    let provided = cloud::provided(&context.configuration, &context.node_ips);
    let Some(patch) = repair(node, &context.node_name, provided.as_deref()) else {
        return Ok(());
    };
    let nodes: Api<Node> = Api::all(context.client.clone());
    tracing::info!(node = context.node_name, "putting the node's labels right");
    let (parameters, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let patched = nodes.patch(&context.node_name, &parameters, &patch);
    in_time(context, patched).await.map(drop)
}

/// Posts a status, and what is to be said of others' resources.
pub async fn patch_status(
    context: &NodeContext,
    wanted: &NodeStatus,
    given: &BTreeMap<String, Option<Quantity>>,
) -> Result<Node, kube::Error> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let (parameters, patch) = (
        PatchParams::default(),
        Patch::Strategic(post::patch(wanted, given)),
    );
    let patched = nodes.patch_status(&context.node_name, &parameters, &patch);
    in_time(context, patched).await
}

/// An answer, unless the next look at the node is due before it comes (contract, node agent §20.3): an API server that
/// holds a request for ever must not keep the node's status from the others.
async fn in_time<T>(
    context: &NodeContext,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let configuration = &context.configuration;
    let lease = u64::from(configuration.node_lease_duration_seconds.max(1).unsigned_abs());
    let limit = configuration
        .node_status_update_frequency
        .0
        .min(Duration::from_secs(lease));
    within(limit, answer).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(metadata: Value) -> Node {
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn n02_default_labels_are_put_right_and_others_left_alone() {
        let mut labels = default_labels("n1");
        labels.insert("team".into(), "a".into());
        let good = node(json!({"labels": labels, "annotations": {ATTACH_DETACH: "false"}}));
        assert_eq!(repair(&good, "n1", None), None);
        assert!(!is_mislabelled(&good));
        labels.insert(NODE_OS_LABEL.into(), "plan9".into());
        let edited = node(json!({"labels": labels, "annotations": {ATTACH_DETACH: "true"}}));
        assert!(is_mislabelled(&edited));
        let patch = repair(&edited, "n1", None).unwrap();
        assert_eq!(patch["metadata"]["labels"][NODE_OS_LABEL], "linux");
        assert_eq!(patch["metadata"]["labels"]["team"], Value::Null);
        assert!(repair(&node(json!({})), "n1", None).is_some());
    }

    #[test]
    fn what_a_cloud_is_told_of_addresses_is_put_right_and_taken_back() {
        let labels = default_labels("n1");
        for (present, provided, want) in [
            (None, None, None),
            (None, Some("10.0.0.8"), Some(json!("10.0.0.8"))),
            (Some("10.0.0.8"), Some("10.0.0.8"), None),
            (Some("10.0.0.8"), Some("10.0.0.9"), Some(json!("10.0.0.9"))),
            // The node is no cloud's any more, or is told no address.
            (Some("10.0.0.8"), None, Some(Value::Null)),
        ] {
            let mut annotations = BTreeMap::from([(ATTACH_DETACH, "true")]);
            annotations.extend(present.map(|ip| (cloud::PROVIDED_IP, ip)));
            let node = node(json!({"labels": labels, "annotations": annotations}));
            let patch = repair(&node, "n1", provided);
            let told = patch
                .as_ref()
                .and_then(|patch| patch["metadata"]["annotations"].get(cloud::PROVIDED_IP));
            assert_eq!(told, want.as_ref(), "{present:?} {provided:?}");
            assert_eq!(patch.is_some(), want.is_some(), "{present:?} {provided:?}");
        }
    }
}
