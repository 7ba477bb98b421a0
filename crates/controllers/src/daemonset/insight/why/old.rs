//! What old pods wait for.

use super::super::super::rolling::Replacements;
use super::super::{Judged, not_ready};
use super::{Facts, Verdict, not_scheduled};
use crate::cache::Pod;

impl Facts<'_> {
    /// What an old pod waits for that has its new one beside it.
    pub(super) fn surging(
        &self,
        judged: &Judged<'_>,
        pod: &Pod,
        pods: &[Pod],
    ) -> Option<(Verdict, Option<&'static str>, String)> {
        let is_new = |pod: &&Pod| !pod.terminating && self.current.is_updated(pod);
        let new = pods.iter().find(is_new).filter(|new| new.uid != pod.uid)?;
        if self.set.is_terminating() || self.current.is_updated(pod) {
            return None;
        }
        let name = &new.key.name;
        if self.going.contains(&pod.uid) || self.replaced.contains(&pod.uid) {
            let why = format!("of an old revision: deleted now, {name} is there");
            return Some((Verdict::Replacing, Some("maxSurge"), why));
        }
        let raw = self.raw.get(&new.uid).copied();
        let lacks = if new.node.is_none() {
            raw.and_then(not_scheduled)
                .unwrap_or_else(|| "it waits for the scheduler".to_owned())
        } else {
            let trouble = raw.and_then(|raw| not_ready(raw, Some(judged.node)));
            let seconds = self.current.min_ready_seconds;
            trouble.map_or_else(
                || format!("ready, but not yet for minReadySeconds {seconds}"),
                |(_, why)| why,
            )
        };
        let why = format!("of an old revision: goes once {name} beside it is available: {lacks}");
        Some((Verdict::Waiting, Some("maxSurge"), why))
    }

    /// What an old pod waits for.
    pub(super) fn outdated(
        &self,
        judged: &Judged<'_>,
        pod: &Pod,
    ) -> Option<(Verdict, Option<&'static str>, String)> {
        if self.current.is_updated(pod) {
            return None;
        }
        if self.replaced.contains(&pod.uid) {
            let why = "of an old revision: deleted for the newest now".to_owned();
            return Some((Verdict::Replacing, None, why));
        }
        if self.update.create.contains(&judged.choice.name) {
            let why = "of an old revision: a new pod comes up beside it".to_owned();
            return Some((Verdict::Replacing, Some("maxSurge"), why));
        }
        let (rule, why) = self.waits_for(judged, pod);
        Some((Verdict::Waiting, Some(rule), format!("of an old revision: {why}")))
    }

    fn waits_for(&self, judged: &Judged<'_>, pod: &Pod) -> (&'static str, String) {
        let options = &self.set.options;
        if self.set.is_terminating() {
            let why = "the DaemonSet is being deleted: nothing is replaced any more";
            return ("deletion", why.to_owned());
        }
        if let Some(complaint) = &options.complaint {
            return ("annotations", complaint.clone());
        }
        if options.paused {
            return ("paused", "waiting: the update is paused".to_owned());
        }
        if !options.replaces(&self.strategy) {
            return ("OnDelete", "replaced once somebody deletes it".to_owned());
        }
        if !judged.choice.update {
            return ("selector", "the node is not among those to be updated".to_owned());
        }
        if !judged.choice.ready && options.skips_not_ready() {
            return ("node", "waiting: the node is not Ready".to_owned());
        }
        if self.limits.max_surge > 0 {
            return ("maxSurge", format!("waiting: maxSurge {}", self.limits.max_surge));
        }
        let Replacements {
            down,
            delete,
            next,
            kept,
            ..
        } = &self.update;
        let has_turn = next.iter().any(|next| next.uid == pod.uid);
        if down.is_empty() && *kept > 0 && !has_turn {
            let keep = if *kept == 1 {
                "1 node keeps its old pod".to_owned()
            } else {
                format!("{kept} nodes keep their old pod")
            };
            return ("partition", format!("waiting: {keep}"));
        }
        let (nodes, how): (Vec<&str>, &str) = if down.is_empty() {
            let first = delete.iter().filter_map(|pod| pod.target.as_deref());
            (first.collect(), "replaced first")
        } else {
            (down.iter().map(|node| &**node).collect(), "already down")
        };
        let named = match nodes.as_slice() {
            [] => "no node".to_owned(),
            [one] => format!("node {one}"),
            [first, ..] => format!("node {first} and others"),
        };
        let (limit, count) = (self.limits.max_unavailable, nodes.len());
        (
            "maxUnavailable",
            format!("waiting: maxUnavailable {limit}, {count} {how} on {named}"),
        )
    }
}
