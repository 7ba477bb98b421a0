//! A rolling update, beside the time that the pods' own start makes unavoidable.
use super::exchange::Exchanges;
use super::pods::Pods;
use super::{Cluster, PATIENCE, sets};
use crate::report;
use anyhow::Result;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From binding to running.
const START_DELAY: Duration = Duration::from_secs(2);
/// In one go.
const PERCENT: usize = 10;

pub async fn measure(program: &Path, nodes: usize) -> Result<()> {
    let mut cluster = Cluster::start(program).await?;
    let delay = format!("--start-delay={}s", START_DELAY.as_secs());
    cluster.more_nodes(nodes, &[&delay]).await?;
    sets::untainted(&cluster.client, nodes, PATIENCE).await?;
    let mut set = sets::daemon_set("roll", "1");
    set["spec"]["updateStrategy"] = json!({"rollingUpdate": {"maxUnavailable": format!("{PERCENT}%")}});
    sets::create(&cluster.client, &set).await?;
    sets::available(&cluster.client, "roll", nodes, PATIENCE).await?;
    let exchanges = Arc::new(Exchanges::default());
    let observed = exchanges.clone();
    let _pods = Pods::watch_and(&cluster.client, move |change| observed.observe(change)).await;
    exchanges.begin();
    let before = cluster.spent()?;
    let began = Instant::now();
    let api: Api<DaemonSet> = Api::namespaced(cluster.client.clone(), "default");
    let next = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "agent", "image": "registry.example/agent:2"}]}}}});
    api.patch("roll", &PatchParams::default(), &Patch::Strategic(next))
        .await?;
    sets::rolled_out(&cluster.client, "roll", nodes, PATIENCE).await?;
    let lasted = began.elapsed();
    let unavoidable = START_DELAY * u32::try_from(100 / PERCENT)?;
    let what = format!("rolling update of {nodes} nodes, {PERCENT} % at a time");
    report::ratio(&what, &[lasted], &[unavoidable], 1.3);
    let [server, controllers, scheduler] = cluster.spent()?.each(before, nodes);
    let [gone, created, bound, running] = exchanges.steps().map(|step| step.as_millis());
    println!(
        "  of each exchange usually: deleted to gone {gone} ms, to created {created} ms, to bound {bound} ms, to running \
         {running} ms"
    );
    println!(
        "  reference: the pods' own start; processor time of each pod: server {server} us, controllers {controllers} us, \
         scheduler {scheduler} us"
    );
    Ok(())
}
