//! DaemonSet placement: which nodes want a pod (daemonsets §3.4), the tolerations every daemon pod gets
//! (§3.5) and the pod made from the template for one node (§3.6).

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    PodTemplateSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{NodeFacts, Reason, affinity};
use crate::{annotations, names, pod, taints};

/// Whether a daemon pod should be created on a node, and whether an existing one may go on running there.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Create it if it is missing.
    pub run: bool,
    /// Leave it if it is there.
    pub continue_: bool,
    /// Why not, if either is false.
    pub reasons: Vec<Reason>,
}

/// Decides from labels, name and taints alone: conditions, `unschedulable`, resources and ports play no role.
pub fn should_run(template: &PodTemplateSpec, node: &dyn NodeFacts) -> Placement {
    let empty = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&empty);
    let node_name = node.name();
    let no = |reason: Reason| Placement {
        run: false,
        continue_: false,
        reasons: vec![reason],
    };
    if spec
        .node_name
        .as_deref()
        .is_some_and(|n| !n.is_empty() && n != node_name)
    {
        return no(Reason::NodeName);
    }
    if !affinity::matches_required(spec, node) {
        return no(Reason::NodeAffinity);
    }
    let all = node.taints();
    // Most nodes of a large fleet; putting tolerations together is what costs here.
    if all.is_empty() {
        return Placement {
            run: true,
            continue_: true,
            reasons: Vec::new(),
        };
    }
    let tolerations = tolerations(spec);
    let evicting = taints::first_untolerated(all, &tolerations, &[taints::NO_EXECUTE]);
    let blocking = evicting.or_else(|| taints::first_untolerated(all, &tolerations, &[taints::NO_SCHEDULE]));
    Placement {
        run: blocking.is_none(),
        continue_: evicting.is_none(),
        reasons: blocking
            .map(|t| Reason::TaintToleration { taint: t.clone() })
            .into_iter()
            .collect(),
    }
}

/// The template's tolerations with the automatic ones added (never written back to the template).
pub fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut list = spec.tolerations.clone().unwrap_or_default();
    let automatic = [
        (annotations::TAINT_NOT_READY, taints::NO_EXECUTE),
        (annotations::TAINT_UNREACHABLE, taints::NO_EXECUTE),
        (annotations::TAINT_DISK_PRESSURE, taints::NO_SCHEDULE),
        (annotations::TAINT_MEMORY_PRESSURE, taints::NO_SCHEDULE),
        (annotations::TAINT_PID_PRESSURE, taints::NO_SCHEDULE),
        (annotations::TAINT_UNSCHEDULABLE, taints::NO_SCHEDULE),
    ];
    let network =
        pod::is_host_network(spec).then_some((annotations::TAINT_NETWORK_UNAVAILABLE, taints::NO_SCHEDULE));
    for (key, effect) in automatic.into_iter().chain(network) {
        taints::add_or_replace(&mut list, taints::tolerate_forever(key, effect));
    }
    list
}

/// The same for the pods of `set`, which may be one that new nodes wait for: its pods don't wait for each other.
pub fn tolerations_of(set: &DaemonSet, spec: &PodSpec) -> Vec<Toleration> {
    let mut list = tolerations(spec);
    let value = set
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(annotations::NODE_GATE));
    if value.is_some_and(|value| value == "true") {
        let toleration = taints::tolerate_forever(annotations::NODE_GATE_TAINT, taints::NO_SCHEDULE);
        taints::add_or_replace(&mut list, toleration);
    }
    list
}

/// Confines a spec to one node by name: the required terms are replaced as a whole, all else stays.
pub fn pin_to_node(spec: &mut PodSpec, node_name: &str) {
    let term = NodeSelectorTerm {
        match_expressions: None,
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node_name.to_owned()]),
        }]),
    };
    spec.affinity
        .get_or_insert_with(Affinity::default)
        .node_affinity
        .get_or_insert_with(NodeAffinity::default)
        .required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![term],
    });
}

/// The node a daemon pod is for: bound, or confined to exactly one by name.
pub fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = spec.node_name.as_deref().filter(|n| !n.is_empty()) {
        return Some(name);
    }
    match affinity::confined_to(spec)?.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// The DaemonSet's template generation from its annotation, if it is a number.
