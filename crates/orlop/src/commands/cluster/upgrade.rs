//! `orlop upgrade`: another version of the control plane.
use super::node::Host;
use super::{administrator, configuration, layout, this_master};
use crate::cli::{AdminArgs, UpgradeArgs, UpgradeCommand, UpgradeStepArgs};
use crate::paths::Root;
use anyhow::{Result, bail};
use orlop_api::KUBERNETES_VERSION;
use orlop_cluster::config::ClusterConfig;
use orlop_cluster::control_plane::ControlPlane;
use orlop_cluster::manifests::InitialCluster;
use orlop_cluster::upgrade::{self, Step};
use orlop_cluster::{api, kubelet, objects, preflight};

const PODS: &str = "/api/v1/namespaces/kube-system/pods?labelSelector=tier%3Dcontrol-plane";

pub async fn upgrade(arguments: UpgradeArgs) -> Result<()> {
    match arguments.command {
        UpgradeCommand::Plan(arguments) => plan(&arguments).await,
        UpgradeCommand::Apply { step, target } => apply(&step, &target).await,
        UpgradeCommand::Node(step) => {
            let client = administrator(&step.admin).await?;
            let cluster = configuration(&client).await?;
            this_node(&step, &client, &cluster).await
        }
    }
}

async fn plan(arguments: &AdminArgs) -> Result<()> {
    let client = administrator(arguments).await?;
    let cluster = configuration(&client).await?;
    let pods = api::get(&client, PODS).await?.unwrap_or_default();
    let mut rows = vec![["COMPONENT", "NODE", "CURRENT", "TARGET"].map(str::to_owned)];
    for pod in pods["items"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = |pointer: &str| {
            pod.pointer(pointer)
                .and_then(serde_json::Value::as_str)
                .unwrap_or("?")
                .to_owned()
        };
        let component = text("/metadata/labels/component");
        let current = upgrade::version(pod).unwrap_or("?").to_owned();
        let target = match component.as_str() {
            "etcd" => current.clone(),
            _ => KUBERNETES_VERSION.to_owned(),
        };
        rows.push([component, text("/spec/nodeName"), current, target]);
    }
    rows[1..].sort();
    println!("[upgrade] Cluster version: {}", cluster.kubernetes_version);
    println!("[upgrade] orlop version: {KUBERNETES_VERSION}\n");
    print!("{}", super::table(&rows));
    println!(
        "\nYou can apply it on the first master with `orlop upgrade apply {KUBERNETES_VERSION}`, on the others with `orlop upgrade node`."
    );
    Ok(())
}

async fn apply(step: &UpgradeStepArgs, version: &str) -> Result<()> {
    let client = administrator(&step.admin).await?;
    let cluster = configuration(&client).await?;
    if let Some(complaint) = upgrade::complaint(&cluster.kubernetes_version, version) {
        bail!(complaint);
    }
    let cluster = ClusterConfig {
        kubernetes_version: version.to_owned(),
        ..cluster
    };
    this_node(step, &client, &cluster).await?;
    let shared = kubelet::configuration(&cluster)?;
    for object in objects::configuration(&cluster, &shared)? {
        api::apply(&client, &object).await?;
    }
    println!(
        "[upgrade] SUCCESS! The control plane of this node runs {version}. Run `orlop upgrade node` on the other masters."
    );
    Ok(())
}

async fn this_node(
    arguments: &UpgradeStepArgs,
    client: &kube::Client,
    cluster: &ClusterConfig,
) -> Result<()> {
    let root = Root::new(arguments.admin.root.root.as_deref())?;
    let node = this_master(&root)?;
    let plane = ControlPlane {
        layout: layout(&root),
        cluster: cluster.clone(),
        machine: Host::machine(None),
        host_name: node.name.clone(),
        ca_directories: preflight::ca_directories(),
        node,
    };
    let now = jiff::Zoned::now().strftime("%Y-%m-%d-%H-%M-%S");
    let backup = plane
        .layout
        .kubernetes()
        .join(format!("tmp/kubeadm-backup-manifests-{now}"));
    let step = Step {
        layout: &plane.layout,
        client,
        node: &plane.node.name,
        backup: &backup,
        patience: arguments.timeout,
    };
    for component in upgrade::components() {
        let manifest = plane.manifest(component, &InitialCluster::default())?;
        println!(
            "[upgrade/staticpods] Upgrading {component} to {}",
            cluster.kubernetes_version
        );
        match step.exchange(component, &manifest).await? {
            true => println!("[upgrade/staticpods] Component {component:?} upgraded successfully!"),
            false => println!("[upgrade/staticpods] Component {component:?} is up to date"),
        }
    }
    Ok(())
}
