//! How fast and how far the number of pods may move from what there are to what is asked for.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

use super::conditions::{ABLE_TO_SCALE, SCALING_LIMITED, Said};
use super::history::History;

/// Without rules the number at most doubles at once, or goes to this.
const STEP_MIN: i32 = 4;
/// Longest window and period that rules can have, in seconds: nothing older matters.
pub const MEMORY_SECONDS: i32 = 3600;

const HIGHER_BEFORE: &str =
    "recent recommendations were higher than current one, applying the highest recent recommendation";
const LOWER_BEFORE: &str =
    "recent recommendations were lower than current one, applying the lowest recent recommendation";
const TOO_FAST_UP: &str = "the desired replica count is increasing faster than the maximum scale rate";
const TOO_FAST_DOWN: &str = "the desired replica count is decreasing faster than the maximum scale rate";
const TOO_MANY: &str = "the desired replica count is more than the maximum replica count";
const TOO_FEW: &str = "the desired replica count is less than the minimum replica count";

/// What is wanted of how many pods.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Pods there are meant to be now.
    pub current: i32,
    /// Pods that metrics ask for.
    pub desired: i32,
    /// spec.minReplicas.
    pub least: i32,
    /// spec.maxReplicas.
    pub most: i32,
}

/// What comes of a wish.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many pods there are to be.
    pub replicas: i32,
    /// What to say about it.
    pub said: [Said; 2],
}

/// Holds a wish against what was recommended before, against the pace and against the bounds, and takes it down.
/// `window`: for how many seconds a higher recommendation counts, where rules don't say.
pub fn judge(
    wish: Wish,
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    window: i32,
    history: &mut History,
    now: Timestamp,
) -> Verdict {
    let (steady, why) = match behavior {
        None => {
            let highest = history.highest(wish.desired, window, now);
            (highest, ("ScaleDownStabilized", HIGHER_BEFORE))
        }
        Some(behavior) => steadied(wish, behavior, window, history, now),
    };
    history.recommend(wish.desired, now);
    let able = if steady == wish.desired {
        Said::new(
            ABLE_TO_SCALE,
            true,
            "ReadyForNewScale",
            "recommended size matches current size",
        )
    } else {
        Said::new(ABLE_TO_SCALE, true, why.0, why.1)
    };
    let wish = Wish {
        desired: steady,
        ..wish
    };
    let (replicas, reason, message) = match behavior {
        None => bounded(wish, wish.current.saturating_mul(2).max(STEP_MIN), 0),
        Some(behavior) => {
            let up = limit(
                behavior.scale_up.as_ref(),
                Direction::Up,
                wish.current,
                history,
                now,
            );
            let down = limit(
                behavior.scale_down.as_ref(),
                Direction::Down,
                wish.current,
                history,
                now,
            );
            // What came by other hands is no reason to turn back.
            let (up, down) = (up.max(wish.current), down.min(wish.current));
            if wish.desired > wish.current {
                bounded(Wish { least: 0, ..wish }, up, 0)
            } else if wish.desired < wish.current {
                bounded(
                    Wish {
                        most: i32::MAX,
                        ..wish
                    },
                    i32::MAX,
                    down,
                )
            } else {
                bounded(wish, i32::MAX, 0)
            }
        }
    };
    let limited = Said::new(SCALING_LIMITED, replicas != steady, reason, message);
    Verdict {
        replicas,
        said: [able, limited],
    }
}

/// The wish within what was recommended in the windows of both directions, and why if that is something else.
fn steadied(
    wish: Wish,
    behavior: &HorizontalPodAutoscalerBehavior,
    window: i32,
    history: &History,
    now: Timestamp,
) -> (i32, (&'static str, &'static str)) {
    let seconds =
        |rules: Option<&HPAScalingRules>| rules.and_then(|rules| rules.stabilization_window_seconds);
    let up = seconds(behavior.scale_up.as_ref()).unwrap_or(0);
    let down = seconds(behavior.scale_down.as_ref()).unwrap_or(window);
    let lowest = history.lowest(wish.desired, up, now);
    let highest = history.highest(wish.desired, down, now);
    let steady = wish.current.max(lowest).min(highest);
    let why = if wish.desired >= wish.current {
        ("ScaleUpStabilized", LOWER_BEFORE)
    } else {
        ("ScaleDownStabilized", HIGHER_BEFORE)
    };
    (steady, why)
}

