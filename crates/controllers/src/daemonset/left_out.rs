//! Nodes that get no pod for a taint, counted for one Event a taint.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use orlop_client::events::{EventType, reference};
use tokio::time::Instant;

use super::DaemonSets;
use super::pacing::lock;
use crate::cache::DaemonSet;

/// Counts go up and down with every node that comes and goes: they are told this seldom …
const TELL_EVERY: Duration = Duration::from_secs(30);
/// … and not before they have differed for so long: every node is tainted while it registers.
const TELL_AFTER: Duration = Duration::from_secs(5);
/// Reason of the Events.
const REASON: &str = "NodesLeftOut";

/// Which nodes are left out for which taint.
#[derive(Debug, Default, Clone)]
pub struct LeftOut {
    nodes: HashMap<Arc<str>, Arc<str>>,
    counts: BTreeMap<Arc<str>, usize>,
}

impl LeftOut {
    /// `node` is left out for `taint`, or not at all.
    pub fn observe(&mut self, node: &Arc<str>, taint: Option<&Arc<str>>) {
        let before = match taint {
            Some(taint) => self.nodes.insert(node.clone(), taint.clone()),
            None => self.nodes.remove(node),
        };
        if before.as_ref() == taint {
            return;
        }
        if let Some(before) = before
            && let Some(count) = self.counts.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&before);
            }
        }
        if let Some(taint) = taint {
            *self.counts.entry(taint.clone()).or_default() += 1;
        }
    }
}

/// What was told of a DaemonSet.
#[derive(Debug, Default)]
pub struct Told {
    counts: BTreeMap<Arc<str>, usize>,
    at: Option<Instant>,
    /// Since when there is something new.
    since: Option<Instant>,
}

/// The counts that are new; a taint that is gone needs no word.
fn news(told: &BTreeMap<Arc<str>, usize>, now: &BTreeMap<Arc<str>, usize>) -> Vec<(Arc<str>, usize)> {
    now.iter()
        .filter(|(taint, count)| told.get(*taint) != Some(*count))
        .map(|(taint, count)| (taint.clone(), *count))
        .collect()
}

impl DaemonSets {
    /// Tells what is new of the nodes that are left out, at most every [`TELL_EVERY`].
    pub(super) fn tell_left_out(&self, set: &DaemonSet, left_out: &LeftOut) {
        let mut all = lock(&self.told);
        if left_out.counts.is_empty() && !all.contains_key(&set.key) {
            return;
        }
        let told = all.entry(set.key.clone()).or_default();
        // What is gone is news if it comes back.
        told.counts.retain(|taint, _| left_out.counts.contains_key(taint));
        let news = news(&told.counts, &left_out.counts);
        if news.is_empty() {
            told.since = None;
            return;
        }
        let now = Instant::now();
        let since = *told.since.get_or_insert(now);
        let again = told.at.map_or(since, |at| at + TELL_EVERY);
        let due = again.max(since + TELL_AFTER);
        if due > now {
            self.queue.add_after(set.key.clone(), due - now);
            return;
        }
        told.since = None;
        told.at = Some(now);
        told.counts.clone_from(&left_out.counts);
        let about = reference(&set.set);
        for (taint, count) in news {
            let nodes = if count == 1 { "node" } else { "nodes" };
            let message = format!("{count} {nodes}: {taint}");
            self.recorder
                .event_about(&about, EventType::Normal, REASON, &taint, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_by_taint_and_only_new_counts_are_news() {
        let name = |text: &str| Arc::<str>::from(text);
        let (full, slow) = (name("taint disk=full:NoSchedule"), name("taint slow:NoSchedule"));
        let mut left_out = LeftOut::default();
        for node in ["a", "b", "c"] {
            left_out.observe(&name(node), Some(&full));
        }
        left_out.observe(&name("a"), Some(&full));
        assert_eq!(news(&BTreeMap::new(), &left_out.counts), [(full.clone(), 3)]);
        let told = left_out.counts.clone();
        left_out.observe(&name("a"), Some(&slow));
        left_out.observe(&name("b"), None);
        assert_eq!(
            news(&told, &left_out.counts),
            [(full.clone(), 1), (slow.clone(), 1)]
        );
        left_out.observe(&name("a"), None);
        left_out.observe(&name("c"), None);
        assert!(news(&told, &left_out.counts).is_empty() && left_out.nodes.is_empty());
    }
}
