//! How fast the nodes of a zone may be given up: slower when many fail together, because then the
//! fault is likelier in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How fast nodes may be given up.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Nodes a second that may be tainted NoExecute in a zone; none with 0.
    pub rate: f64,
    /// The same in a large zone that is partly down.
    pub degraded_rate: f64,
    /// A zone with more nodes than this is large; a small one that is partly down isn't touched.
    pub large_zone_nodes: usize,
    /// A zone is partly down from this fraction of not-ready nodes, and at least [`UNHEALTHY_NODES_MIN`] of them.
    pub unhealthy_fraction: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rate: 0.1,
            degraded_rate: 0.01,
            large_zone_nodes: 50,
            unhealthy_fraction: 0.55,
        }
    }
}

/// Fewer nodes that fail at the same time are no trouble of a zone.
const UNHEALTHY_NODES_MIN: usize = 3;

/// How a zone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneState {
    /// Most nodes are ready.
    Normal,
    /// Partly down, with this many nodes.
    Partial {
        /// All nodes of the zone.
        nodes: usize,
    },
    /// No node is ready.
    Full,
}

/// What counts of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInZone {
    /// Its zone, empty for the shared one.
    pub zone: String,
    /// Condition Ready is True.
    pub ready: bool,
}

/// Ready nodes and others of one zone.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    ready: usize,
    not_ready: usize,
}

/// The nodes of every zone, counted as they change: a node costs the same in a large cluster as in a small one.
#[derive(Debug, Default)]
pub struct Census {
    nodes: HashMap<Arc<str>, NodeInZone>,
    zones: HashMap<String, Counts>,
    ready: usize,
}

impl Census {
    /// What `node` counts as now; `None` if it doesn't, or is gone.
    pub fn observe(&mut self, node: &Arc<str>, now: Option<NodeInZone>) {
        if self.nodes.get(node) == now.as_ref() {
            return;
        }
        let before = match &now {
            Some(now) => self.nodes.insert(node.clone(), now.clone()),
            None => self.nodes.remove(node),
        };
        if let Some(before) = before
            && let Some(counts) = self.zones.get_mut(&before.zone)
        {
            *counts.of(before.ready) -= 1;
            self.ready -= usize::from(before.ready);
            if counts.ready + counts.not_ready == 0 {
                self.zones.remove(&before.zone);
            }
        }
        if let Some(now) = now {
            *self.zones.entry(now.zone).or_default().of(now.ready) += 1;
            self.ready += usize::from(now.ready);
        }
    }

    /// How `zone` is.
    pub fn state(&self, zone: &str, pace: Pace) -> ZoneState {
        let counts = self.zones.get(zone).copied().unwrap_or_default();
        state(counts.ready, counts.not_ready, pace)
    }

    /// Whether every zone is down: then rather we are cut off than all of them.
    pub fn all_down(&self) -> bool {
        !self.zones.is_empty() && self.ready == 0
    }
}

impl Counts {
    fn of(&mut self, ready: bool) -> &mut usize {
        if ready {
            &mut self.ready
        } else {
            &mut self.not_ready
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of nodes are far below 2^52")]
fn state(ready: usize, not_ready: usize, pace: Pace) -> ZoneState {
    let nodes = ready + not_ready;
    if ready == 0 && not_ready > 0 {
        ZoneState::Full
    } else if not_ready >= UNHEALTHY_NODES_MIN && not_ready as f64 / nodes as f64 >= pace.unhealthy_fraction {
        ZoneState::Partial { nodes }
    } else {
        ZoneState::Normal
    }
}

/// Hands out turns in one zone: a burst of one, then at the zone's rate.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    next: Instant,
}

impl Turns {
    /// A zone without history.
    pub fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// Takes a turn, or says when to ask again; `None` inside means not before the zone changes.
    pub fn take(&mut self, state: ZoneState, pace: Pace, now: Instant) -> Result<(), Option<Duration>> {
        let rate = match state {
            ZoneState::Normal | ZoneState::Full => pace.rate,
            ZoneState::Partial { nodes } if nodes > pace.large_zone_nodes => pace.degraded_rate,
            ZoneState::Partial { .. } => return Err(None),
        };
        // A rate of nothing, and one that no clock could wait for.
        let Ok(wait) = Duration::try_from_secs_f64(1.0 / rate) else {
            return Err(None);
        };
        if now < self.next {
            return Err(Some(self.next - now));
        }
        self.next = now.checked_add(wait).ok_or(None)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_normal_partly_or_fully_down() {
        for (ready, not_ready, want) in [
            (0, 1, ZoneState::Full),
            (1, 0, ZoneState::Normal),
            (1, 2, ZoneState::Normal),
            (2, 3, ZoneState::Partial { nodes: 5 }),
            (3, 3, ZoneState::Normal),
            (10, 90, ZoneState::Partial { nodes: 100 }),
        ] {
            assert_eq!(
                state(ready, not_ready, Pace::default()),
                want,
                "{ready} ready, {not_ready} not"
            );
        }
    }

    #[test]
    fn n05_a_single_node_cluster_is_all_down_when_its_node_is() {
        let node = |zone: &str, ready| NodeInZone {
            zone: zone.into(),
            ready,
        };
        let mut census = Census::default();
        assert!(!census.all_down(), "there is nobody to be cut off from");
        census.observe(&"n1".into(), Some(node("", false)));
        assert!(census.all_down());
        census.observe(&"n1".into(), Some(node("", true)));
        assert!(!census.all_down());
    }

    #[test]
    fn nodes_are_counted_where_they_are_now() {
        let node = |zone: &str, ready| {
            Some(NodeInZone {
                zone: zone.into(),
                ready,
            })
        };
        let mut census = Census::default();
        for (name, zone, ready) in [
            ("1", "a", false),
            ("2", "a", false),
            ("3", "a", false),
            ("4", "b", true),
        ] {
            census.observe(&name.into(), node(zone, ready));
        }
        let of = |census: &Census, zone: &str| census.state(zone, Pace::default());
        assert_eq!(of(&census, "a"), ZoneState::Full);
        assert_eq!((of(&census, "b"), census.all_down()), (ZoneState::Normal, false));
        census.observe(&"4".into(), node("a", true));
        census.observe(&"4".into(), node("a", true));
        assert_eq!(of(&census, "a"), ZoneState::Partial { nodes: 4 });
        assert_eq!(
            of(&census, "b"),
            ZoneState::Normal,
            "an empty zone is nothing to worry about"
        );
        census.observe(&"4".into(), None);
        assert!(census.all_down());
        for name in ["1", "2", "3"] {
            census.observe(&name.into(), None);
        }
        assert!(census.zones.is_empty() && !census.all_down());
    }

    #[test]
    fn one_node_at_once_then_one_in_ten_seconds_and_slower_where_many_fail() {
        let now = Instant::now();
        let mut turns = Turns::new(now);
        let mut take =
            |state, seconds| turns.take(state, Pace::default(), now + Duration::from_secs(seconds));
        assert_eq!(take(ZoneState::Normal, 0), Ok(()));
        assert_eq!(take(ZoneState::Normal, 0), Err(Some(Duration::from_secs(10))));
        assert_eq!(take(ZoneState::Partial { nodes: 60 }, 10), Ok(()));
        assert_eq!(take(ZoneState::Normal, 10), Err(Some(Duration::from_secs(100))));
        assert_eq!(take(ZoneState::Partial { nodes: 50 }, 0), Err(None));
        let never = Pace {
            rate: 0.0,
            ..Pace::default()
        };
        assert_eq!(Turns::new(now).take(ZoneState::Normal, never, now), Err(None));
    }
}
