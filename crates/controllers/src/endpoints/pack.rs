//! Puts ports together that lead to the same addresses, as upstream does.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EndpointAddress;
use serde::Serialize;

/// Ports that lead to some addresses, and those with whether they are ready.
pub struct Part<'e, P> {
    /// None if it is all ports.
    pub ports: Vec<P>,
    /// By address, if it was packed.
    pub addresses: Vec<(&'e EndpointAddress, bool)>,
}

/// An address, and what it stands for.
type Identity<'e> = (&'e str, Option<&'e str>);
/// Whether it is all ports, and to which addresses, with whether those are ready, they lead.
type Reach<'e> = (bool, Vec<(Identity<'e>, bool)>);
type Addresses<'e> = BTreeMap<Identity<'e>, (&'e EndpointAddress, bool)>;

/// The same, each port once, and each list of addresses once. An address that is not ready in one of the parts is not
/// ready.
pub fn pack<'e, P: Serialize>(parts: impl IntoIterator<Item = Part<'e, P>>) -> Vec<Part<'e, P>> {
    let mut by_port: BTreeMap<String, (Option<P>, Addresses<'e>)> = BTreeMap::new();
    for part in parts {
        // A part without ports is one of all ports.
        let mut ports: Vec<Option<P>> = part.ports.into_iter().map(Some).collect();
        if ports.is_empty() {
            ports.push(None);
        }
        for port in ports {
            let key = serde_json::to_string(&port).unwrap_or_default();
            let (_, addresses) = by_port.entry(key).or_insert_with(|| (port, Addresses::new()));
            for (address, ready) in &part.addresses {
                let target = address.target_ref.as_ref();
                let identity = (&*address.ip, target.and_then(|target| target.uid.as_deref()));
                let known = addresses.entry(identity).or_insert((address, *ready));
                known.1 &= ready;
            }
        }
    }
    let mut by_addresses: BTreeMap<Reach<'e>, Part<'e, P>> = BTreeMap::new();
    for (_, (port, addresses)) in by_port {
        let key = addresses
            .iter()
            .map(|(identity, (_, ready))| (*identity, *ready))
            .collect();
        // Of all ports and of some is not the same.
        let packed = by_addresses.entry((port.is_none(), key)).or_insert_with(|| Part {
            ports: Vec::new(),
            addresses: addresses.into_values().collect(),
        });
        packed.ports.extend(port);
    }
    by_addresses.into_values().collect()
}
