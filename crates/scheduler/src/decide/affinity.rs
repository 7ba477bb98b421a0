//! Pod affinity and anti-affinity: which places other pods make good or bad for one pod. Pure.
//!
//! A place is a label of nodes and its value. For each place is counted how many pods there each rule is about; a node
//! is judged by its own labels' counts.

use std::collections::HashMap;
use std::sync::Arc;

use orlop_api::placement::Reason;
use orlop_client::informer::ObjectKey;

use crate::known::cluster::{Cluster, Holder};
use crate::known::traits::{Labels, Term, Traits};
use crate::known::view::{NodeView, Pending};
use crate::known::world::World;
use crate::profile::rules::Rules;

type Places = HashMap<(String, String), i64>;

/// The counts for one pod.
#[derive(Debug, Clone)]
pub struct Company<'a> {
    namespace: &'a str,
    namespace_labels: Option<Arc<Labels>>,
    traits: &'a Traits,
    world: &'a World,
    rules: &'a Rules,
    /// Pods that all required affinity terms are about, by each term's place.
    near: Places,
    /// Pods that the anti-affinity term of that number is about.
    far: Vec<Places>,
    /// Pods whose own anti-affinity is about this one.
    unwelcome: Places,
    /// Weights of what is preferred, by this pod and by others.
    liking: Places,
}

impl<'a> Company<'a> {
    /// Counts; `None` if no rule of anybody could matter.
    pub fn of(
        key: &'a ObjectKey,
        pod: &'a Pending,
        cluster: &mut Cluster,
        world: &'a World,
        rules: &'a Rules,
    ) -> Option<Self> {
        let traits = &*pod.traits;
        if !traits.is_picky() && !cluster.has_picky_pods() {
            return None;
        }
        let mut company = Self {
            namespace: &key.namespace,
            namespace_labels: world.namespace_labels(&key.namespace),
            traits,
            world,
            rules,
            near: Places::new(),
            far: vec![Places::new(); traits.anti_affinity.len()],
            unwelcome: Places::new(),
            liking: Places::new(),
        };
        for candidate in cluster.candidates() {
            for (key, holder) in candidate.holders {
                company.count(candidate.node, key, holder, 1);
            }
            // Who is to come keeps others away already, but is no company yet.
            for (other, nominee) in candidate.awaited(key, pod.priority()) {
                let labels = world.namespace_labels(&other.namespace);
                company.keep_apart(candidate.node, other, labels.as_deref(), &nominee.traits, 1);
            }
        }
        Some(company)
    }

    /// Counts a pod on `node` so many times: -1 takes it away.
    pub fn count(&mut self, node: &NodeView, key: &ObjectKey, holder: &Holder, times: i64) {
        let traits = self.traits;
        let theirs = self.world.namespace_labels(&key.namespace);
        let about = |term: &Term| term.is_about(&key.namespace, theirs.as_deref(), &holder.traits.labels);
        if !traits.affinity.is_empty() && traits.affinity.iter().all(about) {
            for term in &traits.affinity {
                add(&mut self.near, node, term, times);
            }
        }
        for (term, weight) in &traits.preferred {
            if about(term) {
                add(&mut self.liking, node, term, times * weight);
            }
        }
        self.keep_apart(node, key, theirs.as_deref(), &holder.traits, times);
        if self.rules.ignores_others_preferences && traits.preferred.is_empty() {
            return;
        }
        for (term, weight) in &holder.traits.preferred {
            if self.is_meant_by(term) {
                add(&mut self.liking, node, term, times * weight);
            }
        }
        // One that needs company likes to have it where it is.
        for term in &holder.traits.affinity {
            if self.is_meant_by(term) {
                add(&mut self.liking, node, term, times * self.rules.need);
            }
        }
    }

