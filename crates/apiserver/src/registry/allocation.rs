//! Addresses and node ports of Services: each is given once, whichever server gives it (contract §18).
//!
//! What is taken is what the stored Services say. Every write that takes something also replaces one key, and only
//! over the version that was read before looking: of two that look at the same time, one looks again.
use crate::ApiServer;
use crate::http::Call;
use crate::resources::services::{self, has_cluster_ip, has_node_ports, text};
use crate::resources::{Resource, fill};
use crate::status::{ApiError, Cause, cause};
use orlop_store::{Compare, Op, Revision};
use rand::Rng;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The key that every write which takes something replaces.
const GUARD: &str = "/registry/orlop/service-allocation";
/// Larger ranges are used up to here; upstream's limit for IPv6.
const ADDRESSES_MAX: u128 = 1 << 20;

/// The addresses that Services get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRange {
    first: IpAddr,
    prefix: u8,
}

/// A range that isn't one.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no range of addresses such as 10.96.0.0/12")]
pub struct BadRange(String);

impl Default for ServiceRange {
    /// kubeadm's.
    fn default() -> Self {
        Self {
            first: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)),
            prefix: 12,
        }
    }
}

impl FromStr for ServiceRange {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        let bad = || BadRange(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let (first, prefix): (IpAddr, u8) = (
            address.parse().map_err(|_| bad())?,
            prefix.parse().map_err(|_| bad())?,
        );
        let bits = if first.is_ipv4() { 32 } else { 128 };
        // At least the network, the API server's own address, and one for others.
        if prefix > bits - 2 {
            return Err(bad());
        }
        let range = Self { first, prefix };
        Ok(Self {
            first: range.at(0),
            prefix,
        })
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl ServiceRange {
    fn host_bits(&self) -> u32 {
        let bits = if self.first.is_ipv4() { 32 } else { 128 };
        bits - u32::from(self.prefix)
    }

    /// Addresses that can be given: neither the network itself nor, for IPv4, its broadcast address.
    fn usable(&self) -> u128 {
        let all = 1u128.checked_shl(self.host_bits()).unwrap_or(u128::MAX);
        let reserved = if self.first.is_ipv4() { 2 } else { 1 };
        (all - reserved).min(ADDRESSES_MAX)
    }

    /// The address so many after the network's.
    fn at(&self, offset: u128) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let mask = u32::MAX.checked_shl(self.host_bits()).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits((first.to_bits() & mask) + offset as u32))
            }
            IpAddr::V6(first) => {
                let mask = u128::MAX.checked_shl(self.host_bits()).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits((first.to_bits() & mask) + offset))
            }
        }
    }

    /// The address of the API server itself.
    pub fn api_server(&self) -> IpAddr {
        self.at(1)
    }

    /// Whether the range can give this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let offset = match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                address.to_bits().checked_sub(first.to_bits()).map(u128::from)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => address.to_bits().checked_sub(first.to_bits()),
            _ => None,
        };
        offset.is_some_and(|offset| (1..=self.usable()).contains(&offset))
    }

    /// A free address; those that are asked for by name come from the lower part, so it is used last.
    fn free(&self, taken: &HashSet<IpAddr>, random: u128) -> Option<IpAddr> {
        let usable = self.usable();
        let lower = (usable / 16).clamp(16, 256).min(usable);
        let upper = usable - lower;
        let upper_first = (0..upper).map(|n| lower + 1 + (n + random % upper.max(1)) % upper.max(1));
        upper_first
            .chain(1..=lower)
            .map(|offset| self.at(offset))
            .find(|address| !taken.contains(address))
    }

    fn family(&self) -> &'static str {
        if self.first.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

/// Where Services get their addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNetwork {
    pub addresses: ServiceRange,
    pub node_ports: RangeInclusive<u16>,
}

impl Default for ServiceNetwork {
    fn default() -> Self {
        Self {
            addresses: ServiceRange::default(),
            node_ports: 30000..=32767,
        }
    }
}

/// What has to hold, and to be written, together with the Service.
pub struct Guard {
    pub compare: Compare,
    pub put: Op,
}

/// What other Services have.
#[derive(Debug, Default)]
struct Taken {
    addresses: HashSet<IpAddr>,
    /// With the protocol.
    ports: HashSet<(u16, String)>,
}

/// Whether objects of this resource get something that is given once.
pub fn is_needed(resource: &Resource) -> bool {
    resource.storage == services::STORAGE
}

