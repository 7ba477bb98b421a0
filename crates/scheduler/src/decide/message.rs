//! The words for a pod that fits nowhere (contract §6.6).

use std::collections::BTreeMap;

use orlop_api::placement::Reason;

/// The reason given for nodes that a pod's `matchFields` exclude before any filter runs.
const CUT_OFF: &str = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";

/// Why no node will do, counted.
#[derive(Debug, Default)]
pub struct Refusals {
    nodes: usize,
    reasons: BTreeMap<String, usize>,
    helpful: usize,
    /// Rules of others are among the reasons.
    unwelcome: bool,
    /// Why no node was asked at all.
    whole: Option<String>,
}

impl Refusals {
    /// Nothing counted of `nodes` nodes.
    pub fn of(nodes: usize) -> Self {
        Self {
            nodes,
            ..Self::default()
        }
    }

    /// None of `nodes` nodes could do, whatever it is like.
    pub fn whole(nodes: usize, why: String) -> Self {
        Self {
            whole: Some(why),
            ..Self::of(nodes)
        }
    }

    /// One node refuses for `reasons`.
    pub fn add(&mut self, reasons: &[Reason]) {
        for reason in reasons {
            *self.reasons.entry(reason.to_string()).or_default() += 1;
        }
        self.helpful += usize::from(reasons.iter().all(Reason::preemption_helps));
        self.unwelcome |= reasons.contains(&Reason::ExistingPodsAntiAffinity);
    }

    /// Whether some node would do if it weren't for the rules of pods that are there.
    pub fn is_unwelcome(&self) -> bool {
        self.unwelcome
    }

    /// One node is refused by somebody else, and whether other pods' leaving might help.
    pub fn add_foreign(&mut self, why: &str, helps: bool) {
        *self.reasons.entry(why.to_owned()).or_default() += 1;
        self.helpful += usize::from(helps);
    }

    /// `count` nodes weren't asked.
    pub fn cut_off(&mut self, count: usize) {
        if count > 0 {
            *self.reasons.entry(CUT_OFF.to_owned()).or_default() += count;
        }
    }

    /// The whole message, when preemption can't help either.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return self.without_preemption();
        }
        let preemption = [
            (NO_VICTIMS, self.helpful),
            (NOT_HELPFUL, self.nodes - self.helpful),
        ];
        let preemption = preemption.into_iter().filter(|(_, count)| *count > 0);
        format!(
            "{} preemption: {}",
            self.without_preemption(),
            self.sentence(preemption)
        )
    }

    /// The message when the pod may not, or doesn't want to, have room made for it.
    pub fn not_eligible(&self, why: &str) -> String {
        format!("{} preemption: {why}", self.without_preemption())
    }

    /// The message while room is being made.
    pub fn without_preemption(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        if let Some(why) = &self.whole {
            return format!("0/{} nodes are available: {why}.", self.nodes);
        }
        self.sentence(
            self.reasons
                .iter()
                .map(|(reason, count)| (reason.as_str(), *count)),
        )
    }

    fn sentence<'a>(&self, counted: impl Iterator<Item = (&'a str, usize)>) -> String {
        let mut parts: Vec<String> = counted
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        parts.sort();
        format!("0/{} nodes are available: {}.", self.nodes, parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insufficient(requested: i64) -> Vec<Reason> {
        vec![Reason::Insufficient {
            resource: "cpu".into(),
            requested,
            used: 1,
            capacity: 4,
        }]
    }

    #[test]
    fn s07_a_daemon_pod_that_does_not_fit_gets_the_contracts_example() {
        let mut refusals = Refusals::of(3);
        refusals.cut_off(2);
        refusals.add(&insufficient(4));
        assert_eq!(
            refusals.message(),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
             preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, \
             2 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn who_is_kept_away_by_the_rules_of_others_is_unwelcome() {
        let mut refusals = Refusals::of(2);
        refusals.add(&[Reason::PodAntiAffinity]);
        assert!(!refusals.is_unwelcome(), "those are its own rules");
        refusals.add(&[Reason::ExistingPodsAntiAffinity]);
        refusals.add(&insufficient(4));
        assert!(refusals.is_unwelcome());
    }

    #[test]
    fn s01_s02_reasons_are_counted_and_sorted_as_text() {
        let mut refusals = Refusals::of(2);
        refusals.add(&insufficient(5));
        refusals.add(&[Reason::NodeAffinity]);
        assert_eq!(
            refusals.message(),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector. \
             preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        );
        assert_eq!(Refusals::of(0).message(), "no nodes available to schedule pods");
        assert_eq!(
            Refusals::whole(2, "pod has unbound immediate PersistentVolumeClaims".to_owned()).message(),
            "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. \
             preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        );
    }
}
