//! What a pod says about the company it wants, parsed once: labels, affinity to other pods, spreading.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{self as core, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self as meta, LabelSelectorRequirement};
use orlop_api::selector::LabelSelector;

/// Labels, as pods and namespaces have them.
pub type Labels = BTreeMap<String, String>;

/// One term of pod affinity or anti-affinity.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The label whose value makes a place.
    pub topology_key: String,
    /// Which pods it is about.
    pub selector: LabelSelector,
    /// In which namespaces, by name.
    pub namespaces: BTreeSet<String>,
    /// And by label.
    pub namespace_selector: Option<LabelSelector>,
}

impl Term {
    /// Whether it is about a pod with these labels in that namespace.
    pub fn is_about(&self, namespace: &str, namespace_labels: Option<&Labels>, labels: &Labels) -> bool {
        let here = self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| {
                selector.is_everything() || namespace_labels.is_some_and(|labels| selector.matches(labels))
            });
        here && self.selector.matches(labels)
    }

    fn of(term: &core::PodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let selector = term.label_selector.as_ref().map(|selector| {
            let selector = with_keys(selector, term.match_label_keys.as_ref(), "In", labels);
            with_keys(&selector, term.mismatch_label_keys.as_ref(), "NotIn", labels)
        });
        Self {
            topology_key: term.topology_key.clone(),
            selector: parse(selector.as_ref()),
            namespaces,
            namespace_selector: term
                .namespace_selector
                .as_ref()
                .map(|selector| parse(Some(selector))),
        }
    }
}

/// One constraint on how pods spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Spreading {
    /// The label whose value makes a domain.
    pub topology_key: String,
    /// Which pods are counted, in the pod's own namespace.
    pub selector: LabelSelector,
    /// How many more than in the emptiest domain there may be.
    pub max_skew: i64,
    /// With fewer domains than these the emptiest counts as empty.
    pub min_domains: usize,
    /// A node that breaks it is refused, rather than liked less.
    pub required: bool,
    /// Only nodes that the pod's node affinity allows are domains.
    pub honors_affinity: bool,
    /// Only nodes whose taints the pod tolerates are domains.
    pub honors_taints: bool,
}

impl Spreading {
    /// One for copies of any pod: whom it counts is not up to it.
    pub fn of_copies(constraint: &core::TopologySpreadConstraint) -> Self {
        spreading(constraint, &Labels::new())
    }
}

/// All of it.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Traits {
    /// metadata.labels.
    pub labels: Labels,
    /// Required affinity.
    pub affinity: Vec<Term>,
    /// Required anti-affinity.
    pub anti_affinity: Vec<Term>,
    /// Preferred affinity and, with negative weights, anti-affinity.
    pub preferred: Vec<(Term, i64)>,
    /// Constraints on spreading.
    pub spreading: Vec<Spreading>,
}

impl Traits {
    /// Reads them.
    pub fn of(namespace: &str, labels: Labels, spec: &PodSpec) -> Self {
        let terms = |terms: &Option<Vec<core::PodAffinityTerm>>| -> Vec<Term> {
            let terms = terms.iter().flatten();
            terms.map(|term| Term::of(term, namespace, &labels)).collect()
        };
        let weighed = |terms: &Option<Vec<core::WeightedPodAffinityTerm>>, sign: i64| -> Vec<(Term, i64)> {
            let terms = terms.iter().flatten();
            terms
                .map(|term| {
                    let weight = sign * i64::from(term.weight);
                    (Term::of(&term.pod_affinity_term, namespace, &labels), weight)
                })
                .collect()
        };
        let mut traits = Self::default();
        if let Some(affinity) = &spec.affinity {
            if let Some(near) = &affinity.pod_affinity {
                traits.affinity = terms(&near.required_during_scheduling_ignored_during_execution);
                traits.preferred = weighed(&near.preferred_during_scheduling_ignored_during_execution, 1);
            }
            if let Some(far) = &affinity.pod_anti_affinity {
                traits.anti_affinity = terms(&far.required_during_scheduling_ignored_during_execution);
                traits.preferred.extend(weighed(
                    &far.preferred_during_scheduling_ignored_during_execution,
                    -1,
                ));
            }
        }
        let constraints = spec.topology_spread_constraints.iter().flatten();
        traits.spreading = constraints
            .map(|constraint| spreading(constraint, &labels))
            .collect();
        traits.labels = labels;
        traits
    }

    /// Whether its rules may concern others.
    pub fn is_picky(&self) -> bool {
        !(self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty())
    }

    /// Whether what other pods do may make a node fit that didn't.
    pub fn minds_company(&self) -> bool {
        !(self.affinity.is_empty() && self.anti_affinity.is_empty() && self.spreading.is_empty())
    }
}

fn spreading(constraint: &core::TopologySpreadConstraint, labels: &Labels) -> Spreading {
    let selector = constraint
        .label_selector
        .as_ref()
        .map(|selector| with_keys(selector, constraint.match_label_keys.as_ref(), "In", labels));
    Spreading {
        topology_key: constraint.topology_key.clone(),
        selector: parse(selector.as_ref()),
        max_skew: i64::from(constraint.max_skew),
        min_domains: constraint
            .min_domains
            .and_then(|domains| usize::try_from(domains).ok())
            .unwrap_or(1),
        required: constraint.when_unsatisfiable == "DoNotSchedule",
        honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

/// `selector` and, for each of `keys` that the pod has, that others have (or don't have) its value.
fn with_keys(
    selector: &meta::LabelSelector,
    keys: Option<&Vec<String>>,
    operator: &str,
    labels: &Labels,
) -> meta::LabelSelector {
    let mut selector = selector.clone();
    let wanted = keys.into_iter().flatten().filter_map(|key| {
        Some(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![labels.get(key)?.clone()]),
        })
    });
    let expressions = selector.match_expressions.get_or_insert_default();
    expressions.extend(wanted);
    selector
}

/// An absent selector is about nothing, and so is one that can't be understood.
fn parse(selector: Option<&meta::LabelSelector>) -> LabelSelector {
    selector
        .and_then(|selector| LabelSelector::from_meta(selector).ok())
        .unwrap_or_else(LabelSelector::nothing)
}
