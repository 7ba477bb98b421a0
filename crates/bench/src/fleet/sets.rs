//! DaemonSets of the measurements.
use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use serde_json::json;
use std::time::{Duration, Instant};

/// One container with usual requests.
pub fn daemon_set(name: &str, version: &str) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "agent",
                    "image": format!("registry.example/agent:{version}"),
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                }]},
            },
        },
    })
}

fn api(client: &kube::Client) -> Api<DaemonSet> {
    Api::namespaced(client.clone(), "default")
}

pub async fn create(client: &kube::Client, set: &serde_json::Value) -> Result<()> {
    let set = serde_json::from_value(set.clone())?;
    api(client).create(&PostParams::default(), &set).await?;
    Ok(())
}

pub async fn delete(client: &kube::Client, name: &str) -> Result<()> {
    api(client).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

async fn until(
    client: &kube::Client,
    name: &str,
    limit: Duration,
    holds: impl Condition<DaemonSet>,
) -> Result<()> {
    tokio::time::timeout(limit, await_condition(api(client), name, holds))
        .await
        .with_context(|| {
            format!(
                "DaemonSet {name} is not as it should be after {} s",
                limit.as_secs()
            )
        })??;
    Ok(())
}

/// Until so many pods are available.
pub async fn available(client: &kube::Client, name: &str, pods: usize, limit: Duration) -> Result<()> {
    let pods = i32::try_from(pods)?;
    let holds = move |set: Option<&DaemonSet>| {
        let status = set.and_then(|set| set.status.as_ref());
        status.is_some_and(|status| status.number_available == Some(pods))
    };
    until(client, name, limit, holds).await
}

/// Until all pods are of the newest template and available.
pub async fn rolled_out(client: &kube::Client, name: &str, pods: usize, limit: Duration) -> Result<()> {
    let pods = i32::try_from(pods)?;
    let holds = move |set: Option<&DaemonSet>| {
        set.is_some_and(|set| {
            set.status.as_ref().is_some_and(|status| {
                status.observed_generation == set.metadata.generation
                    && status.number_available == Some(pods)
                    && status.updated_number_scheduled == Some(pods)
            })
        })
    };
    until(client, name, limit, holds).await
}

/// Until so many nodes have lost the taint they are born with.
pub async fn untainted(client: &kube::Client, nodes: usize, limit: Duration) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let deadline = Instant::now() + limit;
    loop {
        let all = api.list(&ListParams::default()).await?;
        let clean = |node: &&Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            taints.is_none_or(Vec::is_empty)
        };
        let found = all.items.iter().filter(clean).count();
        if found == nodes {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{found} of {nodes} nodes are without taints"
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
