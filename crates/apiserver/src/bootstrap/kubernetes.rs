//! The Service `default/kubernetes`, by which programs in pods find the API server, where it leads, and the ServiceCIDR
//! of the addresses that Services get, of which it has the first.
use crate::registry::{ServiceNetwork, now};
use crate::upkeep::address_object;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// An object that has to be there, and the members of it that are the server's to say.
pub struct Wanted {
    pub group: &'static str,
    pub plural: &'static str,
    pub object: Value,
    pub owned: &'static [&'static str],
}

/// `advertise`: where the server is reached. Endpoints may not be of this machine alone, so a server that is only
/// reached from here has none.
pub fn objects(advertise: SocketAddr, network: &ServiceNetwork) -> Vec<Wanted> {
    let address = network.addresses.api_server();
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
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
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": advertise.port()}],
            },
            "status": {"loadBalancer": {}},
        }),
        owned: &["spec"],
    }];
    wanted.push(Wanted {
        group: "networking.k8s.io",
        plural: "servicecidrs",
        object: json!({
            "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": [network.addresses.to_string()]},
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
    let ip = advertise.ip();
    if ip.is_loopback() || ip.is_unspecified() {
        return wanted;
    }
    let port = json!([{"name": "https", "port": advertise.port(), "protocol": "TCP"}]);
    wanted.push(Wanted {
        group: "",
        plural: "endpoints",
        object: json!({
            "metadata": metadata(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
            "subsets": [{"addresses": [{"ip": ip}], "ports": port}],
        }),
        owned: &["subsets"],
    });
    wanted.push(Wanted {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        object: json!({
            "metadata": metadata(json!({"kubernetes.io/service-name": "kubernetes"})),
            "addressType": if ip.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
            "ports": port,
        }),
        owned: &["endpoints", "ports"],
    });
    wanted
}

/// The stored object with what is the server's put right; `None` if it is.
pub fn corrected(stored: &Value, wanted: &Wanted) -> Option<Value> {
    let wrong = |key: &&&str| stored[**key] != wanted.object[**key];
    let wrong: Vec<&&str> = wanted.owned.iter().filter(wrong).collect();
    if wrong.is_empty() {
        return None;
    }
    let mut corrected = stored.clone();
    for key in wrong {
        corrected[*key] = wanted.object[*key].clone();
    }
    Some(corrected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_another_address_is_found_there() {
        let network = ServiceNetwork::default();
        let before = objects("10.0.0.1:6443".parse().unwrap(), &network);
        let after = objects("10.0.0.2:6443".parse().unwrap(), &network);
        assert_eq!(before[0].object["spec"]["clusterIP"], "10.96.0.1");
        for (old, new) in before.iter().zip(&after) {
            assert!(corrected(&old.object, old).is_none());
            let changed = corrected(&old.object, new);
            let moves = !matches!(new.plural, "services" | "servicecidrs" | "ipaddresses");
            assert_eq!(changed.is_some(), moves, "{}", new.plural);
        }
        assert_eq!(objects("127.0.0.1:6443".parse().unwrap(), &network).len(), 3);
    }
}