/// Gives a Service what it needs and doesn't have. `None`: it needs nothing, or is no Service.
pub async fn allocate(call: &Call, service: &mut Value) -> Result<Option<Guard>, ApiError> {
    if !is_needed(call.resource) {
        return Ok(None);
    }
    let server = &call.server;
    let held = server
        .store
        .get(GUARD)
        .await?
        .map_or(Revision(0), |kv| kv.mod_revision);
    server.cache.reach(held.0).await;
    let own = crate::registry::text(service, "uid").to_owned();
    let mut taken = Taken::default();
    let mut before = None;
    let storage = super::get::storage(call)?;
    for object in server.cache.snapshot(storage, "").objects {
        let other = object.value();
        if crate::registry::text(&other, "uid") == own {
            before = Some(other);
        } else {
            note(&other, &mut taken);
        }
    }
    let random = rand::rng().random();
    let network = Network {
        ranges: ranges(server),
        node_ports: &server.services.node_ports,
    };
    let changed = assign(service, before.as_ref(), &taken, &network, random)
        .map_err(|causes| ApiError::invalid(call.resource, crate::registry::text(service, "name"), causes))?;
    Ok(changed.then(|| Guard {
        compare: Compare::mod_revision(GUARD, held),
        put: Op::put(GUARD, own.into_bytes().into(), None),
    }))
}

/// Where one Service gets its address and ports.
struct Network<'n> {
    /// The server's own first.
    ranges: Vec<ServiceRange>,
    node_ports: &'n RangeInclusive<u16>,
}

/// The server's own range, and those of ServiceCIDRs.
fn ranges(server: &ApiServer) -> Vec<ServiceRange> {
    let mut ranges = vec![server.services.addresses];
    let added = server.cache.values_of("networking.k8s.io", "servicecidrs");
    ranges.extend(added.iter().flat_map(offered));
    let mut seen = HashSet::new();
    ranges.retain(|range| seen.insert(*range));
    ranges
}

/// The ranges of a ServiceCIDR that addresses are still given from. What is too small to hold any is none.
pub fn offered(cidr: &Value) -> Vec<ServiceRange> {
    if !cidr["metadata"]["deletionTimestamp"].is_null() {
        return Vec::new();
    }
    let cidrs = cidr["spec"]["cidrs"].as_array().into_iter().flatten();
    cidrs.filter_map(|cidr| cidr.as_str()?.parse().ok()).collect()
}

fn note(service: &Value, taken: &mut Taken) {
    let addresses = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    let parsed = addresses.filter_map(|a| a.as_str()?.parse::<IpAddr>().ok());
    taken.addresses.extend(parsed);
    for port in service["spec"]["ports"].as_array().into_iter().flatten() {
        if let Some(number) = port["nodePort"].as_u64().and_then(|n| u16::try_from(n).ok()) {
            taken.ports.insert((number, protocol(port)));
        }
    }
}

fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_owned()
}

/// Pure: gives a Service what it needs, given what others have and what it had. Answers whether it took anything.
fn assign(
    service: &mut Value,
    before: Option<&Value>,
    taken: &Taken,
    network: &Network<'_>,
    random: u64,
) -> Result<bool, Vec<Cause>> {
    let mut changed = false;
    if has_cluster_ip(service) {
        changed |= assign_address(service, before, taken, &network.ranges, u128::from(random))?;
    }
    if has_node_ports(service) {
        changed |= assign_ports(service, before, taken, network.node_ports, random)?;
    }
    Ok(changed)
}

