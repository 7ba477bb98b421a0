//! When a node counts as silent, and what is written about it then.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use crate::cache::{NEVER_UPDATED, PostedCondition};

/// After how long a node is given up that nothing is heard of.
#[derive(Debug, Clone, Copy)]
pub struct Grace {
    /// One that was heard of before.
    pub usual: Duration,
    /// One that never posted its status.
    pub startup: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        Self {
            usual: Duration::from_secs(50),
            startup: Duration::from_secs(60),
        }
    }
}

impl Grace {
    /// A sleep that no new node's end falls into.
    pub fn shortest(self) -> Duration {
        self.usual.min(self.startup)
    }
}

/// What a node posts about itself and what becomes Unknown with it.
const POSTED_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Signs of life of one node. Ages are measured with our own clock: its clock may be wrong.
#[derive(Debug, Clone)]
pub struct Health {
    heartbeat: Option<Timestamp>,
    renewed: Option<Timestamp>,
    /// Since when nothing new was heard.
    pub heard: Instant,
    /// Whether it ever posted condition Ready.
    posted: bool,
}

impl Health {
    /// A node seen for the first time.
    pub fn new(now: Instant) -> Self {
        Self {
            heartbeat: None,
            renewed: None,
            heard: now,
            posted: false,
        }
    }

    /// The node was seen with this Ready condition, posted at its `heartbeat`.
    pub fn node_seen(&mut self, ready: Option<&PostedCondition>, heartbeat: Option<Timestamp>, now: Instant) {
        let Some(ready) = ready else { return };
        // Our own verdict about a node that never posted is no post.
        if ready.made_up {
            return;
        }
        // Our own verdict about one that did carries its old heartbeat, which is no sign of life.
        if !self.posted || heartbeat != self.heartbeat {
            self.posted = true;
            self.heartbeat = heartbeat;
            self.heard = now;
        }
    }

    /// Its Lease was seen with this renewal.
    pub fn lease_seen(&mut self, renewed: Option<Timestamp>, now: Instant) {
        if renewed > self.renewed {
            self.renewed = renewed;
            self.heard = now;
        }
    }

    /// When it is given up unless it is heard of.
    pub fn expires(&self, grace: Grace) -> Instant {
        self.heard + if self.posted { grace.usual } else { grace.startup }
    }
}

/// The conditions of a node that fell silent, or `None` if they say so already. Conditions of
/// others, such as NetworkUnavailable, are never touched.
pub fn silent(
    conditions: &[PostedCondition],
    created: Option<Timestamp>,
    now: Timestamp,
) -> Option<Vec<NodeCondition>> {
    let mut changed = Vec::new();
    for posted in POSTED_CONDITIONS {
        match conditions.iter().find(|condition| *condition.type_ == *posted) {
            None => changed.push(NodeCondition {
                type_: posted.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some(NEVER_UPDATED.to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.map(Time),
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if *condition.status != *"Unknown" => changed.push(NodeCondition {
                type_: posted.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusUnknown".to_owned()),
                message: Some("Kubelet stopped posting node status.".to_owned()),
                // It stays as the node posted it: the patch says nothing of it.
                last_heartbeat_time: None,
                last_transition_time: Some(Time(now)),
            }),
            Some(_) => {}
        }
    }
    (!changed.is_empty()).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(type_: &str, status: &str) -> PostedCondition {
        PostedCondition {
            type_: type_.into(),
            status: status.into(),
            made_up: false,
        }
    }

    #[test]
    fn n03_a_node_lives_by_heartbeats_and_lease_renewals_and_is_given_up_after_fifty_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let second = |second| Timestamp::from_second(second).ok();
        let mut health = Health::new(start);
        let expires = |health: &Health| health.expires(Grace::default());
        assert_eq!(expires(&health), at(60), "it never posted anything");
        health.node_seen(Some(&condition("Ready", "True")), second(1), at(10));
        assert_eq!(expires(&health), at(60));
        health.lease_seen(second(5), at(20));
        assert_eq!(expires(&health), at(70));
        health.lease_seen(second(4), at(30));
        health.node_seen(Some(&condition("Ready", "Unknown")), second(1), at(30));
        assert_eq!(
            expires(&health),
            at(70),
            "an old renewal and our own verdict are no signs of life"
        );
        health.node_seen(Some(&condition("Ready", "True")), second(2), at(40));
        assert_eq!(expires(&health), at(90));
    }

    #[test]
    fn n03_a_silent_nodes_conditions_become_unknown_once() {
        let now = Timestamp::from_second(100).unwrap();
        let posted = [
            condition("Ready", "True"),
            condition("NetworkUnavailable", "True"),
        ];
        let changed = silent(&posted, Timestamp::from_second(7).ok(), now).unwrap();
        let reasons: Vec<_> = changed
            .iter()
            .map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            reasons,
            [
                ("Ready", "NodeStatusUnknown"),
                ("MemoryPressure", "NodeStatusNeverUpdated"),
                ("DiskPressure", "NodeStatusNeverUpdated"),
                ("PIDPressure", "NodeStatusNeverUpdated")
            ]
        );
        assert_eq!(
            changed[0].message.as_deref(),
            Some("Kubelet stopped posting node status.")
        );
        let unknown = changed.iter().map(|c| condition(&c.type_, &c.status));
        assert!(silent(&unknown.collect::<Vec<_>>(), None, now).is_none());
    }
}
