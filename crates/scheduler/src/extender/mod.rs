//! Extenders: programs of others that are asked over HTTP where a pod may go, which nodes are better, by whose leaving room
//! may be made, and to bind it.
//!
//! Here is whom a pod concerns, what is asked, and what the answers mean; [`call`](self::call) asks. Where room may be made
//! for a pod, and by whose leaving: [`room`](self::room).

mod call;
mod nodes;
mod room;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::known::view::Pending;

pub use call::Extenders;
pub use room::WAYS_MAX;

/// One of them, as the scheduler's configuration describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Extender {
    /// What all that is asked of it begins with: an address without the last slash.
    pub url: String,
    /// How its address and ours are proved.
    pub tls: ExtenderTls,
    /// The longest that an answer may take.
    pub timeout: Duration,
    /// What leaves out nodes, as the last part of an address.
    pub filter: Option<String>,
    /// What says by whose leaving room may be made.
    pub preempt: Option<String>,
    /// What compares nodes.
    pub prioritize: Option<String>,
    /// By how much its word counts beside ours.
    pub weight: i64,
    /// What binds pods in our place.
    pub bind: Option<String>,
    /// It remembers nodes itself: names are enough.
    pub knows_nodes: bool,
    /// It is asked about pods that want one of these, about all if there are none.
    pub resources: Vec<ManagedResource>,
    /// Pods are placed without it while it fails.
    pub is_ignorable: bool,
}

/// A resource that an extender looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedResource {
    /// Its name.
    pub name: String,
    /// Whether there is enough of it is the extender's business alone.
    pub is_only_its: bool,
}

/// How an extender and its caller know each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtenderTls {
    /// Whatever certificate it shows will do.
    pub insecure: bool,
    /// The name in its certificate, where it is another than that in the address.
    pub server_name: Option<String>,
    /// Files, and the same in base64, which goes before: who signs its certificates, ours, and our key.
    pub ca: [Option<String>; 2],
    /// See `ca`.
    pub certificate: [Option<String>; 2],
    /// See `ca`.
    pub key: [Option<String>; 2],
}

/// Upstream's scores of nodes reach so far.
const SCORE_MAX: i64 = 100;
/// Those of extenders do.
const EXTENDERS_SCORE_MAX: i64 = 10;

impl Extender {
    /// Whether the pod concerns it.
    pub fn minds(&self, pod: &Pending) -> bool {
        let wanted = &pod.takes.requested;
        let mut managed = self.resources.iter();
        self.resources.is_empty() || managed.any(|resource| wanted.contains_key(resource.name.as_str()))
    }

    /// It has a word in where pods go; others only bind them.
    fn judges(&self) -> bool {
        self.filter.is_some() || self.prioritize.is_some()
    }

    /// What its scores are multiplied with.
    fn factor(&self) -> i64 {
        self.weight.saturating_mul(SCORE_MAX / EXTENDERS_SCORE_MAX)
    }
}

/// What an extender is asked about a pod and some nodes: names if that is enough, else the nodes themselves.
fn question(pod: &Value, names: &[Arc<str>], nodes: Option<Vec<Value>>) -> Value {
    let nodes = nodes.map(|nodes| json!({"metadata": {}, "items": nodes}));
    let names = nodes
        .is_none()
        .then(|| names.iter().map(|name| &**name).collect::<Vec<_>>());
    json!({"Pod": pod, "Nodes": nodes, "NodeNames": names})
}

/// A member of an answer; the case of its name is up to whoever wrote it.
fn member<'v>(of: &'v Value, name: &str) -> &'v Value {
    let members = of.as_object().into_iter().flatten();
    let mut named = members.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    named.next().map_or(&Value::Null, |(_, value)| value)
}

/// What is left of the nodes.
#[derive(Debug, Default, PartialEq)]
struct Passed {
    names: Vec<Arc<str>>,
    /// Why others are not, each with whether other pods' leaving might help.
    refused: Vec<(String, bool)>,
}

