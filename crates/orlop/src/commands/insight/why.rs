//! `orlop why`: node by node, what was decided, by which rule, from which values.
use super::cluster::{Cluster, Pods};
use crate::cli::{Output, Subject, WhyArgs};
use crate::show::render;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use orlop_controllers::insight::{Explanation, Known, NodeVerdict, Verdict, not_ready};
use orlop_scheduler::explain::explain;
use serde_json::{Value, json};

pub async fn why(arguments: &WhyArgs) -> Result<()> {
    let cluster = Cluster::of(&arguments.cluster).await?;
    let namespace = arguments.cluster.namespace.as_str();
    let (about, mut rows) = match &arguments.subject {
        Subject::DaemonSet(name) => {
            of_daemon_set(&cluster, namespace, name, arguments.node.as_deref()).await?
        }
        Subject::Pod(name) => of_pod(&cluster, namespace, name).await?,
    };
    if let Some(node) = &arguments.node {
        rows.retain(|row| row.node == *node);
        if rows.is_empty() {
            bail!("there is no node {node}: kubectl get nodes lists them");
        }
    }
    match arguments.cluster.output {
        Output::Json => println!("{:#}", in_json(&about, &rows)?),
        Output::Text => print!("{}", in_text(&about, &rows)),
    }
    Ok(())
}

/// What stands above the table.
struct About {
    kind: &'static str,
    namespace: String,
    name: String,
    summary: String,
}

async fn of_daemon_set(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    node: Option<&str>,
) -> Result<(About, Vec<NodeVerdict>)> {
    let set = cluster.daemon_set(namespace, name).await?.with_context(|| {
        format!("there is no DaemonSet {namespace}/{name}: kubectl get daemonsets -A lists them")
    })?;
    let nodes = cluster.nodes().await?;
    let pods = cluster.pods(Pods::In(namespace)).await?;
    let revisions = cluster.revisions(namespace).await?;
    let known = Known {
        nodes: &nodes,
        pods: &pods,
        revisions: &revisions,
    };
    let Explanation {
        summary,
        nodes: mut rows,
        ..
    } = orlop_controllers::insight::why(&set, &known, Timestamp::now());
    for row in &mut rows {
        let asked = node.is_none_or(|node| node == row.node);
        if asked && row.verdict == Verdict::Unscheduled {
            ask_scheduler(cluster, row, &nodes, &pods).await?;
        }
    }
    let about = About {
        kind: "DaemonSet",
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        summary,
    };
    Ok((about, rows))
}

/// Why the pod of a row isn't bound to its node.
async fn ask_scheduler(cluster: &Cluster, row: &mut NodeVerdict, nodes: &[Node], pods: &[Pod]) -> Result<()> {
    let named = |pod: &&Pod| pod.metadata.name == row.pod;
    let Some(pod) = pods.iter().find(named) else {
        return Ok(());
    };
    let node: Vec<Node> = nodes
        .iter()
        .filter(|node| node.metadata.name.as_deref() == Some(row.node.as_str()))
        .cloned()
        .collect();
    let there = cluster.pods(Pods::OnNode(&row.node)).await?;
    if let Some(answer) = explain(pod, &node, &there).and_then(|answer| answer.nodes.into_iter().next()) {
        (row.rule, row.why) = match answer.rule {
            Some(rule) => (Some(rule), format!("not scheduled: {}", answer.why)),
            None => (None, "about to be scheduled: it fits".to_owned()),
        };
    }
    Ok(())
}

async fn of_pod(cluster: &Cluster, namespace: &str, name: &str) -> Result<(About, Vec<NodeVerdict>)> {
    let pods = cluster.pods(Pods::All).await?;
    let of_name = |pod: &&Pod| {
        pod.metadata.name.as_deref() == Some(name) && pod.metadata.namespace.as_deref() == Some(namespace)
    };
    let pod = pods
        .iter()
        .find(of_name)
        .with_context(|| format!("there is no pod {namespace}/{name}: kubectl get pods -A lists them"))?;
    let about = |summary: String| About {
        kind: "Pod",
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        summary,
    };
    let nodes = cluster.nodes().await?;
    if let Some(answer) = explain(pod, &nodes, &pods) {
        let summary = match (&answer.chosen, answer.message) {
            (Some(node), _) => format!("waits to be bound to {node}"),
            (None, message) => message.unwrap_or_default(),
        };
        let rows = answer.nodes.into_iter().map(|node| NodeVerdict {
            verdict: match node.rule {
                Some(_) => Verdict::Refused,
                None => Verdict::Fits,
            },
            node: node.node,
            rule: node.rule,
            pod: Some(name.to_owned()),
            why: node.why,
        });
        return Ok((about(summary), rows.collect()));
    }
    let spec = pod.spec.as_ref();
    let node = spec
        .and_then(|spec| spec.node_name.clone())
        .filter(|node| !node.is_empty());
    let gates = spec.and_then(|spec| spec.scheduling_gates.as_ref());
    let Some(node) = node else {
        let gates: Vec<&str> = gates
            .into_iter()
            .flatten()
            .map(|gate| gate.name.as_str())
            .collect();
        let summary = if gates.is_empty() {
            let scheduler = spec
                .and_then(|spec| spec.scheduler_name.as_deref())
                .unwrap_or_default();
            format!("waits for scheduler {scheduler}, or is over")
        } else {
            format!(
                "waits for whoever removes its scheduling gates: {}",
                gates.join(", ")
            )
        };
        return Ok((about(summary), Vec::new()));
    };
    let at = nodes
        .iter()
        .find(|n| n.metadata.name.as_deref() == Some(node.as_str()));
    let row = match not_ready(pod, at) {
        Some((rule, why)) => NodeVerdict {
            node,
            verdict: Verdict::NotReady,
            rule: Some(rule),
            pod: Some(name.to_owned()),
            why,
        },
        None => NodeVerdict {
            node,
            verdict: Verdict::Running,
            rule: None,
            pod: Some(name.to_owned()),
            why: "ready".to_owned(),
        },
    };
    Ok((about("bound".to_owned()), vec![row]))
}

