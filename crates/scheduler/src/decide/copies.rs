//! Copies of one pod, and pods of one Service, are spread over nodes and zones though nobody said so.

use std::collections::HashMap;
use std::sync::Arc;

use orlop_api::selector::have_all;
use orlop_client::informer::ObjectKey;

use crate::known::cluster::Candidate;
use crate::known::traits::Labels;
use crate::known::view::{Family, Pending};
use crate::known::world::World;

use super::spread;

/// By how many copies nodes and zones may differ where nobody says how to spread them.
const SKEW_OF_NODES: i64 = 3;
const SKEW_OF_ZONES: i64 = 5;
const ZONE: &str = "topology.kubernetes.io/zone";

/// Who counts as a copy.
enum Kin {
    Family(Family),
    /// Pods of that namespace with these labels, by which its Services select a pod that nobody copies.
    OfServices(Arc<str>, Labels),
}

impl Kin {
    fn of(key: &ObjectKey, pod: &Pending, world: &World) -> Option<Self> {
        if let Some(family) = pod.family {
            return Some(Self::Family(family));
        }
        let labels = world.selected_by(&key.namespace, &pod.traits.labels)?;
        Some(Self::OfServices(key.namespace.clone(), labels))
    }

    /// How many there are on a node.
    fn count(&self, candidate: &Candidate<'_>) -> i64 {
        match self {
            Self::Family(family) => i64::from(candidate.families.get(family).copied().unwrap_or(0)),
            Self::OfServices(namespace, labels) => {
                let members = candidate.holders.iter().filter(|(key, holder)| {
                    key.namespace == *namespace
                        && !holder.terminating
                        && have_all(&holder.traits.labels, labels)
                });
                i64::try_from(members.count()).unwrap_or(i64::MAX)
            }
        }
    }
}

/// How the copies of one pod lie by now.
pub struct Copies {
    kin: Kin,
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
    /// Nothing is counted yet; `None` of a pod that neither is one of several copies nor some Service's.
    pub fn of(key: &ObjectKey, pod: &Pending, world: &World) -> Option<Self> {
        Some(Self {
            kin: Kin::of(key, pod, world)?,
            zones: HashMap::new(),
            by_zone: Vec::new(),
        })
    }

    /// Counts a node's members.
    pub fn count(&mut self, candidate: &Candidate<'_>) -> Place {
        let members = self.kin.count(candidate);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decide::{Decision, decide};
    use crate::profile::Profile;
    use crate::testing::{cluster, hold_pod, pending_pod, world};

    #[test]
    fn pods_of_a_service_are_spread_over_zones_though_nobody_copies_them() {
        let zone = |zone: &str| json!({"metadata": {"labels": {ZONE: zone}}});
        let mut cluster = cluster(json!({"a": zone("x"), "b": zone("x"), "c": zone("y")}));
        let (web, spec) = (json!({"app": "web", "tier": "1"}), json!({"containers": []}));
        hold_pod(&mut cluster, "ns", "there", "a", web.clone(), spec.clone());
        hold_pod(&mut cluster, "other", "there", "c", web.clone(), spec.clone());
        let pod = pending_pod("ns", "p", web, spec);
        let key = ObjectKey::new("ns", "p");
        let world = world();
        let mut place = |world: &World| match decide(&key, &pod, &mut cluster, world, &Profile::default()) {
            Decision::Bind(node) => node.to_string(),
            Decision::Unschedulable(refusals) => refusals.message(),
        };
        assert_eq!(place(&world), "a", "all are as good, and this is the first");
        let add = |namespace: &str, name: &str, spec: serde_json::Value| {
            let service = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
            world.services.apply(serde_json::from_value(service).unwrap());
        };
        add("other", "web", json!({"selector": {"app": "web"}}));
        add("ns", "db", json!({"selector": {"app": "db"}}));
        add("ns", "by-hand", json!({}));
        assert_eq!(place(&world), "a", "it is none of theirs");
        add("ns", "web", json!({"selector": {"app": "web"}}));
        assert_eq!(place(&world), "c");
    }

    #[test]
    fn a_pod_of_several_services_is_spread_among_those_that_are_of_all_of_them() {
        let world = world();
        for (name, selector) in [("web", json!({"app": "web"})), ("front", json!({"tier": "1"}))] {
            let service =
                json!({"metadata": {"name": name, "namespace": "ns"}, "spec": {"selector": selector}});
            world.services.apply(serde_json::from_value(service).unwrap());
        }
        let labels = |all: serde_json::Value| -> Labels { serde_json::from_value(all).unwrap() };
        let both = labels(json!({"app": "web", "tier": "1"}));
        assert_eq!(world.selected_by("ns", &both), Some(both.clone()));
        let one = labels(json!({"app": "web", "tier": "2"}));
        assert_eq!(world.selected_by("ns", &one), Some(labels(json!({"app": "web"}))));
        assert_eq!(world.selected_by("ns", &Labels::new()), None);
    }
}
