//! How pods of one schedulerName are placed: what counts for how much where several nodes would do.

pub mod rules;

use std::time::Duration;

use crate::extender::Extender;
use crate::profile::rules::Rules;
use crate::resources::PodResources;
use crate::run::queue::{BACKOFF_MAX, BACKOFF_MIN};

/// How a scheduler goes about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// For whose pods.
    pub profiles: Vec<Profile>,
    /// Who else has a word in it.
    pub extenders: Vec<Extender>,
    /// Pause before a pod is tried again that was tried in vain; it doubles each time.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Where it shows what pods ask for.
    pub resources: PodResources,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profiles: vec![Profile::default()],
            extenders: Vec::new(),
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            resources: PodResources::default(),
        }
    }
}

/// How pods of one schedulerName are placed.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// spec.schedulerName.
    pub name: String,
    /// What counts for how much.
    pub weights: Weights,
    /// Which nodes have the better room.
    pub room: Room,
    /// Room of what, and how much each counts.
    pub resources: Vec<(String, f64)>,
    /// What else it goes by.
    pub rules: Rules,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: crate::known::view::NAME.to_owned(),
            weights: Weights::default(),
            room: Room::Free,
            resources: ["cpu", "memory"].map(|name| (name.to_owned(), 1.0)).into(),
            rules: Rules::default(),
        }
    }
}

/// Which nodes have the better room.
#[derive(Debug, Clone, PartialEq)]
pub enum Room {
    /// Those with the most left: pods are spread.
    Free,
    /// Those with the least left: pods are packed.
    Used,
    /// Points of a line from how much is used, in percent, to how good that is, 0 to 100; by the first.
    Shaped(Vec<(f64, f64)>),
}

impl Room {
    /// How good it is that a share from 0 to 1 is used.
    pub fn rate(&self, used: f64) -> f64 {
        match self {
            Self::Free => 100.0 * (1.0 - used),
            Self::Used => 100.0 * used,
            Self::Shaped(points) => on_line(points, 100.0 * used),
        }
    }
}

/// Beyond its ends the line is level.
fn on_line(points: &[(f64, f64)], at: f64) -> f64 {
    let after = points.iter().position(|(x, _)| at <= *x);
    match (after, points.last()) {
        (_, None) => 0.0,
        (None, Some((_, last))) => *last,
        (Some(0), _) => points[0].1,
        (Some(after), _) => {
            let ((x0, y0), (x1, y1)) = (points[after - 1], points[after]);
            y0 + (y1 - y0) * (at - x0) / (x1 - x0)
        }
    }
}

/// Weights of what makes a node a good one; upstream's unless others are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Room for cpu and memory.
    pub room: f64,
    /// Their being requested evenly.
    pub balance: f64,
    /// Images that are there.
    pub images: f64,
    /// Taints that only ask.
    pub taints: f64,
    /// Preferred affinity to nodes.
    pub affinity: f64,
    /// Preferred company.
    pub company: f64,
    /// Spreading that is only asked for, or by nobody.
    pub spread: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            room: 1.0,
            balance: 1.0,
            images: 1.0,
            taints: 3.0,
            affinity: 2.0,
            company: 2.0,
            spread: 2.0,
        }
    }
}

impl Weights {
    /// The weight that upstream keeps under the name of a plugin.
    pub fn of_plugin(&mut self, plugin: &str) -> Option<&mut f64> {
        Some(match plugin {
            "NodeResourcesFit" => &mut self.room,
            "NodeResourcesBalancedAllocation" => &mut self.balance,
            "ImageLocality" => &mut self.images,
            "TaintToleration" => &mut self.taints,
            "NodeAffinity" => &mut self.affinity,
            "InterPodAffinity" => &mut self.company,
            "PodTopologySpread" => &mut self.spread,
            _ => return None,
        })
    }

    /// Nothing counts.
    pub fn none() -> Self {
        Self {
            room: 0.0,
            balance: 0.0,
            images: 0.0,
            taints: 0.0,
            affinity: 0.0,
            company: 0.0,
            spread: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_rated_by_a_line_between_points() {
        let shaped = Room::Shaped(vec![(20.0, 0.0), (60.0, 100.0), (100.0, 50.0)]);
        for (used, want) in [
            (0.0, 0.0),
            (0.2, 0.0),
            (0.4, 50.0),
            (0.6, 100.0),
            (0.8, 75.0),
            (1.0, 50.0),
        ] {
            assert!((shaped.rate(used) - want).abs() < 1e-9, "{used}");
        }
        assert_eq!((Room::Free.rate(0.25), Room::Used.rate(0.25)), (75.0, 25.0));
    }
}
