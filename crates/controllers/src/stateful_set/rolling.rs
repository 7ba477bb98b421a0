//! Which old pods may go for new ones now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::identity::revision;
use super::plan::is_available;
use crate::cache::{Pod, StatefulSetView};
use crate::deployment::{Round, amount};

/// The pods to delete so that others of revision `update` take their places: from the highest
/// ordinal down to the partition, as long as not too many are missing.
pub fn replaced(set: &StatefulSetView, pods: &BTreeMap<u32, Pod>, update: &str, now: Timestamp) -> Vec<Pod> {
    let strategy = set.spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return Vec::new();
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let wanted = set.ordinals();
    let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
    let lowest = wanted.start.saturating_add(u32::try_from(partition).unwrap_or(0));
    let replicas = set.spec.replicas.unwrap_or(1);
    let one = IntOrString::Int(1);
    let limit = rolling
        .and_then(|rolling| rolling.max_unavailable.as_ref())
        .unwrap_or(&one);
    // A share of few pods is one all the same, or nothing would ever be updated.
    let limit = usize::try_from(amount(limit, replicas, Round::Down))
        .unwrap_or(0)
        .max(1);
    let missing = wanted
        .clone()
        .filter(|number| match pods.get(number) {
            None => true,
            // Old pods that are broken don't stand in the way of what may mend them.
            Some(pod) => {
                let old = revision(pod) != Some(update) && !pod.terminating;
                !old && !is_available(set, pod, now)
            }
        })
        .count();
    wanted
        .rev()
        .take_while(|number| *number >= lowest)
        .filter_map(|number| pods.get(&number))
        .filter(|pod| revision(pod) != Some(update) && !pod.terminating)
        .take(limit.saturating_sub(missing))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{PodBuilder, names, now, pod, set};
    use super::*;
    use serde_json::{Value, json};

    fn next(spec: Value, pods: Vec<PodBuilder>) -> Vec<String> {
        let pods = pods
            .into_iter()
            .map(PodBuilder::build)
            .zip(0..)
            .map(|(pod, number)| (number, pod));
        names(&replaced(&set(spec), &pods.collect(), "new", now()))
    }

    fn old(name: &str) -> PodBuilder {
        pod(name).on("n").hash("old").ready()
    }

    fn new(name: &str) -> PodBuilder {
        pod(name).on("n").hash("new").ready()
    }

    #[test]
    fn the_highest_old_pod_goes_when_all_others_are_there() {
        let rolling = |rolling: Value| json!({"updateStrategy": {"rollingUpdate": rolling}});
        let all_old = || vec![old("a"), old("b"), old("c")];
        assert_eq!(next(json!({}), all_old()), ["c"]);
        assert_eq!(next(json!({}), vec![old("a"), old("b"), new("c")]), ["b"]);
        let starting = pod("c").on("n").hash("new");
        assert!(next(json!({}), vec![old("a"), old("b"), starting]).is_empty());
        assert!(next(json!({}), vec![old("a"), old("b"), old("c").terminating()]).is_empty());
        assert_eq!(
            next(json!({}), vec![old("a"), old("b"), pod("c").hash("old")]),
            ["c"]
        );
        assert_eq!(next(rolling(json!({"partition": 2})), all_old()), ["c"]);
        assert!(
            next(
                rolling(json!({"partition": 2})),
                vec![old("a"), old("b"), new("c")]
            )
            .is_empty()
        );
        assert_eq!(next(rolling(json!({"maxUnavailable": 2})), all_old()), ["c", "b"]);
        assert_eq!(
            next(rolling(json!({"maxUnavailable": "67%"})), all_old()),
            ["c", "b"]
        );
        for less in ["66%", "10%"] {
            let share = rolling(json!({"maxUnavailable": less}));
            assert_eq!(next(share, all_old()), ["c"], "never more than {less}, but one");
        }
        assert!(next(json!({"updateStrategy": {"type": "OnDelete"}}), all_old()).is_empty());
    }
}
