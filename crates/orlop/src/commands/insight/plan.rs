//! `orlop plan`: what applying a DaemonSet would do, on which nodes, in what order.
use super::cluster::{Cluster, Pods};
use crate::cli::{Output, PlanArgs};
use crate::show::render;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use orlop_controllers::insight::{Known, Plan};
use orlop_scheduler::explain::explain;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// Who applies, as field managers are called.
const MANAGER: &str = "orlop-plan";
/// Nodes named in a cell.
const NAMED_MAX: usize = 8;

pub async fn plan(arguments: &PlanArgs) -> Result<()> {
    let cluster = Cluster::of(&arguments.cluster).await?;
    let mut sets = read(&arguments.file)?;
    let mut first = true;
    for set in &mut sets {
        let metadata = &mut set["metadata"];
        if metadata["namespace"].as_str().is_none_or(str::is_empty) {
            metadata["namespace"] = Value::from(arguments.cluster.namespace.as_str());
        }
        let (plan, misfits) = of_one(&cluster, set).await?;
        match arguments.cluster.output {
            Output::Json => {
                let mut json = serde_json::to_value(&plan)?;
                json["willNotFit"] = serde_json::to_value(misfits)?;
                println!("{json:#}");
            }
            Output::Text => {
                if !std::mem::take(&mut first) {
                    println!();
                }
                print!("{}", in_text(&plan, &misfits));
            }
        }
    }
    Ok(())
}

/// The DaemonSets of a manifest.
fn read(path: &Path) -> Result<Vec<Value>> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let mut sets = Vec::new();
    for document in serde_saphyr::from_multiple::<Value>(&text)
        .with_context(|| format!("{} is no YAML", path.display()))?
    {
        match document["kind"].as_str() {
            Some("DaemonSet") => sets.push(document),
            Some("List") => {
                let items = document["items"].as_array().cloned().unwrap_or_default();
                sets.extend(items.into_iter().filter(|item| item["kind"] == "DaemonSet"));
            }
            _ => {}
        }
    }
    if sets.is_empty() {
        bail!("{} has no DaemonSet: only these are planned", path.display());
    }
    Ok(sets)
}

/// A pod that would wait for room.
#[derive(Debug, serde::Serialize)]
struct Misfit {
    node: String,
    why: String,
}

async fn of_one(cluster: &Cluster, set: &Value) -> Result<(Plan, Vec<Misfit>)> {
    let text = |field: &str| set["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    let existing = cluster.daemon_set(&namespace, &name).await?;
    let wanted = match cluster {
        Cluster::Server(client) => as_applied(client, &namespace, &name, set).await?,
        // Nobody there who knows the defaults; ours are those of the API.
        Cluster::File(_) => orlop_controllers::insight::with_defaults(set.clone())
            .with_context(|| format!("DaemonSet {name} cannot be read"))?,
    };
    let (nodes, pods) = (cluster.nodes().await?, cluster.pods(Pods::All).await?);
    let revisions = cluster.revisions(&namespace).await?;
    let known = Known {
        nodes: &nodes,
        pods: &pods,
        revisions: &revisions,
    };
    let plan = orlop_controllers::insight::plan(&wanted, existing.as_ref(), &known, Timestamp::now());
    let mut misfits = Vec::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        if !plan.creates_on(name) {
            continue;
        }
        let on_node = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name);
        // The pod that it replaces is gone by then.
        let others: Vec<Pod> = pods
            .iter()
            .filter(on_node)
            .filter(|pod| !plan.replaces(pod))
            .cloned()
            .collect();
        let pod = plan.pod_for(&wanted, name);
        let answer = explain(&pod, std::slice::from_ref(&node), &others);
        let refusal = answer.and_then(|answer| answer.nodes.into_iter().find(|node| node.rule.is_some()));
        misfits.extend(refusal.map(|refusal| Misfit {
            node: refusal.node,
            why: refusal.why,
        }));
    }
    Ok((plan, misfits))
}

/// What would be stored: defaults filled in, checked, and nothing written.
async fn as_applied(client: &kube::Client, namespace: &str, name: &str, set: &Value) -> Result<DaemonSet> {
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let parameters = PatchParams::apply(MANAGER).force().dry_run();
    let answer = api.patch(name, &parameters, &Patch::Apply(set)).await;
    answer.map_err(|error| match error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        other => other.into(),
    })
}

fn in_text(plan: &Plan, misfits: &[Misfit]) -> String {
    let mut text = format!("DaemonSet {}: {}\n", plan.name, plan.summary);
    if !plan.steps.is_empty() {
        let rows: Vec<Vec<String>> = plan
            .steps
            .iter()
            .enumerate()
            .map(|(number, step)| {
                vec![
                    (number + 1).to_string(),
                    step.action.as_str().to_owned(),
                    step.nodes.len().to_string(),
                    named(step.nodes.iter().map(String::as_str)),
                ]
            })
            .collect();
        text.push_str(&render(&["STEP", "ACTION", "COUNT", "NODES"], &rows));
    }
    if plan.steps_left_out > 0 {
        text.push_str(&format!("… and {} more steps like these\n", plan.steps_left_out));
    }
    for (why, nodes) in &plan.left_out {
        let count = nodes.len();
        text.push_str(&format!(
            "no pod on {count} {}: {why} ({})\n",
            if count == 1 { "node" } else { "nodes" },
            named(nodes.iter().map(String::as_str))
        ));
    }
    for misfit in misfits {
        text.push_str(&format!("will stay Pending on {}: {}\n", misfit.node, misfit.why));
    }
    text
}

fn named<'a>(nodes: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = nodes.len().saturating_sub(NAMED_MAX);
    let mut names: Vec<String> = nodes.take(NAMED_MAX).map(str::to_owned).collect();
    if more > 0 {
        names.push(format!("… {more} more"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_plan_names_steps_nodes_left_out_and_those_without_room() {
        let node = |name: &str, cpu: &str, taints: Value| {
            json!({"kind": "Node", "metadata": {"name": name}, "spec": {"taints": taints}, "status": {
                "allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "10"},
                "conditions": [{"type": "Ready", "status": "True"}]}})
        };
        let taint = json!([{"key": "disk", "value": "full", "effect": "NoSchedule"}]);
        let cluster = Cluster::File(vec![
            node("n1", "4", json!([])),
            node("n2", "1", json!([])),
            node("n3", "4", taint),
        ]);
        let set = json!({"kind": "DaemonSet", "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "i", "resources": {"requests": {"cpu": "2"}}}]}}}});
        let (plan, misfits) = of_one(&cluster, &set).await.unwrap();
        let text = in_text(&plan, &misfits);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "DaemonSet ns/web: is created; pods change on 2 nodes");
        let step: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(step, ["1", "create", "2", "n1,", "n2"]);
        assert_eq!(
            lines[3..],
            [
                "no pod on 1 node: taint disk=full:NoSchedule not tolerated (n3)",
                "will stay Pending on n2: cpu: wants 2000m, 0m of 1000m are taken",
            ]
        );
    }
}
