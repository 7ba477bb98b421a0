//! Asks extenders.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use orlop_client::informer::ObjectKey;
use orlop_client::{connect_to, message};
use serde_json::{Value, json};

use super::nodes::Nodes;
use super::{Extender, ExtenderTls, passed, question, said, scores};
use crate::known::view::Pending;

/// The longest that reading a pod may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// All of them, in the order in which they are asked.
#[derive(Clone, Default)]
pub struct Extenders {
    pub(super) all: Vec<(Arc<Extender>, Client)>,
    /// What those get who don't know nodes.
    nodes: Option<Nodes>,
}

/// What they leave of the nodes for a pod.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Nodes with how good they are.
    pub nodes: Vec<(Arc<str>, f64)>,
    /// Why others are left out, each with whether other pods' leaving might help.
    pub refused: Vec<(String, bool)>,
}

impl Extenders {
    /// Prepares to ask them; which of them can't be asked, and why.
    pub async fn connect(extenders: &[Extender]) -> Result<Self, String> {
        let mut all = Vec::with_capacity(extenders.len());
        for extender in extenders {
            let client = client(extender).await;
            let client = client.map_err(|why| format!("extender {}: {why}", extender.url))?;
            all.push((Arc::new(extender.clone()), client));
        }
        let whole = extenders
            .iter()
            .any(|extender| extender.judges() && !extender.knows_nodes);
        let nodes = whole.then(Nodes::new);
        Ok(Self { all, nodes })
    }

    /// Keeps up what they are told of nodes, for as long as it is polled.
    pub async fn run(self, client: Client) {
        match self.nodes {
            Some(nodes) => nodes.run(client).await,
            None => std::future::pending().await,
        }
    }

    /// Those whom the pod concerns.
    pub fn minding(&self, pod: &Pending) -> Self {
        let minding = self.all.iter().filter(|(extender, _)| extender.minds(pod));
        Self {
            all: minding.cloned().collect(),
            nodes: self.nodes.clone(),
        }
    }

    /// Nobody is there to be asked.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Asks all which of the nodes will do for a pod, and how good they are beside what we think of them. `api` is where
    /// the pod is read whole. An error is that of one that must not fail.
    pub async fn judge(
        &self,
        api: &Client,
        pod: &ObjectKey,
        nodes: Vec<(Arc<str>, f64)>,
    ) -> Result<Verdict, String> {
        let mut verdict = Verdict {
            nodes,
            refused: Vec::new(),
        };
        // Others only bind.
        if verdict.nodes.is_empty() || !self.all.iter().any(|(extender, _)| extender.judges()) {
            return Ok(verdict);
        }
        let whole = whole(api, pod).await?;
        for (extender, client) in &self.all {
            let Some(verb) = &extender.filter else { continue };
            if verdict.nodes.is_empty() {
                break;
            }
            let names: Vec<Arc<str>> = verdict.nodes.iter().map(|(name, _)| name.clone()).collect();
            let question = question(&whole, &names, self.listed(extender, &names).await?);
            let answer = ask(client, extender, verb, &question).await;
            match answer.and_then(|answer| passed(&answer, &names, extender.knows_nodes)) {
                Ok(passed) => {
                    let left: HashSet<&Arc<str>> = passed.names.iter().collect();
                    verdict.nodes.retain(|(name, _)| left.contains(name));
                    verdict.refused.extend(passed.refused);
                }
                Err(error) if extender.is_ignorable => {
                    tracing::warn!(error, url = extender.url, "an extender fails and is passed over");
                }
                Err(error) => return Err(format!("extender {}: {error}", extender.url)),
            }
        }
        // There is nothing to compare one node with.
        if verdict.nodes.len() > 1 {
            self.compare(&whole, &mut verdict.nodes).await?;
        }
        Ok(verdict)
    }

