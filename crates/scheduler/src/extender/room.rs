//! Asks extenders where room may be made for a pod, and by whose leaving.

use std::collections::{BTreeMap, HashMap};

use futures::StreamExt;
use kube::Client;
use orlop_client::informer::ObjectKey;
use serde_json::{Map, Value, json};

use super::call::{Extenders, ask, whole};
use super::member;
use crate::decide::preempt::{Preemption, Victim};

/// Ways to make room that they are asked about, the cheapest ones.
pub const WAYS_MAX: usize = 100;
/// Pods read whole at the same time, for those who don't know pods.
const READS: usize = 16;

impl Extenders {
    /// Somebody has a word in where room is made.
    pub fn mind_room(&self) -> bool {
        self.all.iter().any(|(extender, _)| extender.preempt.is_some())
    }

    /// Asks all which of the ways to make room for a pod will do, and by whose leaving. `api` is where pods are read whole;
    /// `on` finds the pod of that uid on that node. An error is that of one that must not fail.
    pub async fn room(
        &self,
        api: &Client,
        pod: &ObjectKey,
        mut ways: Vec<Preemption>,
        on: impl Fn(&str, &str) -> Option<Victim>,
    ) -> Result<Vec<Preemption>, String> {
        let asked = whole(api, pod).await?;
        for (extender, client) in &self.all {
            let Some(verb) = &extender.preempt else { continue };
            if ways.is_empty() {
                break;
            }
            let victims = match extender.knows_nodes {
                true => None,
                false => Some(read_all(api, &ways).await?),
            };
            let question = question(&asked, &ways, victims.as_ref());
            let answer = ask(client, extender, verb, &question).await;
            match answer.and_then(|answer| left(&answer, &ways, extender.is_ignorable, &on)) {
                Ok(left) => ways = left,
                Err(error) if extender.is_ignorable => {
                    tracing::warn!(error, url = extender.url, "an extender fails and is passed over");
                }
                Err(error) => return Err(format!("extender {}: {error}", extender.url)),
            }
        }
        Ok(ways)
    }
}

/// The victims as the API server has them. Who has gone meanwhile is left out.
async fn read_all(api: &Client, ways: &[Preemption]) -> Result<HashMap<ObjectKey, Value>, String> {
    let victims = ways.iter().flat_map(|way| &way.victims);
    let keys: Vec<ObjectKey> = victims.map(|victim| victim.key.clone()).collect();
    let read = |key: ObjectKey| {
        let api = api.clone();
        async move {
            let read = whole(&api, &key).await;
            (key, read)
        }
    };
    let mut reads = futures::stream::iter(keys).map(read).buffer_unordered(READS);
    let mut pods = HashMap::new();
    while let Some((key, read)) = reads.next().await {
        match read {
            Ok(pod) => drop(pods.insert(key, pod)),
            Err(error) => tracing::debug!(pod = %key, error, "a victim cannot be read"),
        }
    }
    match pods.is_empty() {
        true => Err("the pods that would go cannot be read".to_owned()),
        false => Ok(pods),
    }
}

/// What is asked: by uid, or with the pods themselves where those are given.
fn question(pod: &Value, ways: &[Preemption], whole: Option<&HashMap<ObjectKey, Value>>) -> Value {
    let of = |way: &Preemption| {
        let pods: Vec<Value> = match whole {
            None => way
                .victims
                .iter()
                .map(|victim| json!({"UID": *victim.uid}))
                .collect(),
            Some(whole) => way
                .victims
                .iter()
                .filter_map(|victim| whole.get(&victim.key).cloned())
                .collect(),
        };
        let victims = json!({"Pods": pods, "NumPDBViolations": way.violations()});
        (way.node.to_string(), victims)
    };
    let by_node: Map<String, Value> = ways.iter().map(of).collect();
    let (victims, meta) = match whole {
        None => (Value::Null, Value::Object(by_node)),
        Some(_) => (Value::Object(by_node), Value::Null),
    };
    json!({"Pod": pod, "NodeNameToVictims": victims, "NodeNameToMetaVictims": meta})
}

