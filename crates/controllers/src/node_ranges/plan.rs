//! Which range a node gets. Pure.

use std::collections::HashSet;
use std::net::Ipv4Addr;

/// Why a cluster range can't be shared out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not of the form.
    #[error("{0:?} is no IPv4 range such as 10.244.0.0/16")]
    Form(String),
    /// A node would get more than there is.
    #[error(
        "ranges of nodes (/{node}) are larger than that of the cluster (/{cluster}): see --node-cidr-mask-size"
    )]
    Mask { cluster: u8, node: u8 },
}

/// The cluster's range, in equal parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRange {
    first: u32,
    parts: u32,
    node_bits: u8,
}

impl ClusterRange {
    /// `cidr` in parts of `/node_bits`.
    pub fn new(cidr: &str, node_bits: u8) -> Result<Self, RangeError> {
        let bad = || RangeError::Form(cidr.to_owned());
        let (address, bits) = cidr.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let bits: u8 = bits.parse().map_err(|_| bad())?;
        if !(1..=32).contains(&bits) || node_bits > 32 {
            return Err(bad());
        }
        if node_bits < bits {
            return Err(RangeError::Mask {
                cluster: bits,
                node: node_bits,
            });
        }
        Ok(Self {
            first: u32::from(address) & (u32::MAX << (32 - bits)),
            parts: 1 << (node_bits - bits).min(31),
            node_bits,
        })
    }

    /// The first part that nobody has.
    pub fn free(&self, taken: &HashSet<String>) -> Option<String> {
        (0..self.parts)
            .map(|part| self.part(part))
            .find(|range| !taken.contains(range))
    }

    fn part(&self, part: u32) -> String {
        let size = u64::from(part) << (32 - self.node_bits);
        // Within the cluster's range by construction.
        let address = self.first | u32::try_from(size).unwrap_or(0);
        format!("{}/{}", Ipv4Addr::from(address), self.node_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ranges: &[&str]) -> HashSet<String> {
        ranges.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nodes_get_the_first_range_that_is_free() {
        let range = ClusterRange::new("10.244.0.0/16", 24).unwrap();
        for (have, want) in [
            (&[][..], "10.244.0.0/24"),
            (&["10.244.0.0/24"], "10.244.1.0/24"),
            (&["10.244.0.0/24", "10.244.2.0/24"], "10.244.1.0/24"),
            (&["192.168.0.0/24"], "10.244.0.0/24"),
        ] {
            assert_eq!(range.free(&taken(have)).as_deref(), Some(want));
        }
        let small = ClusterRange::new("10.0.0.128/25", 26).unwrap();
        let all = taken(&["10.0.0.128/26", "10.0.0.192/26"]);
        assert_eq!(small.free(&all), None);
    }

    #[test]
    fn what_cannot_be_shared_out_is_refused() {
        for (cidr, bits) in [
            ("10.0.0.0", 24),
            ("10.0.0.0/x", 24),
            ("fd00::/64", 80),
            ("10.0.0.0/0", 24),
        ] {
            assert!(
                matches!(ClusterRange::new(cidr, bits), Err(RangeError::Form(_))),
                "{cidr}"
            );
        }
        assert_eq!(
            ClusterRange::new("10.0.0.0/24", 16),
            Err(RangeError::Mask {
                cluster: 24,
                node: 16
            })
        );
    }
}
