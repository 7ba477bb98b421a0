//! Tells the runtime which addresses the node's pods have, for runtimes whose network plugin is configured from it.
use k8s_openapi::api::core::v1::Node;
use orlop_cri::RuntimeService;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A runtime that is starting takes it the next time.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The node's ranges as CRI wants them: joined by commas; empty while it has none.
fn of(node: &Node) -> String {
    let Some(spec) = node.spec.as_ref() else {
        return String::new();
    };
    match spec.pod_cidrs.as_deref() {
        Some(ranges) if !ranges.is_empty() => ranges.join(","),
        _ => spec.pod_cidr.clone().unwrap_or_default(),
    }
}

/// Follows the Node object; `given` (`podCIDR`) counts until that names ranges.
pub async fn follow(
    runtime: Arc<dyn RuntimeService>,
    given: String,
    mut own: watch::Receiver<Option<Arc<Node>>>,
) {
    let mut told = String::new();
    loop {
        let named = own.borrow_and_update().as_deref().map(of).unwrap_or_default();
        let wanted = if named.is_empty() { &given } else { &named };
        if !wanted.is_empty() && *wanted != told {
            if let Err(error) = runtime.update_runtime_config(wanted).await {
                tracing::warn!(ranges = wanted, %error, "the runtime does not take the pods' addresses");
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
            tracing::info!(ranges = wanted, "the runtime knows the pods' addresses");
            told.clone_from(wanted);
        }
        // The agent holds the sender.
        if own.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeRuntime;
    use serde_json::json;

    #[tokio::test]
    async fn runtime_is_told_of_the_nodes_ranges_whenever_they_change() {
        let runtime = Arc::<FakeRuntime>::default();
        let (sender, own) = watch::channel(None);
        tokio::spawn(follow(runtime.clone(), "10.9.0.0/24".into(), own));
        runtime.until("UpdateRuntimeConfig 10.9.0.0/24").await;
        let node = |spec: serde_json::Value| {
            let node: Node = serde_json::from_value(json!({"spec": spec})).unwrap();
            sender.send_replace(Some(Arc::new(node)));
        };
        node(json!({"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]}));
        runtime.until("UpdateRuntimeConfig 10.1.0.0/24,fd00::/64").await;
        node(
            json!({"unschedulable": true, "podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]}),
        );
        node(json!({"podCIDR": "10.2.0.0/24"}));
        runtime.until("UpdateRuntimeConfig 10.2.0.0/24").await;
        let calls = runtime.calls();
        assert_eq!(calls.len(), 3, "nothing is told twice: {calls:?}");
    }
}
