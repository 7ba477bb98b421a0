//! Where the Services of a cluster get their addresses and ports.
use super::ServiceRange;
use std::ops::RangeInclusive;

/// Where Services get their addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNetwork {
    pub addresses: ServiceRange,
    /// Of the other family, in a cluster that has both.
    pub secondary: Option<ServiceRange>,
    pub node_ports: RangeInclusive<u16>,
}

/// Ranges that no cluster has together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRanges {
    #[error("Services have one range of addresses, or one of each family, and not {0}")]
    TooMany(usize),
    #[error("the ranges of Services' addresses {0} and {1} are of one family: give one of each")]
    OneFamily(ServiceRange, ServiceRange),
}

impl Default for ServiceNetwork {
    fn default() -> Self {
        Self {
            addresses: ServiceRange::default(),
            secondary: None,
            node_ports: 30000..=32767,
        }
    }
}

impl ServiceNetwork {
    /// Of one range, or of one of each family, the first of which Services have that say nothing; of none, the usual one.
    pub fn new(ranges: &[ServiceRange], node_ports: RangeInclusive<u16>) -> Result<Self, BadRanges> {
        let (addresses, secondary) = match *ranges {
            [] => (ServiceRange::default(), None),
            [only] => (only, None),
            [first, second] if first.family() == second.family() => {
                return Err(BadRanges::OneFamily(first, second));
            }
            [first, second] => (first, Some(second)),
            _ => return Err(BadRanges::TooMany(ranges.len())),
        };
        Ok(Self {
            addresses,
            secondary,
            node_ports,
        })
    }

    /// The ranges of addresses, in their order.
    pub fn ranges(&self) -> Vec<ServiceRange> {
        [Some(self.addresses), self.secondary]
            .into_iter()
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_one_range_or_one_of_each_family() {
        let of = |ranges: &[&str]| {
            let ranges: Vec<ServiceRange> = ranges.iter().map(|range| range.parse().unwrap()).collect();
            let network = ServiceNetwork::new(&ranges, 30000..=32767);
            network.map(|network| network.ranges() == ranges)
        };
        assert_eq!(of(&["10.0.0.0/16"]), Ok(true));
        assert_eq!(of(&["10.0.0.0/16", "fd00::/112"]), Ok(true));
        assert_eq!(of(&["fd00::/112", "10.0.0.0/16"]), Ok(true));
        assert_eq!(
            ServiceNetwork::new(&[], 30000..=32767),
            Ok(ServiceNetwork::default())
        );
        let alike = of(&["10.0.0.0/16", "10.1.0.0/16"]).unwrap_err();
        assert_eq!(
            alike.to_string(),
            "the ranges of Services' addresses 10.0.0.0/16 and 10.1.0.0/16 are of one family: give one of each"
        );
        let three = of(&["10.0.0.0/16", "fd00::/112", "fd01::/112"]);
        assert_eq!(three, Err(BadRanges::TooMany(3)));
    }
}
