//! Which range a node gets. Pure.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use orlop_api::cidr::Cidr;

/// Why a cluster range can't be shared out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not of the form.
    #[error("{0:?} is no range such as 10.244.0.0/16, nor one of IPv4 and one of IPv6, comma-separated")]
    Form(String),
    /// A node would get more than there is.
    #[error(
        "ranges of nodes (/{node}) are larger than that of the cluster (/{cluster}): see --node-cidr-mask-size"
    )]
    Mask { cluster: u8, node: u8 },
}

/// How many bits all addresses of a node's range have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeBits {
    pub ipv4: u8,
    pub ipv6: u8,
}

impl Default for NodeBits {
    /// Upstream's.
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 64 }
    }
}

/// The cluster's range, or one of each family, in equal parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRange {
    families: Vec<Family>,
}

impl ClusterRange {
    /// A range or, comma-separated, one of each family, the preferred one first; in parts of `node_bits`.
    pub fn new(cidrs: &str, node_bits: NodeBits) -> Result<Self, RangeError> {
        let families = cidrs.split(',').map(|cidr| Family::new(cidr.trim(), node_bits));
        let families = families.collect::<Result<Vec<_>, _>>()?;
        match families.as_slice() {
            [_] => {}
            [one, other] if one.first.is_ipv4() != other.first.is_ipv4() => {}
            _ => return Err(RangeError::Form(cidrs.to_owned())),
        }
        Ok(Self { families })
    }

    /// Of each family the first part that nobody has; none where one family has no more.
    pub fn free(&self, taken: &HashSet<String>) -> Option<Vec<String>> {
        self.families.iter().map(|family| family.free(taken)).collect()
    }
}

/// What a cluster has of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Family {
    first: IpAddr,
    parts: u32,
    node_bits: u8,
}

impl Family {
    fn new(cidr: &str, node_bits: NodeBits) -> Result<Self, RangeError> {
        let bad = || RangeError::Form(cidr.to_owned());
        let range = Cidr::read(cidr).ok_or_else(bad)?;
        let node_bits = match range.address {
            IpAddr::V4(_) => node_bits.ipv4,
            IpAddr::V6(_) => node_bits.ipv6,
        };
        if range.prefix == 0 || node_bits > range.address_bits() {
            return Err(bad());
        }
        if node_bits < range.prefix {
            return Err(RangeError::Mask {
                cluster: range.prefix,
                node: node_bits,
            });
        }
        Ok(Self {
            first: range.masked(),
            parts: 1 << (node_bits - range.prefix).min(31),
            node_bits,
        })
    }

    fn free(&self, taken: &HashSet<String>) -> Option<String> {
        (0..self.parts)
            .map(|part| self.part(part))
            .find(|range| !taken.contains(range))
    }

    /// Within the cluster's range by construction.
    fn part(&self, part: u32) -> String {
        let address = match self.first {
            IpAddr::V4(first) => {
                let offset = u64::from(part) << (32 - self.node_bits);
                IpAddr::V4(Ipv4Addr::from_bits(
                    first.to_bits() | u32::try_from(offset).unwrap_or(0),
                ))
            }
            IpAddr::V6(first) => {
                let offset = u128::from(part) << (128 - self.node_bits);
                IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | offset))
            }
        };
        format!("{address}/{}", self.node_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ranges: &[&str]) -> HashSet<String> {
        ranges.iter().map(ToString::to_string).collect()
    }

    fn cluster(cidrs: &str) -> ClusterRange {
        ClusterRange::new(cidrs, NodeBits::default()).unwrap()
    }

    fn free(range: &ClusterRange, have: &[&str]) -> Option<String> {
        range.free(&taken(have)).map(|ranges| ranges.join(","))
    }

    #[test]
    fn nodes_get_the_first_range_that_is_free() {
        let range = cluster("10.244.0.0/16");
        for (have, want) in [
            (&[][..], "10.244.0.0/24"),
            (&["10.244.0.0/24"], "10.244.1.0/24"),
            (&["10.244.0.0/24", "10.244.2.0/24"], "10.244.1.0/24"),
            (&["192.168.0.0/24"], "10.244.0.0/24"),
        ] {
            assert_eq!(free(&range, have).as_deref(), Some(want));
        }
        let bits = NodeBits { ipv4: 26, ipv6: 64 };
        let small = ClusterRange::new("10.0.0.128/25", bits).unwrap();
        assert_eq!(free(&small, &["10.0.0.128/26", "10.0.0.192/26"]), None);
    }

    /// kubeadm with `podSubnet: 10.244.0.0/16,fd00:10:244::/56`.
    #[test]
    fn nodes_of_two_families_get_a_range_of_each_in_the_clusters_order() {
        let both = cluster("10.244.0.0/16,fd00:10:244::/56");
        for (have, want) in [
            (&[][..], "10.244.0.0/24,fd00:10:244::/64"),
            (
                &["10.244.0.0/24", "fd00:10:244::/64"],
                "10.244.1.0/24,fd00:10:244:1::/64",
            ),
            (
                &["10.244.0.0/24", "fd00:10:244:1::/64"],
                "10.244.1.0/24,fd00:10:244::/64",
            ),
        ] {
            assert_eq!(free(&both, have).as_deref(), Some(want));
        }
        let six = cluster("fd00:10:244::9/56, 10.244.0.0/16");
        assert_eq!(free(&six, &[]).as_deref(), Some("fd00:10:244::/64,10.244.0.0/24"));
        let narrow = cluster("10.244.0.0/16,fd00::/64");
        assert_eq!(free(&narrow, &["fd00::/64"]), None);
        assert_eq!(
            free(&cluster("fd00::/63"), &["fd00::/64"]).as_deref(),
            Some("fd00:0:0:1::/64")
        );
    }

    #[test]
    fn what_cannot_be_shared_out_is_refused() {
        let of = |cidrs: &str, ipv4: u8| ClusterRange::new(cidrs, NodeBits { ipv4, ipv6: 64 });
        for cidrs in [
            "10.0.0.0",
            "10.0.0.0/x",
            "10.0.0.0/0",
            "10.0.0.0/33",
            "",
            "10.0.0.0/16,",
            "10.0.0.0/16,10.1.0.0/16",
            "10.0.0.0/16,fd00::/48,fd01::/48",
        ] {
            assert!(matches!(of(cidrs, 24), Err(RangeError::Form(_))), "{cidrs}");
        }
        for (cidrs, ipv4, cluster, node) in
            [("10.0.0.0/24", 16, 24, 16), ("10.0.0.0/16,fd00::/80", 24, 80, 64)]
        {
            assert_eq!(of(cidrs, ipv4), Err(RangeError::Mask { cluster, node }));
        }
    }
}
