//! `metrics.k8s.io`: what nodes and pods use now, from the agents' own numbers, for `kubectl top` without an add-on.
//!
//! Agents are asked only when somebody asks here. What they said is kept for [`FRESH`]; a rate needs two readings, so
//! the first question after a while takes a second.
mod reading;

use crate::ApiServer;
use crate::cache::Object;
use crate::http::{Answer, Call};
use crate::kubelet;
use crate::registry::{now, present_value, whole_seconds};
use crate::request::Filter;
use crate::resources::{self, Resource};
use crate::status::ApiError;
use futures::{StreamExt, stream};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use reading::{Reading, Used};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The API group.
pub const GROUP: &str = "metrics.k8s.io";
/// A reading that is younger is not asked for again.
const FRESH: Duration = Duration::from_secs(10);
/// A reading that is older says nothing about now.
const STALE: Duration = Duration::from_secs(120);
/// Time between the two readings of a first question.
const FIRST_WINDOW: Duration = Duration::from_secs(1);
/// An agent that takes longer is left out.
const ASK_TIME_MAX: Duration = Duration::from_secs(5);
/// Agents asked at the same time.
const ASKED_MAX: usize = 32;
/// Bytes of an agent's answer that are read.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// The last readings of every node.
#[derive(Default)]
pub struct Usage {
    nodes: parking_lot::Mutex<HashMap<String, Arc<Mutex<Readings>>>>,
}

#[derive(Default)]
struct Readings {
    before: Option<Reading>,
    last: Option<(Reading, tokio::time::Instant)>,
}

/// What a node and its containers used.
struct NodeUsage {
    node: Option<Used>,
    /// By namespace and pod.
    pods: BTreeMap<(String, String), Vec<(String, Used)>>,
}

/// Answers a request for NodeMetrics or PodMetrics.
pub async fn answer(call: &Call) -> Result<Answer, ApiError> {
    let list = call.info.verb == "list";
    if !list && call.info.verb != "get" {
        return Err(ApiError::method_not_allowed());
    }
    let nodes = call.resource.plural == "nodes";
    let filter = Filter::parse(call.resource, &call.info.namespace, &call.query)?;
    let name = match list {
        true => None,
        false => Some(call.info.name.as_str()),
    };
    let items = match nodes {
        true => of_nodes(&call.server, &filter, name).await,
        false => of_pods(&call.server, &filter, name).await,
    };
    if let Some(name) = name {
        let item = items.into_iter().next();
        let item = item.ok_or_else(|| ApiError::not_found(call.resource, name))?;
        return present_value(call, StatusCode::OK, item);
    }
    let list = json!({"kind": format!("{}List", call.resource.kind), "apiVersion": call.resource.api_version(),
        "metadata": {}, "items": items});
    Ok(Answer::Value(StatusCode::OK, list))
}

fn objects(server: &ApiServer, plural: &str, filter: &Filter, name: Option<&str>) -> Vec<Arc<Object>> {
    let Some(resource) = resources::find("", "v1", plural) else {
        return Vec::new();
    };
    match name {
        Some(name) => server
            .cache
            .object(resource, &filter.namespace, name)
            .into_iter()
            .collect(),
        None => {
            let storage = server.cache.storage(resource);
            let all = storage.map(|id| {
                server
                    .cache
                    .snapshot_where(id, &filter.namespace, |o| filter.matches(o))
            });
            all.map(|all| all.objects).unwrap_or_default()
        }
    }
}

async fn of_nodes(server: &ApiServer, filter: &Filter, name: Option<&str>) -> Vec<Value> {
    let nodes = objects(server, "nodes", filter, name);
    let names = nodes.iter().map(|node| node.name().to_owned());
    let usages = ask(server, names.collect()).await;
    let shown = nodes.iter().filter_map(|node| {
        let used = usages.get(node.name())?.node?;
        let mut item = head("NodeMetrics", node, &used);
        item["usage"] = usage(&used);
        Some(item)
    });
    shown.collect()
}

async fn of_pods(server: &ApiServer, filter: &Filter, name: Option<&str>) -> Vec<Value> {
    let pods: Vec<(Arc<Object>, String)> = objects(server, "pods", filter, name)
        .into_iter()
        .filter_map(|pod| {
            let [node] = pod.at(["/spec/nodeName"]);
            let node = node?.as_str()?.to_owned();
            Some((pod, node))
        })
        .collect();
    let mut names: Vec<String> = pods.iter().map(|(_, node)| node.clone()).collect();
    names.sort();
    names.dedup();
    let usages = ask(server, names).await;
    let shown = pods.iter().filter_map(|(pod, node)| {
        let key = (pod.namespace().to_owned(), pod.name().to_owned());
        let containers = usages.get(node)?.pods.get(&key)?;
        let latest = containers
            .iter()
            .map(|(_, used)| used)
            .max_by_key(|used| used.at)?;
        let mut item = head("PodMetrics", pod, latest);
        item["metadata"]["namespace"] = json!(pod.namespace());
        let containers = containers.iter();
        item["containers"] = containers
            .map(|(name, used)| json!({"name": name, "usage": usage(used)}))
            .collect();
        Some(item)
    });
    shown.collect()
}