    /// Adds what they think of the nodes. One that fails has no opinion.
    async fn compare(&self, pod: &Value, nodes: &mut [(Arc<str>, f64)]) -> Result<(), String> {
        let names: Vec<Arc<str>> = nodes.iter().map(|(name, _)| name.clone()).collect();
        for (extender, client) in &self.all {
            let Some(verb) = &extender.prioritize else {
                continue;
            };
            let question = question(pod, &names, self.listed(extender, &names).await?);
            let answer = match ask(client, extender, verb, &question).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::warn!(error, url = extender.url, "an extender does not compare nodes");
                    continue;
                }
            };
            let scores = scores(&answer);
            for (name, score) in nodes.iter_mut() {
                let theirs = scores.get(&**name).copied().unwrap_or(0);
                *score += decimal(theirs.saturating_mul(extender.factor()));
            }
        }
        Ok(())
    }

    /// The nodes for an extender that doesn't know them.
    async fn listed(&self, extender: &Extender, names: &[Arc<str>]) -> Result<Option<Vec<Value>>, String> {
        match &self.nodes {
            Some(nodes) if !extender.knows_nodes => Ok(Some(nodes.named(names).await?)),
            _ => Ok(None),
        }
    }

    /// Has the pod bound by the first of them that binds pods; whether there is one.
    pub async fn bind(&self, pod: &ObjectKey, uid: &str, node: &str) -> Result<bool, String> {
        let binding =
            json!({"PodName": *pod.name, "PodNamespace": *pod.namespace, "PodUID": uid, "Node": node});
        for (extender, client) in &self.all {
            let Some(verb) = &extender.bind else { continue };
            let bound = ask(client, extender, verb, &binding).await;
            match bound.and_then(|answer| said(&answer)) {
                Ok(()) => return Ok(true),
                Err(error) if extender.is_ignorable => {
                    tracing::warn!(
                        error,
                        url = extender.url,
                        "an extender does not bind and is passed over"
                    );
                }
                Err(error) => return Err(format!("extender {}: {error}", extender.url)),
            }
        }
        Ok(false)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a score needs no more precision")]
fn decimal(score: i64) -> f64 {
    score as f64
}

/// The pod as the API server has it.
pub(super) async fn whole(api: &Client, pod: &ObjectKey) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(PATIENCE, api.request(request)).await;
    let answer = answer.map_err(|_| format!("the API server does not answer within {PATIENCE:?}"))?;
    answer.map_err(|error| message(&error))
}

pub(super) async fn ask(
    client: &Client,
    extender: &Extender,
    verb: &str,
    question: &Value,
) -> Result<Value, String> {
    let request = Request::post(format!("/{verb}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(question.to_string().into_bytes())
        .map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(extender.timeout, client.request(request)).await;
    let answer = answer.map_err(|_| format!("no answer within {:?}", extender.timeout))?;
    answer.map_err(|error| message(&error))
}

/// A client that calls nobody but the extender.
async fn client(extender: &Extender) -> Result<Client, String> {
    let ExtenderTls {
        insecure,
        server_name,
        ca,
        certificate,
        key,
    } = &extender.tls;
    let cluster = json!({"server": extender.url, "insecure-skip-tls-verify": insecure, "tls-server-name": server_name,
        "certificate-authority": ca[0], "certificate-authority-data": ca[1]});
    let user = json!({"client-certificate": certificate[0], "client-certificate-data": certificate[1],
        "client-key": key[0], "client-key-data": key[1]});
    let kubeconfig: Kubeconfig = serde_json::from_value(json!({
        "clusters": [{"name": "extender", "cluster": cluster}],
        "users": [{"name": "extender", "user": user}],
        "contexts": [{"name": "extender", "context": {"cluster": "extender", "user": "extender"}}],
        "current-context": "extender",
    }))
    .map_err(|error| error.to_string())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.map_err(|error| error.to_string())?;
    connect_to(config).map_err(|error| error.to_string())
}
