//! Why a node doesn't suit, in words that name the values compared.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use super::{NodeFacts, Reason, term_matches};
use crate::{pod, taints};

/// `reason` for which `spec` doesn't get on `node`, with what was compared.
pub fn explain(reason: &Reason, spec: &PodSpec, node: &dyn NodeFacts) -> String {
    match reason {
        Reason::NodeUnschedulable => "cordoned (spec.unschedulable)".to_owned(),
        Reason::NodeName => format!(
            "node name {}, wants {}",
            node.name(),
            spec.node_name.as_deref().unwrap_or_default()
        ),
        Reason::TaintToleration { taint } => format!("taint {} not tolerated", taints::display(taint)),
        Reason::NodeAffinity => mismatch(spec, node),
        Reason::NodePorts => {
            let ports: Vec<String> = pod::host_ports(spec)
                .iter()
                .map(|port| format!("{}/{}", port.port, port.protocol))
                .collect();
            format!("host port {} is taken", ports.join(" or "))
        }
        Reason::TooManyPods { used, capacity } => format!("pods: {used} of {capacity} are there"),
        Reason::Insufficient {
            resource,
            requested,
            used,
            capacity,
        } => {
            let [requested, used, capacity] =
                [requested, used, capacity].map(|amount| amount_of(resource, *amount));
            format!("{resource}: wants {requested}, {used} of {capacity} are taken")
        }
        // These are about more than the pod and the node; the reason says what there is to say.
        Reason::EnforcedAffinity
        | Reason::ClaimInUse
        | Reason::VolumeLimit
        | Reason::VolumeNodeAffinity
        | Reason::VolumeBinding
        | Reason::VolumeRoom
        | Reason::VolumeLost
        | Reason::VolumeZone
        | Reason::TopologySpread
        | Reason::TopologySpreadLabel
        | Reason::PodAffinity
        | Reason::PodAntiAffinity
        | Reason::ExistingPodsAntiAffinity => reason.to_string(),
    }
}

/// The first label or name that nodeSelector or required node affinity doesn't find as wanted.
fn mismatch(spec: &PodSpec, node: &dyn NodeFacts) -> String {
    for (key, want) in spec.node_selector.iter().flatten() {
        let have = node.label(key);
        if have != Some(want.as_str()) {
            return format!("{}, wants {want}", shown(key, have));
        }
    }
    let terms = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        })
        .map(|selector| selector.node_selector_terms.as_slice())
        .unwrap_or_default();
    let mut told: Vec<String> = Vec::new();
    for term in terms.iter().filter(|term| !term_matches(term, node)) {
        let why = of_term(term, node);
        if !told.contains(&why) {
            told.push(why);
        }
    }
    if told.is_empty() {
        return "required node affinity has no term".to_owned();
    }
    told.join("; or ")
}

fn of_term(term: &NodeSelectorTerm, node: &dyn NodeFacts) -> String {
    let alone = |requirement: &NodeSelectorRequirement, field: bool| {
        let requirement = vec![requirement.clone()];
        let (expressions, fields) = if field {
            (None, Some(requirement))
        } else {
            (Some(requirement), None)
        };
        NodeSelectorTerm {
            match_expressions: expressions,
            match_fields: fields,
        }
    };
    let expressions = term.match_expressions.iter().flatten().map(|one| (one, false));
    let fields = term.match_fields.iter().flatten().map(|one| (one, true));
    for (requirement, field) in expressions.chain(fields) {
        if !term_matches(&alone(requirement, field), node) {
            return of_requirement(requirement, field, node);
        }
    }
    "an empty term matches no node".to_owned()
}

fn of_requirement(requirement: &NodeSelectorRequirement, field: bool, node: &dyn NodeFacts) -> String {
    let key = requirement.key.as_str();
    let have = if field {
        format!("node name {}", node.name())
    } else {
        shown(key, node.label(key))
    };
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" => format!("{have}, wants {}", values.join(" or ")),
        "NotIn" => format!("{have}, wants none of {}", values.join(", ")),
        "Exists" => have,
        "DoesNotExist" => format!("{have}, wants no such label"),
        "Gt" => format!("{have}, wants more than {}", values.join(", ")),
        "Lt" => format!("{have}, wants less than {}", values.join(", ")),
        other => format!("operator {other} is unknown"),
    }
}

fn shown(key: &str, have: Option<&str>) -> String {
    match have {
        Some(value) => format!("label {key}={value}"),
        None => format!("label {key} is missing"),
    }
}

/// Thousandths of a cpu, or bytes in the largest unit that divides them.
fn amount_of(resource: &str, amount: i64) -> String {
    if resource == "cpu" {
        return format!("{amount}m");
    }
    let bytes = resource == "memory" || resource == "ephemeral-storage" || resource.starts_with("hugepages-");
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    let unit = units
        .into_iter()
        .find(|(bits, _)| bytes && amount != 0 && amount % (1_i64 << bits) == 0);
    match unit {
        Some((bits, unit)) => format!("{}{unit}", amount >> bits),
        None => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NodeUsage, node_filters};
    use k8s_openapi::api::core::v1::Node;

    use super::*;
    use serde_json::json;

    fn why(spec: serde_json::Value) -> String {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "4"}},
            "spec": {"taints": [{"key": "disk", "value": "full", "effect": "NoSchedule"}]},
            "status": {"allocatable": {"cpu": "4", "memory": "1Gi", "pods": "10"}}}))
        .unwrap();
        let mut spec: PodSpec = serde_json::from_value(spec).unwrap();
        if spec.tolerations.is_none() {
            spec.tolerations = serde_json::from_value(json!([{"operator": "Exists"}])).unwrap();
        }
        let reasons = node_filters(&spec, &node, &NodeUsage::default());
        let told: Vec<String> = reasons
            .iter()
            .map(|reason| explain(reason, &spec, &node))
            .collect();
        told.join(" + ")
    }

    fn affinity(terms: serde_json::Value) -> serde_json::Value {
        json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": terms}}}})
    }

    #[test]
    fn a_refusal_names_what_was_compared() {
        let one = |key: &str, operator: &str, values: &[&str]| {
            affinity(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        for (spec, want) in [
            (
                json!({"containers": [], "tolerations": []}),
                "taint disk=full:NoSchedule not tolerated",
            ),
            (
                json!({"containers": [], "nodeName": "n2"}),
                "node name n1, wants n2",
            ),
            (
                json!({"containers": [], "nodeSelector": {"zone": "b"}}),
                "label zone=a, wants b",
            ),
            (
                json!({"containers": [], "nodeSelector": {"gpu": "1"}}),
                "label gpu is missing, wants 1",
            ),
            (one("zone", "In", &["b", "c"]), "label zone=a, wants b or c"),
            (one("zone", "NotIn", &["a"]), "label zone=a, wants none of a"),
            (one("gpu", "Exists", &[]), "label gpu is missing"),
            (
                one("zone", "DoesNotExist", &[]),
                "label zone=a, wants no such label",
            ),
            (one("cores", "Gt", &["8"]), "label cores=4, wants more than 8"),
            (
                affinity(
                    json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]},
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]),
                ),
                "node name n1, wants n2; or label zone=a, wants b",
            ),
            (
                json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "4500m", "memory": "2Gi"}}}]}),
                "cpu: wants 4500m, 0m of 4000m are taken + memory: wants 2Gi, 0 of 1Gi are taken",
            ),
        ] {
            assert_eq!(why(spec), want);
        }
    }
}
