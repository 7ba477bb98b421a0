//! How pods of different nodes reach each other: every node routes the others' ranges to their addresses (pure).
use k8s_openapi::api::core::v1::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Where pods of another node are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub range: String,
    pub via: IpAddr,
}

/// What is known of the nodes' ranges.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    nodes: BTreeMap<String, (Option<String>, Option<IpAddr>)>,
}

impl Ranges {
    pub fn see(&mut self, node: &Node) {
        let range = node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone());
        let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
        let internal = addresses
            .into_iter()
            .flatten()
            .find(|address| address.type_ == "InternalIP")
            .and_then(|address| address.address.parse().ok());
        let name = node.metadata.name.clone().unwrap_or_default();
        self.nodes.insert(name, (range, internal));
    }

    pub fn forget(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Before a full list.
    pub fn forget_all(&mut self) {
        self.nodes.clear();
    }

    /// The range of a node.
    pub fn of(&self, name: &str) -> Option<&str> {
        self.nodes.get(name)?.0.as_deref()
    }

    /// The routes that a node needs.
    pub fn routes(&self, own: &str) -> BTreeSet<Route> {
        self.nodes
            .iter()
            .filter(|(name, _)| *name != own)
            .filter_map(|(_, (range, via))| {
                Some(Route {
                    range: range.clone()?,
                    via: (*via)?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, range: Option<&str>, address: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"podCIDR": range},
            "status": {"addresses": [
                {"type": "Hostname", "address": name},
                {"type": "InternalIP", "address": address},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn every_other_node_with_a_range_is_a_route() {
        let mut ranges = Ranges::default();
        ranges.see(&node("a", Some("10.244.0.0/24"), "10.0.0.1"));
        ranges.see(&node("b", Some("10.244.1.0/24"), "10.0.0.2"));
        ranges.see(&node("c", None, "10.0.0.3"));
        let routes = |ranges: &Ranges, own: &str| -> Vec<String> {
            ranges
                .routes(own)
                .into_iter()
                .map(|route| format!("{} via {}", route.range, route.via))
                .collect()
        };
        assert_eq!(routes(&ranges, "a"), ["10.244.1.0/24 via 10.0.0.2"]);
        assert_eq!(
            routes(&ranges, "c"),
            ["10.244.0.0/24 via 10.0.0.1", "10.244.1.0/24 via 10.0.0.2"]
        );
        assert_eq!(ranges.of("a"), Some("10.244.0.0/24"));
        ranges.forget("b");
        assert!(routes(&ranges, "a").is_empty());
    }
}
