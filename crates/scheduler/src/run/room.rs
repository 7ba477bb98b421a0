//! Room that is kept for a pod, and who is told when it is free again.

use std::sync::Arc;

use orlop_client::informer::ObjectKey;
use tokio::time::Instant;

use crate::known::cluster::Nominee;

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
    use crate::testing::{cluster, pending};

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
            state.queue.put(&other, 0, None, false, start);
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
}