fn assign_address(
    service: &mut Value,
    before: Option<&Value>,
    taken: &Taken,
    ranges: &[ServiceRange],
    random: u128,
) -> Result<bool, Vec<Cause>> {
    // What isn't asked for by name is of the first range's family.
    let usual = ranges.first().map_or("IPv4", ServiceRange::family);
    let listed = service["spec"]["clusterIPs"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let wanted = match text(service, "clusterIP") {
        "" => listed,
        given => given.to_owned(),
    };
    let had = before.map(|b| text(b, "clusterIP")).unwrap_or_default();
    let refused = |why: &str| {
        let what = json!([wanted]);
        let hint = format!("failed to allocate IP {wanted}: {why}");
        vec![cause::invalid("spec.clusterIPs", &what, &hint)]
    };
    let (address, takes) = match wanted.as_str() {
        "None" => ("None".to_owned(), false),
        "" => {
            let mut alike = ranges.iter().filter(|range| range.family() == usual);
            match alike.find_map(|range| range.free(&taken.addresses, random)) {
                Some(free) => (free.to_string(), true),
                None => return Err(refused("range is full")),
            }
        }
        given if given == had => (wanted.clone(), false),
        given => {
            let Ok(address) = given.parse::<IpAddr>() else {
                let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                return Err(vec![cause::invalid("spec.clusterIPs[0]", &json!(given), why)]);
            };
            if !ranges.iter().any(|range| range.contains(address)) {
                let valid: Vec<String> = ranges.iter().map(ServiceRange::to_string).collect();
                return Err(refused(&format!(
                    "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                    valid.join(",")
                )));
            }
            if taken.addresses.contains(&address) {
                return Err(refused("provided IP is already allocated"));
            }
            (address.to_string(), true)
        }
    };
    let family = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => "IPv4",
        Ok(IpAddr::V6(_)) => "IPv6",
        Err(_) => usual,
    };
    let spec = &mut service["spec"];
    spec["clusterIP"] = json!(address);
    spec["clusterIPs"] = json!([address]);
    fill(spec, "ipFamilies", || json!([family]));
    fill(spec, "ipFamilyPolicy", || json!("SingleStack"));
    Ok(takes)
}