    /// Counts what keeps the pod and another on `node` apart; `theirs` are the labels of the other's namespace.
    fn keep_apart(
        &mut self,
        node: &NodeView,
        other: &ObjectKey,
        theirs: Option<&Labels>,
        traits: &Traits,
        times: i64,
    ) {
        for (places, term) in self.far.iter_mut().zip(&self.traits.anti_affinity) {
            if term.is_about(&other.namespace, theirs, &traits.labels) {
                add(places, node, term, times);
            }
        }
        for term in &traits.anti_affinity {
            if self.is_meant_by(term) {
                add(&mut self.unwelcome, node, term, times);
            }
        }
    }

    /// Whether a term, its own or another's, is about the pod.
    fn is_meant_by(&self, term: &Term) -> bool {
        term.is_about(
            self.namespace,
            self.namespace_labels.as_deref(),
            &self.traits.labels,
        )
    }

    /// Why the pod can't be on `node`, if it can't.
    pub fn refuses(&self, node: &NodeView) -> Option<Reason> {
        if !self.finds_company(node) {
            return Some(Reason::PodAffinity);
        }
        let is_there = |places: &Places, term: &Term| {
            place(node, term).is_some_and(|place| places.get(&place).is_some_and(|count| *count > 0))
        };
        let mut far = self.far.iter().zip(&self.traits.anti_affinity);
        if far.any(|(places, term)| is_there(places, term)) {
            return Some(Reason::PodAntiAffinity);
        }
        let labels = &node.node.labels;
        let unwelcome = |(key, value): (&str, &str)| {
            let count = self.unwelcome.get(&(key.to_owned(), value.to_owned()));
            count.is_some_and(|count| *count > 0)
        };
        if !self.unwelcome.is_empty() && labels.iter().any(unwelcome) {
            return Some(Reason::ExistingPodsAntiAffinity);
        }
        None
    }

    fn finds_company(&self, node: &NodeView) -> bool {
        let terms = &self.traits.affinity;
        let mut places = Vec::with_capacity(terms.len());
        for term in terms {
            let Some(place) = place(node, term) else {
                return false;
            };
            places.push(place);
        }
        if places
            .iter()
            .all(|place| self.near.get(place).is_some_and(|count| *count > 0))
        {
            return true;
        }
        // The first of a group that wants to be together has nobody to be with.
        self.near.values().all(|count| *count == 0) && terms.iter().all(|term| self.is_meant_by(term))
    }

    /// How much `node` is preferred; more is better.
    pub fn liking(&self, node: &NodeView) -> i64 {
        if self.liking.is_empty() {
            return 0;
        }
        let labels = &node.node.labels;
        labels
            .iter()
            .filter_map(|(key, value)| self.liking.get(&(key.to_owned(), value.to_owned())))
            .sum()
    }
}

fn place(node: &NodeView, term: &Term) -> Option<(String, String)> {
    let value = node.node.labels.get(&term.topology_key)?;
    Some((term.topology_key.clone(), value.to_owned()))
}