fn head(kind: &str, of: &Object, used: &Used) -> Value {
    let mut metadata = json!({"name": of.name(), "creationTimestamp": now()});
    let labels: Map<String, Value> = of
        .labels()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    if !labels.is_empty() {
        metadata["labels"] = Value::Object(labels);
    }
    let at = Timestamp::from_millisecond(used.at).unwrap_or_default();
    json!({"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata,
        "timestamp": whole_seconds(at), "window": window(used.window)})
}

fn usage(used: &Used) -> Value {
    let memory = match used.bytes % 1024 {
        0 => format!("{}Ki", used.bytes / 1024),
        _ => used.bytes.to_string(),
    };
    json!({"cpu": format!("{}n", used.nanocores), "memory": memory})
}

/// As Go writes a duration.
fn window(milliseconds: i64) -> String {
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let (seconds, thousandths) = (rest / 1000, rest % 1000);
    let fraction = match thousandths {
        0 => String::new(),
        some => format!(".{some:03}").trim_end_matches('0').to_owned(),
    };
    match minutes {
        0 => format!("{seconds}{fraction}s"),
        minutes => format!("{minutes}m{seconds}{fraction}s"),
    }
}

/// Asks the agents of these nodes; those that don't answer are left out.
async fn ask(server: &ApiServer, nodes: Vec<String>) -> HashMap<String, NodeUsage> {
    forget_gone(server);
    let asked = nodes.into_iter().map(|node| async move {
        let usage = of_node(server, &node).await?;
        Some((node, usage))
    });
    let answers = stream::iter(asked).buffer_unordered(ASKED_MAX);
    answers.filter_map(|answer| async move { answer }).collect().await
}

async fn of_node(server: &ApiServer, node: &str) -> Option<NodeUsage> {
    let readings = server
        .usage
        .nodes
        .lock()
        .entry(node.to_owned())
        .or_default()
        .clone();
    // Who asks at the same time waits for one answer.
    let mut readings = readings.lock().await;
    let age = readings.last.as_ref().map(|(_, at)| at.elapsed());
    if age.is_none_or(|age| age > STALE) {
        *readings = Readings::default();
    }
    if readings.before.is_none() || age.is_none_or(|age| age > FRESH) {
        if readings.last.is_none() {
            readings.take(read(server, node).await?);
            tokio::time::sleep(FIRST_WINDOW).await;
        }
        readings.take(read(server, node).await?);
    }
    let (before, (last, _)) = (readings.before.as_ref()?, readings.last.as_ref()?);
    let mut usage = NodeUsage {
        node: last.node.since(&before.node),
        pods: BTreeMap::new(),
    };
    for (key, counter) in &last.containers {
        let Some(used) = before
            .containers
            .get(key)
            .and_then(|earlier| counter.since(earlier))
        else {
            continue;
        };
        let (namespace, pod, container) = key.clone();
        usage
            .pods
            .entry((namespace, pod))
            .or_default()
            .push((container, used));
    }
    Some(usage)
}

impl Readings {
    fn take(&mut self, reading: Reading) {
        let last = self.last.replace((reading, tokio::time::Instant::now()));
        // An agent that answers from a memory of its own may say the same twice: the older pair still holds.
        if let Some((last, _)) = last
            && self
                .last
                .as_ref()
                .is_none_or(|(now, _)| now.node.at != last.node.at)
        {
            self.before = Some(last);
        }
    }
}

async fn read(server: &ApiServer, node: &str) -> Option<Reading> {
    let asked = async {
        let response = kubelet::get(server, node, "/metrics/resource", kubelet::Trust::Configured)
            .await
            .map_err(|e| e.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("{} for /metrics/resource", response.status()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        Ok(body.map_err(|e| e.to_string())?.to_bytes())
    };
    let answer = tokio::time::timeout(ASK_TIME_MAX, asked).await;
    match answer.unwrap_or_else(|_| Err(format!("no answer within {ASK_TIME_MAX:?}"))) {
        Ok(text) => {
            let now = Timestamp::now().as_millisecond();
            Some(Reading::parse(&String::from_utf8_lossy(&text), now))
        }
        Err(error) => {
            tracing::info!(node, error, "the agent does not say what its pods use");
            None
        }
    }
}

/// Forgets nodes that are gone.
fn forget_gone(server: &ApiServer) {
    let Some(kind) = resources::find("", "v1", "nodes") else {
        return;
    };
    let there = |node: &str| server.cache.object(kind, "", node).is_some();
    server.usage.nodes.lock().retain(|node, _| there(node));
}

/// The resources of this group.
pub const NODES: Resource = Resource {
    version: "v1beta1",
    verbs: &["get", "list"],
    storage: "",
    namespaced: false,
    ..Resource::new(GROUP, "nodes", "", "NodeMetrics")
};
pub const PODS: Resource = Resource {
    version: "v1beta1",
    verbs: &["get", "list"],
    storage: "",
    ..Resource::new(GROUP, "pods", "", "PodMetrics")
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        assert_eq!(window(10_020), "10.02s");
        assert_eq!(window(1000), "1s");
        assert_eq!(window(61_500), "1m1.5s");
    }
}
