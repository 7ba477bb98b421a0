//! What informers tell becomes who is where and who may be tried again.

use orlop_api::quantity::Amount;
use orlop_client::informer::{Change, ObjectKey};
use tokio::time::Instant;

use crate::decide::hint;
use crate::known::capacity::{CapacityView, DriverView};
use crate::known::csi::CsiNodeView;
use crate::known::view::{NodeView, Pending, PodView, Takes};
use crate::known::volumes::{ClaimView, ClassView, VolumeView};
use crate::known::world::NamespaceView;
use crate::profile::rules::Rules;

use super::Scheduler;

/// Whether what is remembered of an object isn't what it was: much that is told of objects is how they do.
fn differs<P: PartialEq>(change: &Change<P>) -> bool {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.object != new.object,
        _ => true,
    }
}

/// Whether a pod that took `before` leaves more to others: one that grew helps nobody.
fn takes_less(before: &Takes, now: &Takes) -> bool {
    let left = |name: &str| now.requested.get(name).copied().unwrap_or(Amount::ZERO);
    let mut requested = before.requested.iter();
    requested.any(|(name, amount)| left(name) < *amount)
}

/// Whether a pod on a node is other company than it was, to those who mind that: most of what is told of it is how it does.
fn is_other_company(old: Option<&PodView>, new: &PodView) -> bool {
    let company = |pod: &PodView| match pod {
        PodView::Bound {
            node,
            terminating,
            family,
            traits,
            ..
        } => Some((node.clone(), *terminating, *family, traits.clone())),
        _ => None,
    };
    old.and_then(company) != company(new)
}

