//! Services and what they lead to.

use serde_json::Value;

use super::cells::{NONE, UNSET, age, first_three, list, name, number, or, pairs, text, texts};
use super::{AGE, NAME, TableSpec, string};

pub(super) static SERVICES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Type", "How the service is reached."),
        string("Cluster-IP", "Its address within the cluster."),
        string("External-IP", "Its addresses from outside."),
        string("Port(s)", "Its ports."),
        AGE,
        string("Selector", "Which pods it leads to.").wide(),
    ],
    |service, now| {
        let cluster = or(
            text(service, "/spec/clusterIPs/0"),
            text(service, "/spec/clusterIP"),
        );
        vec![
            name(service),
            text(service, "/spec/type").into(),
            or(cluster, NONE).into(),
            external(service).into(),
            ports(service).into(),
            age(service, now),
            pairs(service, "/spec/selector").into(),
        ]
    },
);

fn external(service: &Value) -> String {
    let mut addresses = Vec::new();
    match text(service, "/spec/type") {
        "ExternalName" => return text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = list(service, "/status/loadBalancer/ingress");
            addresses.extend(ingress.iter().map(|i| or(text(i, "/ip"), text(i, "/hostname"))));
            addresses.extend(texts(service, "/spec/externalIPs"));
            return or(&addresses.join(","), "<pending>").to_owned();
        }
        _ => addresses.extend(texts(service, "/spec/externalIPs")),
    }
    or(&addresses.join(","), NONE).to_owned()
}

fn ports(service: &Value) -> String {
    let port = |p: &Value| {
        let (port, node, protocol) = (number(p, "/port"), number(p, "/nodePort"), text(p, "/protocol"));
        if node == 0 {
            format!("{port}/{protocol}")
        } else {
            format!("{port}:{node}/{protocol}")
        }
    };
    let ports: Vec<String> = list(service, "/spec/ports").iter().map(port).collect();
    or(&ports.join(","), NONE).to_owned()
}

pub(super) static ENDPOINTS: TableSpec = TableSpec::new(
    &[NAME, string("Endpoints", "Addresses it leads to."), AGE],
    |endpoints, now| {
        let mut reached = Vec::new();
        for subset in list(endpoints, "/subsets") {
            let addresses = list(subset, "/addresses");
            let ports = list(subset, "/ports");
            for address in addresses {
                let ip = text(address, "/ip");
                if ports.is_empty() {
                    reached.push(ip.to_owned());
                }
                let with_port = |port| {
                    // Addresses of IPv6 are bracketed before a port.
                    if ip.contains(':') {
                        format!("[{ip}]:{port}")
                    } else {
                        format!("{ip}:{port}")
                    }
                };
                reached.extend(ports.iter().map(|p| with_port(number(p, "/port"))));
            }
        }
        vec![
            name(endpoints),
            first_three(&reached, NONE).into(),
            age(endpoints, now),
        ]
    },
);

pub(super) static ENDPOINT_SLICES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("AddressType", "Sort of its addresses."),
        string("Ports", "Ports of every address."),
        string("Endpoints", "Addresses it leads to."),
        AGE,
    ],
    |slice, now| {
        let port = |p: &Value| {
            p.get("port")
                .and_then(Value::as_i64)
                .map_or("*".to_owned(), |n| n.to_string())
        };
        let ports: Vec<String> = list(slice, "/ports").iter().map(port).collect();
        let addresses: Vec<String> = list(slice, "/endpoints")
            .iter()
            .flat_map(|e| texts(e, "/addresses"))
            .map(str::to_owned)
            .collect();
        vec![
            name(slice),
            text(slice, "/addressType").into(),
            first_three(&ports, UNSET).into(),
            first_three(&addresses, UNSET).into(),
            age(slice, now),
        ]
    },
);