fn in_json(about: &About, rows: &[NodeVerdict]) -> Result<Value> {
    Ok(json!({
        "kind": about.kind,
        "namespace": about.namespace,
        "name": about.name,
        "summary": about.summary,
        "nodes": serde_json::to_value(rows)?,
    }))
}

fn in_text(about: &About, rows: &[NodeVerdict]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
            vec![
                row.node.clone(),
                row.verdict.as_str().to_owned(),
                or_none(row.rule),
                or_none(row.pod.as_deref()),
                row.why.clone(),
            ]
        })
        .collect();
    let table = render(&["NODE", "VERDICT", "RULE", "POD", "WHY"], &cells);
    format!(
        "{} {}/{}: {}\n{table}",
        about.kind, about.namespace, about.name, about.summary
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        let node = |name: &str, taints: Value| {
            json!({"kind": "Node", "metadata": {"name": name}, "spec": {"taints": taints}, "status": {
                "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"},
                "conditions": [{"type": "Ready", "status": "True"}]}})
        };
        let pod = |name: &str, spec: Value, ready: &str| {
            json!({"kind": "Pod", "metadata": {"name": name, "namespace": "ns", "uid": name,
                "labels": {"app": "web", "pod-template-generation": "1"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "uid": "set", "controller": true}]},
                "spec": spec, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "app", "image": "", "imageID": "", "ready": ready == "True", "started": true,
                    "restartCount": 0, "state": {"running": {}}}]}})
        };
        let containers = json!([{"name": "app", "readinessProbe": {"tcpSocket": {"port": 80}},
            "resources": {"requests": {"cpu": "3"}}}]);
        let pinned = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n4"]}]}]}}});
        Cluster::File(vec![
            node("n1", json!([])),
            node(
                "n2",
                json!([{"key": "disk", "value": "full", "effect": "NoSchedule"}]),
            ),
            node("n3", json!([])),
            node("n4", json!([])),
            pod(
                "web-1",
                json!({"nodeName": "n1", "containers": containers}),
                "True",
            ),
            pod(
                "web-3",
                json!({"nodeName": "n3", "containers": containers}),
                "False",
            ),
            pod(
                "web-4",
                json!({"containers": containers, "affinity": pinned}),
                "False",
            ),
            json!({"kind": "DaemonSet", "metadata": {"name": "web", "namespace": "ns", "uid": "set",
                "annotations": {"deprecated.daemonset.template.generation": "1"}},
                "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": containers}}}}),
        ])
    }

    fn cells(text: &str) -> Vec<Vec<&str>> {
        let of_line = |line| {
            str::split(line, "  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        };
        text.lines().skip(2).map(of_line).collect()
    }

    #[tokio::test]
    async fn a_daemon_set_is_explained_node_by_node() {
        let (about, rows) = of_daemon_set(&cluster(), "ns", "web", None).await.unwrap();
        let text = in_text(&about, &rows);
        assert!(
            text.starts_with("DaemonSet ns/web: wanted on 3 of 4 nodes: "),
            "{text}"
        );
        assert_eq!(
            cells(&text),
            [
                ["n1", "Running", "-", "web-1", "ready"],
                [
                    "n2",
                    "NotWanted",
                    "TaintToleration",
                    "-",
                    "taint disk=full:NoSchedule not tolerated"
                ],
                [
                    "n3",
                    "NotReady",
                    "readinessProbe",
                    "web-3",
                    "pod exists but not Ready: container app: readiness probe TCP :80 does not succeed"
                ],
                [
                    "n4",
                    "Unscheduled",
                    "NodeResourcesFit",
                    "web-4",
                    "not scheduled: cpu: wants 3000m, 0m of 2000m are taken"
                ],
            ]
        );
        let json = in_json(&about, &rows).unwrap();
        assert_eq!(json["nodes"][1]["rule"], "TaintToleration");
    }

    #[tokio::test]
    async fn a_pod_that_waits_hears_from_every_node() {
        let (about, rows) = of_pod(&cluster(), "ns", "web-4").await.unwrap();
        let rules: Vec<Option<&str>> = rows.iter().map(|row| row.rule).collect();
        let elsewhere = Some("NodeAffinity");
        assert_eq!(rules, [elsewhere, elsewhere, elsewhere, Some("NodeResourcesFit")]);
        assert!(
            about
                .summary
                .starts_with("0/4 nodes are available: 1 Insufficient cpu"),
            "{}",
            about.summary
        );
        let unknown = of_pod(&cluster(), "ns", "web-9").await.err().unwrap().to_string();
        assert!(unknown.contains("ns/web-9"), "{unknown}");
    }
}
