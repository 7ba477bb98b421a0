//! The Service `default/kubernetes`, by which programs in pods find the API server, where it leads, and the ServiceCIDR
//! of the addresses that Services get, of which it has the first.
use crate::registry::{ServiceNetwork, now};
use crate::upkeep::{SERVICE_CIDR_FINALIZER, address_object};
use serde_json::{Value, json};
use std::net::IpAddr;

/// An object that has to be there, and the members of it that are the server's to say.
pub struct Wanted {
    pub group: &'static str,
    pub plural: &'static str,
    pub object: Value,
    pub owned: &'static [&'static str],
}

/// `addresses`: where servers are reached, in order; without one, the endpoints are left as they are.
pub fn objects(target_port: u16, addresses: &[IpAddr], network: &ServiceNetwork) -> Vec<Wanted> {
    let address = network.addresses.api_server();
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let ranges = network.ranges().into_iter();
    let cidrs: Vec<String> = ranges.map(|range| range.to_string()).collect();
    let metadata = |labels: Value| json!({"name": "kubernetes", "namespace": "default", "labels": labels});
    let mut wanted = vec![Wanted {
        group: "",
        plural: "services",
        object: json!({
            "metadata": metadata(json!({"component": "apiserver", "provider": "kubernetes"})),
            "spec": {
                "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
                "ipFamilies": [family], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": target_port}],
            },
            "status": {"loadBalancer": {}},
        }),
        owned: &["spec"],
    }];
    wanted.push(Wanted {
        group: "networking.k8s.io",
        plural: "servicecidrs",
        object: json!({
            "metadata": {"name": "kubernetes", "finalizers": [SERVICE_CIDR_FINALIZER]},
            "spec": {"cidrs": cidrs},
            "status": {"conditions": [{
                "type": "Ready", "status": "True", "lastTransitionTime": now(), "reason": "",
                "message": "Kubernetes default Service CIDR is ready"}]},
        }),
        owned: &[],
    });
    wanted.push(Wanted {
        group: "networking.k8s.io",
        plural: "ipaddresses",
        object: address_object(address, &wanted[0].object["metadata"]),
        owned: &["spec"],
    });
    let Some(first) = addresses.first() else {
        return wanted;
    };
    let port = json!([{"name": "https", "port": target_port, "protocol": "TCP"}]);
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    // A slice holds addresses of one family.
    let endpoints: Vec<Value> = addresses
        .iter()
        .filter(|ip| ip.is_ipv4() == first.is_ipv4())
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}))
        .collect();
    wanted.push(Wanted {
        group: "",
        plural: "endpoints",
        object: json!({
            "metadata": metadata(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
            "subsets": [{"addresses": ips, "ports": port}],
        }),
        owned: &["subsets"],
    });
    wanted.push(Wanted {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        object: json!({
            "metadata": metadata(json!({"kubernetes.io/service-name": "kubernetes"})),
            "addressType": if first.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": endpoints,
            "ports": port,
        }),
        owned: &["endpoints", "ports"],
    });
    wanted
}

/// The stored object with what is the server's put right; `None` if it is.
pub fn corrected(stored: &Value, wanted: &Wanted) -> Option<Value> {
    let wrong = |key: &&&str| stored[**key] != wanted.object[**key];
    let owned: &[&str] = match gains_family(stored, wanted) {
        true => &["spec"],
        false => wanted.owned,
    };
    let wrong: Vec<&&str> = owned.iter().filter(wrong).collect();
    if wrong.is_empty() {
        return None;
    }
    let mut corrected = stored.clone();
    for key in wrong {
        corrected[*key] = wanted.object[*key].clone();
    }
    Some(corrected)
}

/// Whether the cluster's ServiceCIDR has the first of two ranges only. Whoever still has one range leaves both.
fn gains_family(stored: &Value, wanted: &Wanted) -> bool {
    let cidrs = |object: &Value| object["spec"]["cidrs"].as_array().cloned().unwrap_or_default();
    wanted.plural == "servicecidrs"
        && matches!((&cidrs(stored)[..], &cidrs(&wanted.object)[..]), ([was], [first, _]) if was == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::ServiceRange;

    #[test]
    fn a_cluster_of_one_family_may_gain_the_other() {
        let network = |ranges: &[&str]| {
            let ranges: Vec<ServiceRange> = ranges.iter().map(|range| range.parse().unwrap()).collect();
            ServiceNetwork::new(&ranges, 30000..=32767).unwrap()
        };
        let [one, two, other] = [
            &["10.96.0.0/12"][..],
            &["10.96.0.0/12", "fd00::/112"][..],
            &["10.1.0.0/16", "fd00::/112"][..],
        ]
        .map(|ranges| objects(6443, &[], &network(ranges)));
        let service = &two[0].object["spec"];
        assert_eq!(
            (
                &service["clusterIPs"],
                &service["ipFamilies"],
                &service["ipFamilyPolicy"]
            ),
            (&json!(["10.96.0.1"]), &json!(["IPv4"]), &json!("SingleStack")),
            "the Service itself stays as it is"
        );
        let gained = corrected(&one[1].object, &two[1]).unwrap();
        assert_eq!(gained["spec"]["cidrs"], json!(["10.96.0.0/12", "fd00::/112"]));
        assert!(corrected(&gained, &two[1]).is_none());
        assert!(corrected(&gained, &one[1]).is_none());
        assert!(corrected(&one[1].object, &other[1]).is_none());
    }

    #[test]
    fn a_server_on_another_address_is_found_there() {
        let network = ServiceNetwork::default();
        let at = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            objects(6443, &addresses, &network)
        };
        let (before, after) = (at(&["10.0.0.1"]), at(&["10.0.0.2"]));
        assert_eq!(before[0].object["spec"]["clusterIP"], "10.96.0.1");
        for (old, new) in before.iter().zip(&after) {
            assert!(corrected(&old.object, old).is_none());
            let changed = corrected(&old.object, new);
            let moves = !matches!(new.plural, "services" | "servicecidrs" | "ipaddresses");
            assert_eq!(changed.is_some(), moves, "{}", new.plural);
        }
        assert_eq!(at(&[]).len(), 3);
        let three = at(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(
            three[3].object["subsets"][0]["addresses"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
        assert_eq!(three[4].object["endpoints"].as_array().unwrap().len(), 3);
    }
}
