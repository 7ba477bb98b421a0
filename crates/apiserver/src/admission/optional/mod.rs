//! Plugins that are off unless `--enable-admission-plugins` names them.
pub mod anti_affinity;
pub mod external_addresses;
pub mod node_selector;
pub mod owners;
pub mod pull_always;
pub mod resource_tolerations;
pub mod toleration_restriction;

use super::{Attempt, Operation};
use serde_json::Value;

/// Whether a pod is made or changed, not a subresource of one.
fn writes_pod(attempt: &Attempt<'_>) -> bool {
    attempt.is("pods", "") && matches!(attempt.operation, Operation::Create | Operation::Update)
}

/// What the namespace of an attempt says in an annotation, if it has that.
fn annotation_of_namespace(attempt: &Attempt<'_>, annotation: &str) -> Option<String> {
    let namespace = attempt
        .server
        .cache
        .core_object("namespaces", "", attempt.namespace)?;
    let [annotations] = namespace.at(["/metadata/annotations"]);
    Some(annotations?.get(annotation)?.as_str()?.to_owned())
}

/// Containers of these lists of a pod, with their paths.
fn containers<'v>(pod: &'v Value, lists: &[&'static str]) -> Vec<(String, &'v Value)> {
    let mut all = Vec::new();
    for list in lists {
        let given = pod["spec"][*list].as_array().into_iter().flatten().enumerate();
        all.extend(given.map(|(index, container)| (format!("spec.{list}[{index}]"), container)));
    }
    all
}
