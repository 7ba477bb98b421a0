//! Room that is kept for a pod, and who is told when it is free again.

use std::sync::Arc;

use orlop_client::informer::ObjectKey;
use tokio::time::Instant;

use crate::known::cluster::Nominee;
use crate::known::view::NodeView;

use super::State;

impl State {
    /// Room is made for a pod on a node, or nowhere any more. Whether what was kept for it elsewhere is free again.
    pub(super) fn nominate(
        &mut self,
        pod: &ObjectKey,
        nominee: Option<(Arc<str>, Nominee)>,
        now: Instant,
    ) -> bool {
        let node = nominee.as_ref().map(|(node, _)| node.clone());
        let before = self.cluster.nominate(pod, nominee);
        self.given_back(before, node.as_deref(), now)
    }

    /// A pod is on `node` and waits for no room. Whether what was kept for it elsewhere is free again.
    pub(super) fn arrived(&mut self, pod: &ObjectKey, node: &str, now: Instant) -> bool {
        let before = self.cluster.nominate(pod, None);
        self.given_back(before, Some(node), now)
    }

    /// A pod holds nothing any more; whether it held anything. Those whom that may help are tried again, after their
    /// back-off: who could be on its node, and who minds others.
    pub(super) fn left(
        &mut self,
        pod: &ObjectKey,
        now: Instant,
        could_be_on: impl Fn(&ObjectKey, &NodeView) -> bool,
    ) -> bool {
        let Some(name) = self.cluster.release(pod) else {
            return false;
        };
        if let Some(node) = self.cluster.node(&name) {
            let helps = |pod: &ObjectKey| could_be_on(pod, &node.object);
            self.queue.happened_on_for(&name, now, helps);
        }
        self.queue.happened_to_a_pod(now);
        true
    }

    /// A node came, or is another one now, which helps those. Where it is counts also for who may not go there but minds
    /// those who are.
    pub(super) fn changed_node(
        &mut self,
        node: &str,
        counts_otherwise: bool,
        now: Instant,
        helps: impl Fn(&ObjectKey) -> bool,
    ) {
        self.queue.happened_on_for(node, now, helps);
        if counts_otherwise {
            self.queue.happened_to_a_pod(now);
        }
    }

    /// Those who may want the room are tried again, after their back-off: also who was kept away by the pod's rules, and
    /// has none itself.
    fn given_back(&mut self, before: Option<Arc<str>>, kept: Option<&str>, now: Instant) -> bool {
        let Some(before) = before.filter(|before| kept != Some(&**before)) else {
            return false;
        };
        self.queue.happened_on(&before, now);
        self.queue.happened_to_a_pod(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::run::queue::Queue;
    use crate::testing::{cluster, hold, pending};

    #[test]
    fn who_waits_for_room_is_tried_again_when_its_pod_goes_elsewhere() {
        let start = Instant::now();
        let (first, other) = (ObjectKey::new("ns", "first"), ObjectKey::new("ns", "other"));
        let on = |node: &str| Some((node.into(), pending(json!({"containers": []})).nominee()));
        // Room was made for the first on `a`; another one waits.
        let frees = |change: &dyn Fn(&mut State) -> bool| {
            let mut state = State {
                cluster: cluster(json!({"a": {}, "b": {}})),
                queue: Queue::default(),
                gated: HashSet::new(),
            };
            assert!(!state.nominate(&first, on("a"), start));
            state.queue.put(&other, &"u".into(), 0, None, false, start);
            assert_eq!(state.queue.next(start).as_ref(), Some(&other));
            state.queue.unschedulable(&other, start);
            let is_free = change(&mut state);
            assert_eq!(state.queue.lengths().backing_off, usize::from(is_free));
            is_free
        };
        assert!(!frees(&|state| state.nominate(&first, on("a"), start)));
        assert!(frees(&|state| state.nominate(&first, on("b"), start)));
        assert!(frees(&|state| state.nominate(&first, None, start)));
        assert!(!frees(&|state| state.arrived(&first, "a", start)));
        assert!(frees(&|state| state.arrived(&first, "b", start)));
        assert!(!frees(&|state| state.arrived(&other, "b", start)));
    }

    #[test]
    fn who_minds_others_is_told_of_other_nodes_and_of_pods_that_leave_them() {
        let start = Instant::now();
        let pinned = ObjectKey::new("ns", "pinned");
        let wakes = |minds: bool, change: &dyn Fn(&mut State)| {
            let mut state = State {
                cluster: cluster(json!({"a": {}, "b": {}})),
                queue: Queue::default(),
                gated: HashSet::new(),
            };
            hold(&mut state.cluster, "there", "b", 0, 1);
            state
                .queue
                .put(&pinned, &"u".into(), 0, Some(vec!["a".into()]), minds, start);
            assert_eq!(state.queue.next(start).as_ref(), Some(&pinned));
            state.queue.unschedulable(&pinned, start);
            change(&mut state);
            state.queue.lengths().backing_off == 1
        };
        let moved = |state: &mut State| state.changed_node("b", true, start, |_| true);
        assert!(wakes(true, &moved));
        assert!(!wakes(false, &moved), "it may not go there");
        let grew = |state: &mut State| state.changed_node("b", false, start, |_| true);
        assert!(!wakes(true, &grew), "it is where it was");
        let leaves =
            |state: &mut State, pod: &str| state.left(&ObjectKey::new("ns", pod), start, |_, _| true);
        let left = |state: &mut State| assert!(leaves(state, "there"));
        assert!(wakes(true, &left));
        assert!(!wakes(false, &left));
        let nobody = |state: &mut State| assert!(!leaves(state, "nobody"));
        assert!(!wakes(true, &nobody));
    }
}
