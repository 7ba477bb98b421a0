//! What pods say of nodes, and nodes of pods.

use serde_json::json;

use super::decided;
use crate::testing::{cluster, hold, pending};

#[test]
fn s02_a_pod_waits_for_a_node_with_the_label_that_it_selects_and_goes_there() {
    let selecting = pending(json!({"containers": [], "nodeSelector": {"disk": "ssd"}}));
    let none = json!({"a": {"metadata": {"labels": {"disk": "hdd"}}}, "b": {}});
    assert_eq!(
        decided(&selecting, &mut cluster(none)),
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. \
         preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    let mut one = cluster(json!({"a": {}, "b": {"metadata": {"labels": {"disk": "ssd"}}}}));
    hold(&mut one, "h", "b", 0, 3);
    assert_eq!(decided(&selecting, &mut one), "b", "however full it is");
}

#[test]
fn s03_only_a_pod_that_tolerates_the_taint_goes_to_a_tainted_node() {
    let tainted =
        || cluster(json!({"a": {"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}}));
    let tolerating = |value: &str| {
        let tolerations = json!([{"key": "k", "operator": "Equal", "value": value, "effect": "NoSchedule"}]);
        pending(json!({"containers": [], "tolerations": tolerations}))
    };
    assert_eq!(decided(&tolerating("v"), &mut tainted()), "a");
    assert_eq!(
        decided(&tolerating("another"), &mut tainted()),
        "0/1 nodes are available: 1 node(s) had untolerated taint(s). \
         preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
}