impl Scheduler {
    pub(super) fn pod(&self, change: &Change<PodView>) {
        let now = Instant::now();
        let mut state = self.state();
        let key = &change.latest().key;
        // The loop counts them when it is awake.
        let regated = match change.new.as_ref().map(|pod| &pod.object) {
            Some(PodView::Gated(_)) => state.gated.insert(key.clone()),
            _ => state.gated.remove(key),
        };
        if let Some(pod) = &change.new
            && let Some((node, holder)) = pod.holder(&pod.uid)
        {
            state.queue.forget(key);
            let freed = state.arrived(key, node, now);
            // One pod more helps only those who wait for company, one that takes less all.
            let old = change.old.as_ref().map(|old| &old.object);
            let is_other = is_other_company(old, &pod.object);
            let resized = matches!(old, Some(PodView::Bound { takes: before, .. })
                if takes_less(before, &holder.takes));
            let elsewhere = state.cluster.hold(key, node, holder);
            if resized {
                state.queue.happened_on(node, now);
            }
            // Somebody else bound it meanwhile.
            if let Some(chosen) = &elsewhere {
                state.queue.happened_on(chosen, now);
            }
            let minded = is_other && state.queue.happened_to_a_pod(now);
            if !minded && !resized && !regated && !freed && elsewhere.is_none() {
                return;
            }
        } else if let Some(PodView::Pending(pending)) = change.new.as_ref().map(|pod| &pod.object)
            && self.recorder(pending).is_some()
        {
            // Its own condition changing is no reason to try again.
            let same = change.old.as_ref().is_some_and(|old| {
                matches!(&old.object, PodView::Pending(old)
                        if old.spec == pending.spec && old.traits == pending.traits)
            });
            let nominee = pending.nominated.clone().map(|node| (node, pending.nominee()));
            state.nominate(key, nominee, now);
            if !same {
                let rules = self
                    .profiles
                    .get(&*pending.scheduler)
                    .map(|(profile, _)| &profile.rules);
                let minds = pending.traits.minds_company()
                    || !pending.claims.is_empty()
                    || rules.is_some_and(|rules| rules.minds_copies(pending));
                state.queue.put(
                    key,
                    &change.latest().uid,
                    pending.priority(),
                    pending.confined_to.clone(),
                    minds,
                    now,
                );
            }
        } else {
            state.queue.forget(key);
            let freed = state.nominate(key, None, now);
            let held = state.left(key, now, |pod, node| self.could_be_on(pod, node));
            if !held && !freed && !regated {
                return;
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Rules about other pods may name namespaces by their labels.
    pub(super) fn namespace(&self, change: &Change<NamespaceView>) {
        let relabelled = match (&change.old, &change.new) {
            (Some(old), Some(new)) => old.labels != new.labels,
            _ => true,
        };
        if relabelled && self.state().queue.happened_to_a_pod(Instant::now()) {
            self.changed.notify_one();
        }
    }

    pub(super) fn volume(&self, change: &Change<VolumeView>) {
        // What was promised is seen now, or was in vain.
        if change.new.as_ref().is_none_or(|volume| volume.is_claimed()) {
            self.world.forget_promise(&change.latest().key.name);
        }
        self.volumes_changed(differs(change));
    }

    pub(super) fn claim(&self, change: &Change<ClaimView>) {
        // What was selected is seen now, or isn't needed any more.
        let says = |claim: &ClaimView| claim.selected.is_some() || claim.volume.is_some();
        if change.new.as_ref().is_none_or(|claim| says(claim)) {
            self.world.forget_selection(&change.latest().key);
        }
        self.volumes_changed(differs(change));
    }

    pub(super) fn class(&self, change: &Change<ClassView>) {
        self.volumes_changed(differs(change));
    }

    /// Drivers may attach more volumes to the node.
    pub(super) fn csi_node(&self, change: &Change<CsiNodeView>) {
        self.volumes_changed(differs(change));
    }

    /// One that doesn't tell its room any more has enough of it.
    pub(super) fn driver(&self, change: &Change<DriverView>) {
        if change.new.as_ref().is_some_and(|driver| driver.tells_room) {
            self.room_is_told.notify_one();
        }
        self.volumes_changed(differs(change));
    }

    pub(super) fn capacity(&self, change: &Change<CapacityView>) {
        let old = change.old.as_ref().map(|old| &old.object);
        let helps = change.new.as_ref().is_some_and(|new| new.may_help(old));
        self.volumes_changed(helps);
    }

    /// Whoever awaits claims looks at them again; pods that wait are tried again if it is something else now.
    pub(super) fn volumes_changed(&self, differs: bool) {
        self.claims_changed.send_replace(());
        if differs && self.state().queue.happened_to_a_pod(Instant::now()) {
            self.changed.notify_one();
        }
    }

    pub(super) fn node(&self, change: &Change<NodeView>) {
        let name = &change.latest().key.name;
        let mut state = self.state();
        let Some(node) = &change.new else {
            let now = Instant::now();
            for pod in state.cluster.remove_node(name) {
                state.queue.in_vain(&pod, now);
            }
            // Those who spread may have waited because it was emptier than others.
            state.queue.happened_to_a_pod(now);
            drop(state);
            self.changed.notify_one();
            // Claims may be awaited there.
            self.claims_changed.send_replace(());
            return;
        };
        let differs = change
            .old
            .as_ref()
            .is_none_or(|old| node.may_fit_differently(old));
        state.cluster.put_node(node.clone());
        if differs {
            let old = change.old.as_ref().map(|old| &old.object);
            let helps = |pod: &ObjectKey| {
                self.is_for(pod, |pod, rules| hint::may_help(old, &node.object, pod, rules))
            };
            let counts_otherwise = hint::counts_otherwise(old, &node.object);
            state.changed_node(name, counts_otherwise, Instant::now(), helps);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Whether a pod that waits could be on the node if others leave it.
    pub(super) fn could_be_on(&self, pod: &ObjectKey, node: &NodeView) -> bool {
        self.is_for(pod, |pod, rules| hint::could_be_on(node, pod, rules))
    }

    /// Whether something helps a pod that waits; of one about which others are asked only they know.
    fn is_for(&self, pod: &ObjectKey, helps: impl Fn(&Pending, &Rules) -> bool) -> bool {
        let Some(pod) = self.pods.store().get(pod) else {
            return true;
        };
        let PodView::Pending(pending) = &pod.object else {
            return true;
        };
        let Some((profile, _)) = self.profiles.get(&*pending.scheduler) else {
            return true;
        };
        !self.extenders.minding(pending).is_empty() || helps(pending, &profile.rules)
    }
}

#[cfg(test)]
mod tests {
    use orlop_client::informer::{Projection, Store};
    use serde_json::{Value, json};

    use super::*;
    use crate::run::testing::scheduler;
    use crate::testing::pending;

    #[tokio::test]
    async fn what_was_taken_for_a_pod_that_somebody_else_put_elsewhere_is_free() {
        let scheduler = scheduler().await;
        let (waits, moved) = (ObjectKey::new("ns", "waits"), ObjectKey::new("ns", "p"));
        let now = Instant::now();
        {
            let mut state = scheduler.state();
            let holder = pending(json!({"containers": []})).holder("u".into());
            state.cluster.hold(&moved, &"a".into(), holder);
            state
                .queue
                .put(&waits, &"u".into(), 0, Some(vec!["a".into()]), false, now);
            assert_eq!(state.queue.next(now).as_ref(), Some(&waits));
            state.queue.unschedulable(&waits, now);
        }
        let waiting = |node: &str| {
            let bound = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
                "spec": {"nodeName": node, "containers": []}});
            let changes = Store::<PodView>::new().apply(serde_json::from_value(bound).unwrap());
            scheduler.pod(&changes[0]);
            scheduler.state().queue.lengths().waiting
        };
        assert_eq!(waiting("a"), 1, "it is where it was to be");
        assert_eq!(waiting("b"), 0);
    }

    #[test]
    fn how_a_claim_does_is_nothing_to_those_who_wait_for_it() {
        let store = Store::<ClaimView>::new();
        let mut version = 0;
        let mut told = |phase: &str, volume: Value| {
            version += 1;
            let metadata = json!({"name": "c", "namespace": "ns", "uid": "u", "resourceVersion": version.to_string(),
                "annotations": {"pv.kubernetes.io/bind-completed": "yes"}});
            let claim =
                json!({"metadata": metadata, "spec": {"volumeName": volume}, "status": {"phase": phase}});
            let changes = store.apply(serde_json::from_value(claim).unwrap());
            changes.iter().map(differs).collect::<Vec<bool>>()
        };
        assert_eq!(told("Pending", json!(null)), [true], "it came");
        assert_eq!(told("Bound", json!(null)), [false]);
        assert_eq!(told("Bound", json!("v")), [true]);
        assert_eq!(told("Pending", json!("v")), [false]);
        assert_eq!(told("Lost", json!("v")), [true], "its volume is gone");
        let change = store.remove(&ObjectKey::new("ns", "c"), 9).unwrap();
        assert!(differs(&change), "it is gone");
    }

    #[test]
    fn a_pod_that_shrinks_leaves_room_and_one_that_grows_does_not() {
        let takes = |requests: &[(&str, i64)]| {
            let mut takes = Takes::default();
            for (name, units) in requests {
                let amount = Amount::from_units(*units);
                takes.requested.insert((*name).to_owned(), amount);
            }
            takes
        };
        let before = takes(&[("cpu", 2), ("memory", 2)]);
        assert!(takes_less(&before, &takes(&[("cpu", 1), ("memory", 3)])));
        assert!(takes_less(&before, &takes(&[("cpu", 2)])));
        assert!(!takes_less(&before, &takes(&[("cpu", 3), ("memory", 2)])));
        assert!(!takes_less(&before, &before));
    }

    #[test]
    fn how_a_pod_does_is_nothing_to_those_who_mind_whom_they_are_with() {
        let pod = |metadata: Value, phase: &str| {
            let mut pod = json!({"metadata": metadata, "spec": {"nodeName": "n", "containers": []},
                "status": {"phase": phase}});
            pod["metadata"]["name"] = json!("p");
            PodView::project(serde_json::from_value(pod).unwrap())
        };
        let web = || json!({"labels": {"app": "web"}});
        let running = pod(web(), "Running");
        assert!(!is_other_company(Some(&pod(web(), "Pending")), &running));
        assert!(is_other_company(None, &running), "it has come");
        assert!(is_other_company(Some(&pod(json!({}), "Running")), &running));
        let mut going = web();
        going["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(is_other_company(Some(&running), &pod(going, "Running")));
    }
}