fn add(places: &mut Places, node: &NodeView, term: &Term, times: i64) {
    if let Some(place) = place(node, term) {
        *places.entry(place).or_default() += times;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, hold_pod, pending_pod, world};
    use serde_json::{Value, json};

    fn zones() -> Cluster {
        let zone = |zone: &str, host: &str| json!({"metadata": {"labels": {"zone": zone, "host": host}}});
        cluster(json!({"a1": zone("a", "a1"), "a2": zone("a", "a2"), "b1": zone("b", "b1"), "bare": {}}))
    }

    fn term(key: &str, app: &str) -> Value {
        json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
    }

    fn required(kind: &str, terms: Value) -> Value {
        json!({"containers": [], "affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    }

    /// What each node says, in the order a1, a2, b1, bare; `+` for yes.
    fn verdicts(cluster: &mut Cluster, labels: Value, spec: Value) -> Vec<String> {
        let pod = pending_pod("default", "p", labels, spec);
        let (key, world) = (ObjectKey::new("default", "p"), world());
        let rules = Rules::default();
        let company = Company::of(&key, &pod, cluster, &world, &rules);
        let verdict = |node: &NodeView| {
            let refusal = company.as_ref().and_then(|company| company.refuses(node));
            refusal.map_or("+".to_owned(), |reason| reason.to_string())
        };
        cluster
            .candidates()
            .map(|candidate| verdict(candidate.node))
            .collect()
    }

    const NEAR: &str = "node(s) didn't match pod affinity rules";
    const FAR: &str = "node(s) didn't match pod anti-affinity rules";
    const UNWELCOME: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

    #[test]
    fn a_pod_goes_where_its_company_is() {
        let mut cluster = zones();
        hold_pod(
            &mut cluster,
            "default",
            "web",
            "a1",
            json!({"app": "web"}),
            json!({"containers": []}),
        );
        let near = |key: &str, app: &str| required("podAffinity", json!([term(key, app)]));
        assert_eq!(
            verdicts(&mut cluster, json!({}), near("zone", "web")),
            ["+", "+", NEAR, NEAR]
        );
        assert_eq!(
            verdicts(&mut cluster, json!({}), near("host", "web")),
            ["+", NEAR, NEAR, NEAR]
        );
        assert_eq!(
            verdicts(&mut cluster, json!({}), near("zone", "db")),
            [NEAR; 4],
            "nobody is there"
        );
        assert_eq!(
            verdicts(&mut cluster, json!({"app": "db"}), near("zone", "db")),
            ["+", "+", "+", NEAR],
            "the first of a group may go anywhere with a zone"
        );
        let both = required("podAffinity", json!([term("zone", "web"), term("host", "db")]));
        assert_eq!(
            verdicts(&mut cluster, json!({}), both),
            [NEAR; 4],
            "one pod must meet all terms"
        );
    }

    #[test]
    fn a_pod_stays_away_from_others_and_others_from_it() {
        let mut cluster = zones();
        let far = |key: &str, app: &str| required("podAntiAffinity", json!([term(key, app)]));
        hold_pod(
            &mut cluster,
            "default",
            "web",
            "a1",
            json!({"app": "web"}),
            far("host", "web"),
        );
        assert_eq!(
            verdicts(&mut cluster, json!({}), far("zone", "web")),
            [FAR, FAR, "+", "+"]
        );
        assert_eq!(
            verdicts(&mut cluster, json!({"app": "web"}), json!({"containers": []})),
            [UNWELCOME, "+", "+", "+"]
        );
        assert_eq!(
            verdicts(&mut cluster, json!({"app": "db"}), json!({"containers": []})),
            ["+"; 4]
        );
    }

    #[test]
    fn terms_reach_into_other_namespaces_by_name_and_by_label() {
        let mut cluster = zones();
        hold_pod(
            &mut cluster,
            "prod",
            "web",
            "a1",
            json!({"app": "web"}),
            json!({"containers": []}),
        );
        let far = |more: Value| {
            let mut term = term("host", "web");
            orlop_api::patch::merge(&mut term, &more);
            required("podAntiAffinity", json!([term]))
        };
        let free = ["+"; 4];
        let taken = [FAR, "+", "+", "+"];
        assert_eq!(
            verdicts(&mut cluster, json!({}), far(json!({}))),
            free,
            "its own namespace only"
        );
        assert_eq!(
            verdicts(&mut cluster, json!({}), far(json!({"namespaces": ["prod"]}))),
            taken
        );
        assert_eq!(
            verdicts(&mut cluster, json!({}), far(json!({"namespaceSelector": {}}))),
            taken
        );
        let team = |team: &str| json!({"namespaceSelector": {"matchLabels": {"team": team}}});
        assert_eq!(verdicts(&mut cluster, json!({}), far(team("red"))), taken);
        assert_eq!(verdicts(&mut cluster, json!({}), far(team("blue"))), free);
    }

    #[test]
    fn label_keys_narrow_a_term_to_the_pods_own_version_or_to_others() {
        let mut cluster = zones();
        let labels = |version: &str| json!({"app": "web", "version": version});
        hold_pod(
            &mut cluster,
            "default",
            "old",
            "a1",
            labels("1"),
            json!({"containers": []}),
        );
        hold_pod(
            &mut cluster,
            "default",
            "new",
            "b1",
            labels("2"),
            json!({"containers": []}),
        );
        let mut same = term("host", "web");
        same["matchLabelKeys"] = json!(["version"]);
        let mut other = term("host", "web");
        other["mismatchLabelKeys"] = json!(["version"]);
        let verdict = |cluster: &mut Cluster, term: Value| {
            verdicts(cluster, labels("2"), required("podAntiAffinity", json!([term])))
        };
        assert_eq!(verdict(&mut cluster, same), ["+", "+", FAR, "+"]);
        assert_eq!(verdict(&mut cluster, other), [FAR, "+", "+", "+"]);
    }

    #[test]
    fn preferences_weigh_both_ways() {
        let mut cluster = zones();
        hold_pod(
            &mut cluster,
            "default",
            "web",
            "a1",
            json!({"app": "web"}),
            json!({"containers": []}),
        );
        let preferred = |term: Value, weight: i64| json!([{"weight": weight, "podAffinityTerm": term}]);
        let spec = json!({"containers": [], "affinity": {
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred(term("zone", "web"), 10)},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred(term("host", "web"), 3)}}});
        let pod = pending_pod("default", "p", json!({}), spec);
        let (key, world) = (ObjectKey::new("default", "p"), world());
        let rules = Rules::default();
        let company = Company::of(&key, &pod, &mut cluster, &world, &rules).unwrap();
        let likings: Vec<i64> = cluster
            .candidates()
            .map(|candidate| company.liking(candidate.node))
            .collect();
        assert_eq!(likings, [7, 10, 0, 0]);
    }

    #[test]
    fn a_pod_is_preferred_near_those_that_need_its_company() {
        let mut cluster = zones();
        let needs = required("podAffinity", json!([term("zone", "web")]));
        hold_pod(&mut cluster, "default", "needy", "b1", json!({}), needs);
        let pod = pending_pod("default", "p", json!({"app": "web"}), json!({"containers": []}));
        let (key, world) = (ObjectKey::new("default", "p"), world());
        let rules = Rules {
            need: 7,
            ..Rules::default()
        };
        let company = Company::of(&key, &pod, &mut cluster, &world, &rules).unwrap();
        let likings: Vec<i64> = cluster
            .candidates()
            .map(|candidate| company.liking(candidate.node))
            .collect();
        assert_eq!(likings, [0, 0, 7, 0]);
        let deaf = Rules {
            ignores_others_preferences: true,
            ..rules
        };
        let company = Company::of(&key, &pod, &mut cluster, &world, &deaf).unwrap();
        assert!(
            cluster
                .candidates()
                .all(|candidate| company.liking(candidate.node) == 0)
        );
    }

    #[test]
    fn room_that_is_made_for_a_pod_keeps_others_away_as_the_pod_itself_will() {
        let mut cluster = zones();
        let avoiding = |priority: i32| {
            let mut spec = required("podAntiAffinity", json!([term("host", "db")]));
            spec["priority"] = json!(priority);
            spec
        };
        let db = || json!({"app": "db"});
        let first = pending_pod("default", "first", db(), avoiding(5));
        let key = ObjectKey::new("default", "first");
        cluster.nominate(&key, Some(("a1".into(), first.nominee())));
        for priority in [1, 5] {
            assert_eq!(
                verdicts(&mut cluster, db(), avoiding(priority)),
                [FAR, "+", "+", "+"]
            );
        }
        assert_eq!(
            verdicts(&mut cluster, db(), avoiding(6)),
            ["+"; 4],
            "a more important one may take it"
        );
        let plain = json!({"containers": [], "priority": 5});
        assert_eq!(
            verdicts(&mut cluster, db(), plain.clone()),
            [UNWELCOME, "+", "+", "+"]
        );
        let near = required("podAffinity", json!([term("host", "db")]));
        assert_eq!(
            verdicts(&mut cluster, json!({}), near),
            [NEAR; 4],
            "it is not there yet"
        );
        cluster.nominate(&key, None);
        assert!(!cluster.has_picky_pods());
        assert_eq!(verdicts(&mut cluster, db(), plain), ["+"; 4]);
    }
}
