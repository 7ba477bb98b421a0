//! Ranges of addresses that Services get.
use crate::resources::services::family_of;
use orlop_api::cidr::Cidr;
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Larger ranges are used up to here; upstream's limit for IPv6.
const ADDRESSES_MAX: u128 = 1 << 20;

/// The addresses that Services get, by the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRange(Cidr);

/// A range that isn't one.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no range of addresses such as 10.96.0.0/12")]
pub struct BadRange(String);

impl Default for ServiceRange {
    /// kubeadm's.
    fn default() -> Self {
        Self(Cidr {
            address: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)),
            prefix: 12,
        })
    }
}

impl FromStr for ServiceRange {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, BadRange> {
        // At least the network, the API server's own address, and one for others.
        let range = Cidr::read(text).filter(|range| range.host_bits() >= 2);
        let range = range.ok_or_else(|| BadRange(text.to_owned()))?;
        Ok(Self(Cidr {
            address: range.masked(),
            ..range
        }))
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl ServiceRange {
    /// Addresses that can be given: neither the network itself nor, for IPv4, its broadcast address.
    fn usable(&self) -> u128 {
        let all = 1u128.checked_shl(self.0.host_bits()).unwrap_or(u128::MAX);
        let reserved = if self.0.address.is_ipv4() { 2 } else { 1 };
        (all - reserved).min(ADDRESSES_MAX)
    }

    /// The address so many after the network's.
    fn at(&self, offset: u128) -> IpAddr {
        match self.0.address {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + offset as u32)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() + offset)),
        }
    }

    /// The address of the API server itself.
    pub fn api_server(&self) -> IpAddr {
        self.at(1)
    }

    /// Whether the range can give this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let offset = match (self.0.address, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                address.to_bits().checked_sub(first.to_bits()).map(u128::from)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => address.to_bits().checked_sub(first.to_bits()),
            _ => None,
        };
        offset.is_some_and(|offset| (1..=self.usable()).contains(&offset))
    }

    /// A free address; those that are asked for by name come from the lower part, so it is used last.
    pub(super) fn free(&self, taken: &HashSet<IpAddr>, random: u128) -> Option<IpAddr> {
        let usable = self.usable();
        let lower = (usable / 16).clamp(16, 256).min(usable);
        let upper = usable - lower;
        let upper_first = (0..upper).map(|n| lower + 1 + (n + random % upper.max(1)) % upper.max(1));
        upper_first
            .chain(1..=lower)
            .map(|offset| self.at(offset))
            .find(|address| !taken.contains(address))
    }

    pub(super) fn family(&self) -> &'static str {
        family_of(self.0.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