pub fn template_generation(set: &DaemonSet) -> Option<i64> {
    set.metadata
        .annotations
        .as_ref()?
        .get(annotations::DAEMON_TEMPLATE_GENERATION)?
        .parse()
        .ok()
}

/// The owner reference of a DaemonSet's pods and revisions.
pub fn owner_reference(set: &DaemonSet) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "DaemonSet".to_owned(),
        name: set.metadata.name.clone().unwrap_or_default(),
        uid: set.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The pod to create for one node; `revision_hash` is the current ControllerRevision's hash label.
pub fn pod_for_node(set: &DaemonSet, revision_hash: &str, node_name: &str) -> Pod {
    let empty = PodTemplateSpec::default();
    let template = set.spec.as_ref().map_or(&empty, |s| &s.template);
    let from = template.metadata.clone().unwrap_or_default();
    let mut labels = from.labels.unwrap_or_default();
    if !revision_hash.is_empty() {
        labels.insert(
            annotations::CONTROLLER_REVISION_HASH.to_owned(),
            revision_hash.to_owned(),
        );
    }
    if let Some(generation) = template_generation(set) {
        labels.insert(
            annotations::POD_TEMPLATE_GENERATION.to_owned(),
            generation.to_string(),
        );
    }
    let mut spec = template.spec.clone().unwrap_or_default();
    spec.tolerations = Some(tolerations_of(set, &spec));
    pin_to_node(&mut spec, node_name);
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(generate_name(set.metadata.name.as_deref().unwrap_or(""))),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![owner_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// `<set>-`, or the bare name where that is no legal prefix of a pod name.
pub fn generate_name(set_name: &str) -> String {
    let prefix = format!("{set_name}-");
    if names::is_dns_subdomain(&names::mask_trailing_dash(&prefix)) {
        prefix
    } else {
        set_name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;
    use serde_json::json;

    fn template(spec: serde_json::Value) -> PodTemplateSpec {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    fn node(taints: serde_json::Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"disk": "ssd"}},
            "spec": {"unschedulable": true, "taints": taints}, "status": {"allocatable": {"pods": "0"}}}))
        .unwrap()
    }

    /// The table of daemonsets §3.4, and the rules above it.
    #[test]
    fn run_and_continue_by_taint_label_and_name() {
        let plain = || json!({"containers": []});
        let host = || json!({"containers": [], "hostNetwork": true});
        let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
        for (name, spec, taints, want) in [
            ("no taint", plain(), json!([]), (true, true)),
            (
                "cordoned",
                plain(),
                taint(annotations::TAINT_UNSCHEDULABLE, "NoSchedule"),
                (true, true),
            ),
            (
                "memory",
                plain(),
                taint(annotations::TAINT_MEMORY_PRESSURE, "NoSchedule"),
                (true, true),
            ),
            (
                "disk",
                plain(),
                taint(annotations::TAINT_DISK_PRESSURE, "NoSchedule"),
                (true, true),
            ),
            (
                "pid",
                plain(),
                taint(annotations::TAINT_PID_PRESSURE, "NoSchedule"),
                (true, true),
            ),
            (
                "network, plain",
                plain(),
                taint(annotations::TAINT_NETWORK_UNAVAILABLE, "NoSchedule"),
                (false, true),
            ),
            (
                "network, host",
                host(),
                taint(annotations::TAINT_NETWORK_UNAVAILABLE, "NoSchedule"),
                (true, true),
            ),
            (
                "not ready",
                plain(),
                taint(annotations::TAINT_NOT_READY, "NoSchedule"),
                (false, true),
            ),
            (
                "not ready, evicting",
                plain(),
                taint(annotations::TAINT_NOT_READY, "NoExecute"),
                (true, true),
            ),
            (
                "unreachable",
                plain(),
                taint(annotations::TAINT_UNREACHABLE, "NoSchedule"),
                (false, true),
            ),
            (
                "out of service",
                plain(),
                taint(annotations::TAINT_OUT_OF_SERVICE, "NoExecute"),
                (false, false),
            ),
            (
                "user NoSchedule",
                plain(),
                taint("k", "NoSchedule"),
                (false, true),
            ),
            ("user NoExecute", plain(), taint("k", "NoExecute"), (false, false)),
            (
                "user Prefer",
                plain(),
                taint("k", "PreferNoSchedule"),
                (true, true),
            ),
            (
                "tolerates all",
                json!({"containers": [], "tolerations": [{"operator": "Exists"}]}),
                taint("k", "NoExecute"),
                (true, true),
            ),
            (
                "selector",
                json!({"containers": [], "nodeSelector": {"disk": "ssd"}}),
                json!([]),
                (true, true),
            ),
            (
                "selector misses",
                json!({"containers": [], "nodeSelector": {"disk": "hdd"}}),
                json!([]),
                (false, false),
            ),
            (
                "this node",
                json!({"containers": [], "nodeName": "n1"}),
                json!([]),
                (true, true),
            ),
            (
                "another node",
                json!({"containers": [], "nodeName": "n2"}),
                json!([]),
                (false, false),
            ),
        ] {
            let got = should_run(&template(spec), &node(taints));
            assert_eq!((got.run, got.continue_), want, "{name}");
            assert_eq!(got.reasons.is_empty(), got.run && got.continue_, "{name}");
        }
    }

    #[test]
    fn automatic_tolerations_in_order_and_dropping_seconds() {
        let spec = template(json!({"containers": [], "hostNetwork": true, "tolerations": [
            {"key": annotations::TAINT_NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}))
        .spec
        .unwrap();
        let got = tolerations(&spec);
        assert_eq!(got.len(), 7);
        assert!(
            got.iter()
                .all(|t| t.toleration_seconds.is_none() && t.operator.as_deref() == Some("Exists"))
        );
        assert_eq!(
            got[6].key.as_deref(),
            Some(annotations::TAINT_NETWORK_UNAVAILABLE)
        );
    }

    #[test]
    fn pods_that_new_nodes_wait_for_tolerate_the_gate_and_no_others_do() {
        let mut set: DaemonSet =
            serde_json::from_value(json!({"metadata": {"name": "cni"}, "spec": {"selector": {}, "template": {"spec": {"containers": []}}}}))
                .unwrap();
        let gate = |set: &DaemonSet| {
            let tolerations = pod_for_node(set, "h", "n").spec.unwrap().tolerations.unwrap();
            tolerations
                .iter()
                .any(|t| t.key.as_deref() == Some(annotations::NODE_GATE_TAINT))
        };
        assert!(!gate(&set));
        set.metadata.annotations = Some([(annotations::NODE_GATE.to_owned(), "true".to_owned())].into());
        assert!(gate(&set));
    }

    #[test]
    fn a_pod_is_made_for_one_node() {
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "u", "annotations": {"deprecated.daemonset.template.generation": "3"}},
            "spec": {"selector": {}, "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"x": "y"}, "finalizers": ["a/b"], "name": "dropped"},
                "spec": {"containers": [{"name": "c"}], "nodeSelector": {"disk": "ssd"}, "affinity": {"nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}}}}
        }))
        .unwrap();
        let pod = pod_for_node(&set, "abc", "n1");
        let meta = &pod.metadata;
        assert_eq!(
            (meta.generate_name.as_deref(), meta.name.as_deref()),
            (Some("web-"), None)
        );
        assert_eq!(meta.namespace.as_deref(), Some("ns"));
        let labels = meta.labels.as_ref().unwrap();
        assert_eq!(
            (
                labels["app"].as_str(),
                labels["controller-revision-hash"].as_str(),
                labels["pod-template-generation"].as_str()
            ),
            ("web", "abc", "3")
        );
        assert_eq!(meta.finalizers.as_deref(), Some(&["a/b".to_owned()][..]));
        assert_eq!(meta.owner_references.as_ref().unwrap()[0].uid, "u");
        assert_eq!(node_of(&pod), Some("n1"));
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(
            (spec.node_name.as_deref(), spec.node_selector.is_some()),
            (None, true)
        );
        let terms = &spec
            .affinity
            .as_ref()
            .unwrap()
            .node_affinity
            .as_ref()
            .unwrap()
            .required_during_scheduling_ignored_during_execution
            .as_ref()
            .unwrap()
            .node_selector_terms;
        assert_eq!(terms.len(), 1);
        assert!(terms[0].match_expressions.is_none());
    }
}
