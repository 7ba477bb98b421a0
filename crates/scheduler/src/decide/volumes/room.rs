//! Where a driver has room for a volume that it is yet to make.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use orlop_api::quantity::Amount;
use orlop_client::informer::{Cached, ObjectKey};

use crate::known::capacity::CapacityView;
use crate::known::view::NodeView;
use crate::known::volumes::{ClaimView, ClassView};
use crate::known::world::World;

type Place = Arc<Cached<CapacityView>>;

/// The places with room for one claim's volume. Of storage that lies on the nodes there are as many as nodes, and each node
/// is looked at for them: so they are found by a label of those that reach them.
#[derive(Debug, Clone, Default)]
pub struct Room {
    by_label: BTreeMap<String, HashMap<String, Vec<Place>>>,
    /// For which no one label tells.
    others: Vec<Place>,
}

impl Room {
    /// For the claim's volume of that class; `None` if the class's driver doesn't tell of its room, or the claim no size.
    pub fn of(claim: &ClaimView, class: &Cached<ClassView>, world: &World) -> Option<Self> {
        let driver = ObjectKey::new("", class.provisioner.as_str());
        if !world.drivers.get(&driver)?.tells_room || claim.request == Amount::ZERO {
            return None;
        }
        let mut room = Self::default();
        world.capacities.for_each(|place| {
            let suffices = place.largest.is_some_and(|largest| largest >= claim.request);
            if suffices && place.class == class.key.name {
                room.add(place.clone());
            }
        });
        Some(room)
    }

    fn add(&mut self, place: Place) {
        let places = match place.label() {
            Some((key, value)) => {
                let by_value = self.by_label.entry(key.to_owned()).or_default();
                by_value.entry(value.to_owned()).or_default()
            }
            None => &mut self.others,
        };
        places.push(place);
    }

    /// Whether the node can reach any of it.
    pub fn is_reachable_from(&self, node: &NodeView) -> bool {
        let labels = &node.node.labels;
        let labelled = self.by_label.iter();
        let labelled = labelled.filter_map(|(key, by_value)| by_value.get(labels.get(key.as_str())?));
        let mut places = labelled.flatten().chain(&self.others);
        places.any(|place| place.is_reachable_from(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_client::informer::{Projection, Store};
    use serde_json::{Value, json};

    #[test]
    fn a_node_finds_the_places_that_it_can_reach() {
        let labels = json!({"host": "a", "zone": "x"});
        let node = json!({"metadata": {"name": "a", "labels": labels}});
        let node = NodeView::project(serde_json::from_value(node).unwrap());
        let reaches = |topologies: &[Value]| {
            let (store, mut room) = (Store::<CapacityView>::new(), Room::default());
            for (number, topology) in topologies.iter().enumerate() {
                let place = json!({"metadata": {"name": number.to_string(), "namespace": "ns"},
                    "storageClassName": "c", "nodeTopology": topology});
                store.apply(serde_json::from_value(place).unwrap());
            }
            store.for_each(|place| room.add(place.clone()));
            room.is_reachable_from(&node)
        };
        let all = |labels: Value| json!({"matchLabels": labels});
        let rule = |key: &str, operator: &str, values: &[&str]| {
            let rule = json!({"key": key, "operator": operator, "values": values});
            json!({"matchExpressions": [rule]})
        };
        for (topology, want) in [
            (json!(null), false),
            (json!({}), true),
            (all(json!({"host": "a"})), true),
            (all(json!({"host": "b"})), false),
            (all(json!({"host": "a", "zone": "y"})), false),
            (all(json!({"rack": "1"})), false),
            (rule("zone", "In", &["x"]), true),
            (rule("zone", "In", &["x", "y"]), true),
            (rule("zone", "In", &["y", "z"]), false),
            (rule("zone", "NotIn", &["x"]), false),
            (rule("zone", "Exists", &[]), true),
        ] {
            assert_eq!(reaches(std::slice::from_ref(&topology)), want, "{topology}");
        }
        let elsewhere = || all(json!({"host": "b"}));
        assert!(!reaches(&[]));
        assert!(reaches(&[elsewhere(), all(json!({"zone": "x"}))]));
        assert!(reaches(&[elsewhere(), all(json!({"host": "a"}))]));
    }
}