/// The ways that an extender leaves, as it wants them; why that can't be said. Where nobody would go it says nothing that
/// can be followed: of one that may fail those nodes alone are passed over.
fn left(
    answer: &Value,
    ways: &[Preemption],
    may_fail: bool,
    on: impl Fn(&str, &str) -> Option<Victim>,
) -> Result<Vec<Preemption>, String> {
    let asked: BTreeMap<&str, &Preemption> = ways.iter().map(|way| (&*way.node, way)).collect();
    let mut left = Vec::new();
    for (node, wanted) in member(answer, "NodeNameToMetaVictims")
        .as_object()
        .into_iter()
        .flatten()
    {
        let Some(way) = asked.get(node.as_str()) else {
            return Err(format!("it claims node {node:?}, which it was not asked about"));
        };
        let pods = member(wanted, "Pods").as_array().into_iter().flatten();
        let victim = |pod: &Value| {
            let uid = member(pod, "UID").as_str().unwrap_or_default();
            let known = way.victims.iter().find(|victim| *victim.uid == *uid);
            let victim = known.cloned().or_else(|| on(node, uid));
            victim.ok_or_else(|| format!("it claims pod {uid:?} on node {node:?}, which is not there"))
        };
        let victims = pods.map(victim).collect::<Result<Vec<_>, _>>()?;
        let violations = member(wanted, "NumPDBViolations").as_u64().unwrap_or(0);
        match (*way)
            .clone()
            .by(victims, usize::try_from(violations).unwrap_or(usize::MAX))
        {
            Some(way) => left.push(way),
            None if may_fail => {}
            None => return Err(format!("it claims that nobody has to go from node {node:?}")),
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::preempt::{Outcome, cheapest, ways};
    use crate::known::cluster::Cluster;
    use crate::profile::rules::Rules;
    use crate::testing::{cluster, hold, pending, with_cpu, world};

    /// Nodes a, with victim a1 of two pods, and b, with one dearer victim.
    fn given() -> (Cluster, Vec<Preemption>) {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        hold(&mut cluster, "a1", "a", 1, 2);
        hold(&mut cluster, "a2", "a", 2, 2);
        hold(&mut cluster, "b1", "b", 5, 4);
        let mut spec = with_cpu("2");
        spec["priority"] = json!(100);
        let (pod, key) = (pending(spec), ObjectKey::new("ns", "p"));
        let ways = ways(&key, &pod, &mut cluster, &world(), &Rules::default(), WAYS_MAX).unwrap();
        (cluster, ways)
    }

    #[test]
    fn who_knows_pods_is_told_their_uids_and_others_the_pods() {
        let (_, ways) = given();
        let pod = json!({"kind": "Pod"});
        let victims = |uid: &str| json!({"Pods": [{"UID": uid}], "NumPDBViolations": 0});
        let want = json!({"Pod": pod, "NodeNameToVictims": null,
            "NodeNameToMetaVictims": {"a": victims("a1"), "b": victims("b1")}});
        assert_eq!(question(&pod, &ways, None), want);
        let whole = [(ObjectKey::new("ns", "a1"), json!({"metadata": {"name": "a1"}}))];
        let asked = question(&pod, &ways, Some(&whole.into()));
        assert_eq!(
            asked["NodeNameToVictims"]["a"]["Pods"],
            json!([{"metadata": {"name": "a1"}}])
        );
        assert_eq!(asked["NodeNameToVictims"]["b"]["Pods"], json!([]));
        assert!(asked["NodeNameToMetaVictims"].is_null());
    }

    #[test]
    fn what_is_left_is_followed_if_it_can_be() {
        let (mut cluster, ways) = given();
        let holders = |cluster: &mut Cluster, node: &str| -> Vec<Victim> {
            let candidate = cluster.candidate(node).unwrap();
            candidate
                .holders
                .iter()
                .map(|(key, holder)| Victim::of(key, holder))
                .collect()
        };
        let on_a = holders(&mut cluster, "a");
        let on = |node: &str, uid: &str| {
            on_a.iter()
                .find(|victim| node == "a" && *victim.uid == *uid)
                .cloned()
        };
        let followed = |answer: &Value, may_fail| match left(answer, &ways, may_fail, on).map(cheapest) {
            Ok(Outcome::Evict(way)) => {
                let names: Vec<&str> = way.victims.iter().map(|victim| &*victim.key.name).collect();
                format!("{}: {}", way.node, names.join(" "))
            }
            Ok(other) => format!("{other:?}"),
            Err(why) => why,
        };
        let of = |node: &str, uids: &[&str], violations: u64| {
            let pods: Vec<Value> = uids.iter().map(|uid| json!({"UID": uid})).collect();
            json!({"nodeNameToMetaVictims": {node: {"pods": pods, "numPDBViolations": violations}}})
        };
        for (what, answer, want) in [
            ("all", of("a", &["a1"], 0), "a: a1"),
            ("the dearer one alone", of("b", &["b1"], 0), "b: b1"),
            ("somebody else", of("a", &["a2", "a1"], 0), "a: a1 a2"),
            ("none", json!({"NodeNameToMetaVictims": {}}), "Impossible"),
            ("nothing", json!({}), "Impossible"),
            (
                "who isn't there",
                of("b", &["a1"], 0),
                "it claims pod \"a1\" on node \"b\", which is not there",
            ),
            (
                "another node",
                of("c", &["a1"], 0),
                "it claims node \"c\", which it was not asked about",
            ),
            (
                "nobody",
                of("a", &[], 0),
                "it claims that nobody has to go from node \"a\"",
            ),
        ] {
            assert_eq!(followed(&answer, false), want, "{what}");
        }
        assert_eq!(followed(&of("a", &[], 0), true), "Impossible");
        let mut both = of("a", &["a1"], 1);
        orlop_api::patch::merge(&mut both, &of("b", &["b1"], 0));
        assert_eq!(followed(&both, false), "b: b1", "a budget is spared");
    }
}
