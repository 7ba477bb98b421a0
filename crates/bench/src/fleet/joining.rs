//! A node joins a large fleet, some of which comes and goes.
use super::{Cluster, PATIENCE, Pods, sets};
use crate::report;
use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const SETS: usize = 20;
/// Nodes that join, one after the other,
const JOINING: usize = 100;
/// and how much later the next one does: in all that time every moment of a flap is met, not one of them.
const EVERY: Duration = Duration::from_millis(250);

pub async fn measure(program: &Path, nodes: usize) -> Result<()> {
    let mut cluster = Cluster::start(program).await?;
    cluster
        .more_nodes(nodes, &["--flap=1%", "--flap-for=20s", "--start-delay=1s"])
        .await?;
    let pods = Pods::watch(&cluster.client).await;
    for number in 0..SETS {
        sets::create(
            &cluster.client,
            &sets::daemon_set(&format!("set{number:02}"), "1"),
        )
        .await?;
    }
    for number in 0..SETS {
        // A fleet at work, not one that is being filled. A hundredth is not ready at any moment: a node gets its pods when it is.
        pods.nearly_running(&format!("set{number:02}"), nodes, PATIENCE)
            .await?;
    }
    let api: Api<Node> = Api::all(cluster.client.clone());
    let mut samples = Vec::new();
    let before = cluster.spent()?;
    let mut next = tokio::time::interval(EVERY);
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0..JOINING {
        next.tick().await;
        let name = format!("joining-{number}");
        let node = json!({"metadata": {"name": name}, "status": {
            "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}]}});
        let began = Instant::now();
        api.create(&PostParams::default(), &serde_json::from_value::<Node>(node)?)
            .await?;
        pods.on_node(&name, SETS, PATIENCE).await?;
        samples.push(began.elapsed());
        api.delete(&name, &DeleteParams::default()).await?;
    }
    let what = format!("node joins {nodes} -> its {SETS} pods bound, 1 % flap, p99");
    report::percentile(&what, &samples, &[], Duration::from_millis(100));
    let [server, controllers, scheduler] = cluster.spent()?.each(before, JOINING);
    println!(
        "  median {:.1} ms; processor time of each node, flapping included: server {server} us, controllers {controllers} us, \
         scheduler {scheduler} us",
        report::median(&samples).as_secs_f64() * 1e3
    );
    Ok(())
}
