//! Copies of one pod are spread over nodes and zones though nobody said so.

use std::collections::HashMap;

use crate::known::cluster::Candidate;
use crate::known::view::Family;

use super::spread;

/// By how many copies nodes and zones may differ where nobody says how to spread them.
const SKEW_OF_NODES: i64 = 3;
const SKEW_OF_ZONES: i64 = 5;
const ZONE: &str = "topology.kubernetes.io/zone";

/// How the copies of one pod lie by now.
pub struct Copies {
    family: Family,
    /// Which of `by_zone` a zone is.
    zones: HashMap<String, usize>,
    by_zone: Vec<i64>,
}

/// Where a node stands by them.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Which zone it is in, if in any.
    zone: Option<usize>,
    /// The copies there are on it.
    members: i64,
}

impl Copies {
    /// Nothing is counted yet of this family.
    pub fn of(family: Family) -> Self {
        Self {
            family,
            zones: HashMap::new(),
            by_zone: Vec::new(),
        }
    }

    /// Counts a node's members.
    pub fn count(&mut self, candidate: &Candidate<'_>) -> Place {
        let members = i64::from(candidate.families.get(&self.family).copied().unwrap_or(0));
        let zone = candidate.node.node.labels.get(ZONE).map(|zone| {
            self.zones.get(zone).copied().unwrap_or_else(|| {
                self.zones.insert(zone.to_owned(), self.by_zone.len());
                self.by_zone.push(0);
                self.by_zone.len() - 1
            })
        });
        if let Some(zone) = zone {
            self.by_zone[zone] += members;
        }
        Place { zone, members }
    }

    /// How crowded each node is by that.
    pub fn crowds(&self, feasible: impl ExactSizeIterator<Item = Option<Place>>) -> Vec<Option<i64>> {
        let nodes = feasible.len();
        let crowd = |place: Place| {
            let on_node = spread::crowd(place.members, nodes, SKEW_OF_NODES);
            let in_zone = place
                .zone
                .map(|zone| spread::crowd(self.by_zone[zone], self.by_zone.len(), SKEW_OF_ZONES));
            spread::round(on_node + in_zone.unwrap_or(0.0))
        };
        feasible.map(|place| place.map(crowd)).collect()
    }
}