fn assign_ports(
    service: &mut Value,
    before: Option<&Value>,
    taken: &Taken,
    range: &RangeInclusive<u16>,
    random: u64,
) -> Result<bool, Vec<Cause>> {
    let mut had = Taken::default();
    if let Some(before) = before {
        note(before, &mut had);
    }
    let mut given: HashSet<(u16, String)> = HashSet::new();
    let mut changed = false;
    let mut causes = Vec::new();
    let ports = service["spec"]["ports"].as_array_mut().into_iter().flatten();
    for (number, port) in ports.enumerate() {
        let protocol = protocol(port);
        let field = format!("spec.ports[{number}].nodePort");
        let asked = port["nodePort"].as_u64().unwrap_or_default();
        if asked == 0 {
            let count = u64::from(range.end() - range.start()) + 1;
            let free = (0..count)
                .filter_map(|n| u16::try_from(u64::from(*range.start()) + (n + random) % count).ok())
                .find(|p| {
                    let key = (*p, protocol.clone());
                    !taken.ports.contains(&key) && !given.contains(&key)
                });
            match free {
                Some(free) => {
                    port["nodePort"] = json!(free);
                    given.insert((free, protocol));
                    changed = true;
                }
                None => causes.push(cause::invalid(
                    &field,
                    &json!(0),
                    "failed to allocate a nodePort: range is full",
                )),
            }
            continue;
        }
        let key = (u16::try_from(asked).unwrap_or_default(), protocol);
        if had.ports.contains(&key) {
            given.insert(key);
        } else if !range.contains(&key.0) {
            let hint = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start(),
                range.end()
            );
            causes.push(cause::invalid(&field, &port["nodePort"], &hint));
        } else if taken.ports.contains(&key) {
            causes.push(cause::invalid(
                &field,
                &port["nodePort"],
                "provided port is already allocated",
            ));
        } else {
            given.insert(key);
            changed = true;
        }
    }
    if causes.is_empty() {
        Ok(changed)
    } else {
        Err(causes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "s"}, "spec": spec})
    }

    fn assigned(spec: Value, taken: &Taken) -> Result<Value, String> {
        assigned_from(vec![ServiceRange::default()], spec, taken)
    }

    fn assigned_from(ranges: Vec<ServiceRange>, spec: Value, taken: &Taken) -> Result<Value, String> {
        let mut service = service(spec);
        let network = Network {
            ranges,
            node_ports: &ServiceNetwork::default().node_ports,
        };
        match assign(&mut service, None, taken, &network, 5) {
            Ok(_) => Ok(service["spec"].clone()),
            Err(causes) => Err(format!("{}: {}", causes[0].field, causes[0].message)),
        }
    }

    #[test]
    fn addresses_come_from_the_upper_part_and_are_given_once() {
        let spec = assigned(json!({"type": "ClusterIP"}), &Taken::default()).unwrap();
        assert_eq!(spec["clusterIP"], "10.96.1.6");
        assert_eq!(spec["clusterIPs"], json!(["10.96.1.6"]));
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
        let mut taken = Taken::default();
        note(&service(spec), &mut taken);
        let spec = assigned(json!({"type": "ClusterIP"}), &taken).unwrap();
        assert_eq!(spec["clusterIP"], "10.96.1.7");
        assert_eq!(
            assigned(json!({"clusterIP": "10.96.1.6"}), &taken).unwrap_err(),
            "spec.clusterIPs: Invalid value: [\"10.96.1.6\"]: failed to allocate IP 10.96.1.6: provided IP is already allocated"
        );
        assert!(
            assigned(json!({"clusterIP": "11.0.0.1"}), &taken)
                .unwrap_err()
                .contains("is 10.96.0.0/12")
        );
        assert_eq!(
            assigned(json!({"clusterIP": "None"}), &taken).unwrap()["clusterIPs"],
            json!(["None"])
        );
        assert_eq!(
            assigned(json!({"type": "ExternalName"}), &taken)
                .unwrap()
                .get("clusterIP"),
            None
        );
    }

    #[test]
    fn a_service_cidr_adds_addresses_until_it_is_to_go() {
        let mut cidr =
            json!({"metadata": {}, "spec": {"cidrs": ["10.1.0.0/24", "fd00::/120", "10.2.0.0/32"]}});
        let added = offered(&cidr);
        assert_eq!(added.len(), 2, "one address alone is no range");
        cidr["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(offered(&cidr).is_empty());
        let small: ServiceRange = "10.0.0.0/30".parse().unwrap();
        let ranges = [vec![small], added].concat();
        let mut taken = Taken::default();
        let given = |spec: Value, taken: &Taken| assigned_from(ranges.clone(), spec, taken);
        for _ in 0..2 {
            let spec = given(json!({}), &taken).unwrap();
            assert!(
                spec["clusterIP"].as_str().unwrap().starts_with("10.0.0."),
                "{spec}"
            );
            note(&service(spec), &mut taken);
        }
        let spec = given(json!({}), &taken).unwrap();
        assert!(
            spec["clusterIP"].as_str().unwrap().starts_with("10.1.0."),
            "the first is full: {spec}"
        );
        let spec = given(json!({"clusterIP": "fd00::7"}), &taken).unwrap();
        assert_eq!(
            (&spec["clusterIPs"], &spec["ipFamilies"]),
            (&json!(["fd00::7"]), &json!(["IPv6"]))
        );
        assert!(
            given(json!({"clusterIP": "10.3.0.1"}), &taken)
                .unwrap_err()
                .ends_with("is 10.0.0.0/30,10.1.0.0/24,fd00::/120")
        );
    }

    #[test]
    fn node_ports_are_given_once_for_each_protocol() {
        let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}]);
        let spec = assigned(json!({"type": "NodePort", "ports": ports}), &Taken::default()).unwrap();
        let given: Vec<&Value> = spec["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| &p["nodePort"])
            .collect();
        assert_eq!(given, [30005, 30006, 30005]);
        let mut taken = Taken::default();
        note(&service(spec), &mut taken);
        let again = json!({"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": 30005}]});
        assert_eq!(
            assigned(again, &taken).unwrap_err(),
            "spec.ports[0].nodePort: Invalid value: 30005: provided port is already allocated"
        );
        let outside = json!({"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": 80}]});
        assert!(assigned(outside, &taken).unwrap_err().contains("30000-32767"));
    }

    #[test]
    fn ranges_are_read_and_bounded() {
        let range: ServiceRange = "10.0.0.9/24".parse().unwrap();
        assert_eq!(
            (range.to_string(), range.usable()),
            ("10.0.0.0/24".to_owned(), 254)
        );
        assert_eq!(range.api_server().to_string(), "10.0.0.1");
        assert!(
            !range.contains("10.0.0.0".parse().unwrap()) && !range.contains("10.0.0.255".parse().unwrap())
        );
        let all: HashSet<IpAddr> = (1..=254).map(|n| range.at(n)).collect();
        assert_eq!(range.free(&all, 3), None);
        let mut but_one = all;
        but_one.remove(&range.at(200));
        assert_eq!(range.free(&but_one, 77), Some(range.at(200)));
        assert_eq!(
            "fd00::/64"
                .parse::<ServiceRange>()
                .unwrap()
                .api_server()
                .to_string(),
            "fd00::1"
        );
        for bad in ["10.0.0.0", "10.0.0.0/31", "x/8", "10.0.0.0/33"] {
            assert!(bad.parse::<ServiceRange>().is_err(), "{bad}");
        }
    }
}