/// What an extender made of `asked`; why that can't be said.
/// `knows_nodes`: it answers by their names, else with the whole nodes.
fn passed(answer: &Value, asked: &[Arc<str>], knows_nodes: bool) -> Result<Passed, String> {
    said(answer)?;
    let names: Vec<&str> = match (knows_nodes, member(answer, "NodeNames")) {
        (true, Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => {
            let items = member(member(answer, "Nodes"), "items").as_array();
            let items = items.into_iter().flatten();
            items
                .filter_map(|node| node["metadata"]["name"].as_str())
                .collect()
        }
    };
    let asked: HashMap<&str, &Arc<str>> = asked.iter().map(|name| (&**name, name)).collect();
    let known = |name: &str| {
        let known = asked.get(name).copied().cloned();
        known.ok_or_else(|| format!("it claims node {name:?}, which it was not asked about"))
    };
    let names = names.into_iter().map(known).collect::<Result<_, _>>()?;
    let reasons = |name: &str| -> BTreeMap<String, String> {
        serde_json::from_value(member(answer, name).clone()).unwrap_or_default()
    };
    let never = reasons("FailedAndUnresolvableNodes");
    let now = reasons("FailedNodes")
        .into_iter()
        .filter(|(node, _)| !never.contains_key(node));
    let mut refused: Vec<(String, bool)> = now.map(|(_, why)| (why, true)).collect();
    refused.extend(never.into_values().map(|why| (why, false)));
    Ok(Passed { names, refused })
}

/// What it says went wrong.
fn said(answer: &Value) -> Result<(), String> {
    match member(answer, "Error").as_str().unwrap_or_default() {
        "" => Ok(()),
        error => Err(error.to_owned()),
    }
}

/// How an extender compares nodes.
fn scores(answer: &Value) -> BTreeMap<&str, i64> {
    let scores = answer.as_array().into_iter().flatten();
    let score = |score: &'_ Value| member(score, "Score").as_i64();
    scores
        .filter_map(|of| Some((member(of, "Host").as_str()?, score(of)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pending;

    fn extender(resources: &[&str]) -> Extender {
        let managed = |name: &&str| ManagedResource {
            name: (*name).to_owned(),
            is_only_its: false,
        };
        Extender {
            url: "http://127.0.0.1:1/x".to_owned(),
            tls: ExtenderTls::default(),
            timeout: Duration::from_secs(1),
            filter: None,
            preempt: None,
            prioritize: None,
            weight: 3,
            bind: None,
            knows_nodes: true,
            resources: resources.iter().map(managed).collect(),
            is_ignorable: false,
        }
    }

    #[test]
    fn pods_concern_those_who_look_after_something_they_want() {
        let pod = pending(json!({"containers": [{"name": "c", "resources": {
            "limits": {"example.com/gpu": "1"}, "requests": {"example.com/gpu": "1"}}}]}));
        assert!(extender(&[]).minds(&pod));
        assert!(extender(&["example.com/other", "example.com/gpu"]).minds(&pod));
        assert!(!extender(&["example.com/other"]).minds(&pod));
        assert_eq!(extender(&[]).factor(), 30);
    }

    #[test]
    fn answers_are_read_whatever_the_case_of_their_members() {
        let asked: Vec<Arc<str>> = vec!["a".into(), "b".into(), "c".into()];
        let (a, c): (Arc<str>, Arc<str>) = ("a".into(), "c".into());
        for (answer, want) in [
            (
                json!({"NodeNames": ["a", "c"], "FailedNodes": {"b": "full"}}),
                Ok((vec![a.clone(), c], vec![("full".to_owned(), true)])),
            ),
            (
                json!({"nodes": {"items": [{"metadata": {"name": "a"}}]}, "nodenames": null,
                    "failednodes": {"b": "full", "c": "full"}, "failedAndUnresolvableNodes": {"c": "no such card"}}),
                Ok((
                    vec![a],
                    vec![("full".to_owned(), true), ("no such card".to_owned(), false)],
                )),
            ),
            (json!({}), Ok((vec![], vec![]))),
            (json!({"Error": "out of order"}), Err("out of order".to_owned())),
            (
                json!({"NodeNames": ["z"]}),
                Err("it claims node \"z\", which it was not asked about".to_owned()),
            ),
        ] {
            let knows_nodes = !answer["NodeNames"].is_null() || !answer["nodeNames"].is_null();
            let read = passed(&answer, &asked, knows_nodes).map(|passed| (passed.names, passed.refused));
            assert_eq!(read, want, "{answer}");
        }
        let answer = json!([{"Host": "a", "Score": 7}, {"host": "b", "score": 2}, {"Host": "c"}]);
        assert_eq!(scores(&answer), [("a", 7), ("b", 2)].into());
    }

    #[test]
    fn who_remembers_nodes_is_told_their_names() {
        let (pod, names) = (json!({"kind": "Pod"}), ["a".into()]);
        let by_name = json!({"Pod": pod, "Nodes": null, "NodeNames": ["a"]});
        assert_eq!(question(&pod, &names, None), by_name);
        let node = json!({"metadata": {"name": "a"}});
        let whole = json!({"Pod": pod, "Nodes": {"metadata": {}, "items": [node]}, "NodeNames": null});
        assert_eq!(question(&pod, &names, Some(vec![node])), whole);
    }
}
