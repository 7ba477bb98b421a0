//! `orlop upgrade`: another version of the control plane.
use super::node::Host;
use super::{
    CONFIGURATION, administrator, configuration, configuration_text, layout, this_master, upgrade_images,
};
use crate::cli::{AdminArgs, UpgradeArgs, UpgradeCommand, UpgradeStepArgs};
use crate::paths::Root;
use anyhow::{Result, bail};
use orlop_api::KUBERNETES_VERSION;
use orlop_cluster::config::{self, ClusterConfig};
use orlop_cluster::control_plane::ControlPlane;
use orlop_cluster::extras::Ignored;
use orlop_cluster::manifests::InitialCluster;
use orlop_cluster::upgrade::{self, Progress, Step};
use orlop_cluster::{api, kubelet, objects, preflight};
use serde_json::json;

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
    write_version(&client, &cluster).await?;
    println!(
        "[upgrade] SUCCESS! The control plane of this node runs {version}. Run `orlop upgrade node` on the other masters."
    );
    Ok(())
}

/// Says in the cluster which version it is now. All else that it is said to be made with stays as it is.
async fn write_version(client: &kube::Client, cluster: &ClusterConfig) -> Result<()> {
    let map = api::get_patiently(client, CONFIGURATION).await?;
    let text = configuration_text(map.as_ref())?;
    let text = config::with_version(&text, &cluster.kubernetes_version)?;
    let patch = json!({"data": {"ClusterConfiguration": text}});
    api::merge(client, CONFIGURATION, &patch).await?;
    if api::get_patiently(client, objects::KUBELET_CONFIG)
        .await?
        .is_none()
    {
        let shared = kubelet::configuration(cluster)?;
        for object in objects::kubelet_configuration(&shared)? {
            api::apply(client, &object).await?;
        }
    }
    Ok(())
}

async fn this_node(
    arguments: &UpgradeStepArgs,
    client: &kube::Client,
    cluster: &ClusterConfig,
) -> Result<()> {
    Ignored::refuse(&cluster.ignored.components)?;
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
    let rendered = |component| Ok((component, plane.manifest(component, &InitialCluster::default())?));
    let manifests = upgrade::components().map(rendered).collect::<Result<Vec<_>>>()?;
    let images: Vec<String> = upgrade::components().map(|name| cluster.image(name)).collect();
    upgrade_images::ensure(&root, &images, arguments.timeout).await?;
    let told = |component: &str, progress| tell(component, progress, &cluster.kubernetes_version);
    Ok(step.exchange(&manifests, told).await?)
}

fn tell(component: &str, progress: Progress, version: &str) {
    let what = match progress {
        Progress::Begun => format!("Upgrading {component} to {version}"),
        Progress::Exchanged => format!("Component {component:?} upgraded successfully!"),
        Progress::UpToDate => format!("Component {component:?} is up to date"),
        Progress::TakenBack => format!("Putting the old {component} back"),
    };
    println!("[upgrade/staticpods] {what}");
}