/// The wish within its bounds and those of the pace, and what it says if it isn't met.
fn bounded(wish: Wish, up: i32, down: i32) -> (i32, &'static str, &'static str) {
    let (most, too_many) = if wish.most > up {
        (up, ("ScaleUpLimit", TOO_FAST_UP))
    } else {
        (wish.most, ("TooManyReplicas", TOO_MANY))
    };
    let (least, too_few) = if wish.least < down {
        (down, ("ScaleDownLimit", TOO_FAST_DOWN))
    } else {
        (wish.least, ("TooFewReplicas", TOO_FEW))
    };
    if wish.desired < least {
        (least, too_few.0, too_few.1)
    } else if wish.desired > most {
        (most, too_many.0, too_many.1)
    } else {
        (
            wish.desired,
            "DesiredWithinRange",
            "the desired count is within the acceptable range",
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// How far rules let the number go in one direction.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float out of range becomes the nearest number"
)]
fn limit(
    rules: Option<&HPAScalingRules>,
    direction: Direction,
    current: i32,
    history: &History,
    now: Timestamp,
) -> i32 {
    let select = rules.and_then(|rules| rules.select_policy.as_deref());
    if select == Some("Disabled") {
        return current;
    }
    let policies = rules
        .and_then(|rules| rules.policies.as_deref())
        .unwrap_or_default();
    let bounds = policies.iter().map(|policy| {
        let begin = history.at_begin_of(policy.period_seconds, current, now);
        let share = f64::from(policy.value) / 100.0;
        match (policy.type_.as_str(), direction) {
            ("Pods", Direction::Up) => begin.saturating_add(policy.value),
            ("Pods", Direction::Down) => begin.saturating_sub(policy.value),
            (_, Direction::Up) => (f64::from(begin) * (1.0 + share)).ceil() as i32,
            (_, Direction::Down) => (f64::from(begin) * (1.0 - share)) as i32,
        }
    });
    // The greatest change is meant, or the least.
    let bound = if (select == Some("Min")) == (direction == Direction::Up) {
        bounds.min()
    } else {
        bounds.max()
    };
    bound.unwrap_or(match direction {
        Direction::Up => i32::MAX,
        Direction::Down => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::testing::{ago, now};
    use serde_json::{Value, json};

    fn wish(current: i32, desired: i32) -> Wish {
        Wish {
            current,
            desired,
            least: 2,
            most: 20,
        }
    }

    fn judged(
        wish: Wish,
        behavior: Option<Value>,
        mut history: History,
    ) -> (i32, &'static str, &'static str, bool) {
        let behavior = behavior.map(|behavior| serde_json::from_value(behavior).unwrap());
        let verdict = judge(wish, behavior.as_ref(), 300, &mut history, now());
        let [able, limited] = verdict.said;
        (verdict.replicas, able.reason, limited.reason, limited.holds)
    }

    #[test]
    fn without_rules_it_at_most_doubles_and_shrinks_only_when_nothing_higher_was_asked_for_lately() {
        let none = History::default;
        let steady = "ReadyForNewScale";
        assert_eq!(
            judged(wish(3, 5), None, none()),
            (5, steady, "DesiredWithinRange", false)
        );
        assert_eq!(
            judged(wish(3, 9), None, none()),
            (6, steady, "ScaleUpLimit", true)
        );
        assert_eq!(
            judged(wish(1, 9), None, none()),
            (4, steady, "ScaleUpLimit", true)
        );
        assert_eq!(
            judged(wish(15, 25), None, none()),
            (20, steady, "TooManyReplicas", true)
        );
        assert_eq!(
            judged(wish(3, 1), None, none()),
            (2, steady, "TooFewReplicas", true)
        );
        let mut before = none();
        before.recommend(8, ago(200));
        assert_eq!(
            judged(wish(8, 3), None, before.clone()),
            (8, "ScaleDownStabilized", "DesiredWithinRange", false)
        );
        before.forget(100, now());
        assert_eq!(
            judged(wish(8, 3), None, before),
            (3, steady, "DesiredWithinRange", false)
        );
    }

    #[test]
    fn rules_bound_the_pace_in_both_directions() {
        let up = |select: &str| {
            json!({"scaleUp": {"selectPolicy": select, "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 60}, {"type": "Percent", "value": 100, "periodSeconds": 60}]}})
        };
        let reached = |behavior: Value, wish: Wish, history: History| {
            let (replicas, _, reason, _) = judged(wish, Some(behavior), history);
            (replicas, reason)
        };
        let none = History::default;
        assert_eq!(reached(up("Max"), wish(3, 18), none()), (7, "ScaleUpLimit"));
        assert_eq!(reached(up("Min"), wish(3, 18), none()), (6, "ScaleUpLimit"));
        assert_eq!(reached(up("Disabled"), wish(3, 18), none()), (3, "ScaleUpLimit"));
        let mut grown = none();
        grown.scaled(3, 6, ago(30));
        assert_eq!(
            reached(up("Max"), wish(6, 18), grown.clone()),
            (7, "ScaleUpLimit")
        );
        assert_eq!(reached(up("Min"), wish(6, 18), grown), (6, "ScaleUpLimit"));
        let down = json!({"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}});
        assert_eq!(reached(down.clone(), wish(15, 3), none()), (13, "ScaleDownLimit"));
        assert_eq!(reached(down, wish(3, 1), none()), (2, "TooFewReplicas"));
    }

    #[test]
    fn windows_hold_a_wish_back_in_their_direction() {
        let mut before = History::default();
        before.recommend(4, ago(20));
        before.recommend(9, ago(100));
        let policies = json!([{"type": "Pods", "value": 100, "periodSeconds": 15}]);
        let windows = |up: i32, down: i32| {
            json!({"scaleUp": {"stabilizationWindowSeconds": up, "policies": policies},
                "scaleDown": {"stabilizationWindowSeconds": down, "policies": policies}})
        };
        let of = |wish: Wish, up, down| {
            let (replicas, able, ..) = judged(wish, Some(windows(up, down)), before.clone());
            (replicas, able)
        };
        assert_eq!(of(wish(3, 8), 0, 0), (8, "ReadyForNewScale"));
        assert_eq!(of(wish(3, 8), 60, 0), (4, "ScaleUpStabilized"));
        assert_eq!(of(wish(9, 3), 0, 0), (3, "ReadyForNewScale"));
        assert_eq!(of(wish(9, 3), 0, 60), (4, "ScaleDownStabilized"));
        assert_eq!(of(wish(9, 3), 0, 300), (9, "ScaleDownStabilized"));
    }
}
