//! Which addresses a pod is reached at. Pure.
use crate::runtime::seen::SeenPod;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::is_host_network;
use std::net::IpAddr;

/// Those of its network, or of the node that it shares the network of.
pub fn of_pod(pod: &Pod, seen: &SeenPod, of_node: &[String]) -> Vec<String> {
    if pod.spec.as_ref().is_some_and(is_host_network) {
        return of_node.to_vec();
    }
    let given = seen.sandbox().map(|sandbox| sandbox.ips.as_slice());
    chosen(given.unwrap_or_default(), of_node)
}

/// Networks give any number of addresses in any order; the API takes one of each family, and the first is the one that
/// others use: it is of the family of the node's own first address.
pub fn chosen(given: &[String], of_node: &[String]) -> Vec<String> {
    let family = |ip: &String| Some(ip.parse::<IpAddr>().ok()?.is_ipv6());
    let first = of_node.first().and_then(family).unwrap_or(false);
    let of = |wanted: bool| given.iter().find(|ip| family(ip) == Some(wanted)).cloned();
    of(first).into_iter().chain(of(!first)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seen::testing::sandbox;
    use serde_json::json;

    #[test]
    fn pod_on_the_network_of_its_node_is_reached_there() {
        let seen = SeenPod {
            sandboxes: vec![sandbox("s", 0, true)],
            ..SeenPod::default()
        };
        let at = |host_network: bool, seen: &SeenPod| {
            let spec = json!({"hostNetwork": host_network, "containers": []});
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            of_pod(&pod, seen, &["192.0.2.1".to_owned()])
        };
        assert_eq!(at(true, &seen), ["192.0.2.1"]);
        assert_eq!(at(false, &seen), ["10.0.0.5"]);
        assert!(at(false, &SeenPod::default()).is_empty());
    }

    #[test]
    fn one_address_of_each_family_in_the_order_of_the_node() {
        for (given, of_node, expected) in [
            ("10.1.0.5", "192.0.2.1", "10.1.0.5"),
            ("fd00::5 10.1.0.5", "192.0.2.1 2001:db8::1", "10.1.0.5 fd00::5"),
            ("10.1.0.5 fd00::5", "2001:db8::1 192.0.2.1", "fd00::5 10.1.0.5"),
            ("fd00::5", "2001:db8::1", "fd00::5"),
            ("fd00::5", "192.0.2.1", "fd00::5"),
            ("fd00::5 10.1.0.5", "", "10.1.0.5 fd00::5"),
            (
                "10.1.0.5 10.2.0.5 fd00::5 fd01::5",
                "192.0.2.1",
                "10.1.0.5 fd00::5",
            ),
            ("nonsense", "192.0.2.1", ""),
            ("", "192.0.2.1", ""),
        ] {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(
                chosen(&words(given), &words(of_node)),
                words(expected),
                "{given} on {of_node}"
            );
        }
    }
}
