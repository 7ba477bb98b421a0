//! What `init` and `join` do to the machine itself: its facts, its runtime, its node agent.
use super::layout;
use super::unit::Unit;
use crate::cli::MemberArgs;
use crate::commands::agent;
use crate::detach;
use crate::lock::NodeLock;
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_cluster::config::{ClusterConfig, NodeConfig};
use orlop_cluster::control_plane::ControlPlane;
use orlop_cluster::given::Registration;
use orlop_cluster::kubelet::{MachineFacts, RESOLVED, names_itself_only};
use orlop_cluster::layout::Layout;
use orlop_cluster::manifests::EtcdVersion;
use orlop_cluster::patches::Patches;
use orlop_cluster::preflight::{self, Complaint};
use orlop_cri::containerd::{CgroupDriver, ContainerdConfig, Managed, Shim};
use orlop_cri::images::{Directory, Importer};
use orlop_cri::{Endpoint, Remote, RuntimeService};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// What a runtime of the node's own needs.
pub const PROGRAMS: [&str; 3] = ["containerd", "runc", "iptables"];
/// A runtime that somebody else runs must be there.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(3);
/// The etcd that is pulled where no image of one is present.
pub const ETCD_TAG: &str = "3.6.8-0";

/// The machine under a node.
pub struct Host {
    pub root: Root,
    pub node: NodeConfig,
    pub host_name: String,
    pub machine: MachineFacts,
    /// What a file says of the node beside that.
    pub registration: Registration,
    /// What people lay over what is written.
    pub patches: Patches,
    /// How long each part may take to become healthy.
    pub patience: Duration,
}

impl Host {
    pub fn look(arguments: &MemberArgs) -> Result<Self> {
        let root = Root::new(arguments.root.root.as_deref())?;
        let name = agent::node_name(arguments.node_name.as_deref());
        let address = match arguments.apiserver_advertise_address {
            Some(address) => address,
            None => own_address(&name)?,
        };
        Ok(Self {
            root,
            node: NodeConfig {
                name,
                address,
                api_port: arguments.apiserver_bind_port,
            },
            host_name: agent::node_name(None),
            machine: Self::machine(arguments.cri_socket.as_deref()),
            registration: Registration::default(),
            patches: patches(arguments.patches.as_deref())?,
            patience: arguments.timeout,
        })
    }

    /// The machine as a node of a cluster's control plane.
    pub fn control_plane(&self, cluster: ClusterConfig) -> ControlPlane {
        ControlPlane {
            layout: layout(&self.root),
            cluster,
            node: self.node.clone(),
            machine: self.machine.clone(),
            host_name: self.host_name.clone(),
            registration: self.registration.clone(),
            ca_directories: preflight::ca_directories(),
            patches: self.patches.clone(),
        }
    }

    /// What the agent's configuration depends on. A runtime of our own makes cgroups itself; another does as the machine
    /// does.
    pub fn machine(runtime_endpoint: Option<&str>) -> MachineFacts {
        let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
        let names = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let is_behind = names_itself_only(&names) && Path::new(RESOLVED).is_file();
        let driver = match runtime_endpoint {
            None => CgroupDriver::default(),
            Some(_) => CgroupDriver::detect(),
        };
        MachineFacts {
            cgroup_driver: driver.as_str().to_owned(),
            cgroup_v1: !Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            swap: swaps.lines().count() > 1,
            runtime_endpoint: runtime_endpoint.map(str::to_owned),
            resolv_conf: is_behind.then(|| RESOLVED.to_owned()),
        }
    }
}

/// The patches of a directory, if one is given; tells what in it is none.
pub fn patches(directory: Option<&Path>) -> Result<Patches> {
    let Some(directory) = directory else {
        return Ok(Patches::default());
    };
    let patches = Patches::read(directory)?;
    for why in &patches.passed_over {
        println!("[patches] WARNING: {why}");
    }
    Ok(patches)
}

/// The address by which other machines reach this one.
pub fn own_address(name: &str) -> Result<IpAddr> {
    orlop_kubelet::node::addresses(&[], name)
        .into_iter()
        .find(|address| !address.is_loopback())
        .context("this machine has no address that others could reach: give one with --apiserver-advertise-address")
}

/// Brings the runtime up, if it is the node's own, and imports the images that lie ready. The agent takes both over.
pub async fn prepare_runtime(root: &Root, arguments: &MemberArgs, shares_pod_subnet: bool) -> Result<Remote> {
    let remote = match &arguments.cri_socket {
        Some(text) => Remote::connect_within(&Endpoint::parse(text)?, RUNTIME_PATIENCE).await?,
        None => Managed::ensure(containerd(root, Shim::default(), shares_pod_subnet))
            .await?
            .remote()
            .clone(),
    };
    let record = root.runtime_endpoint_file();
    std::fs::create_dir_all(root.run()).with_context(|| format!("cannot create {}", root.run().display()))?;
    std::fs::write(&record, remote.endpoint().to_string())
        .with_context(|| format!("cannot write {}", record.display()))?;
    let directory = arguments.images.clone().unwrap_or_else(|| root.images());
    match Importer::new(&remote) {
        Ok(importer) => {
            importer.ensure_sandbox_image().await?;
            Directory::open(Arc::new(importer), &directory)?
                .import_existing()
                .await;
        }
        Err(error) => {
            tracing::warn!(%error, "images are not imported: the runtime must have them, or pull them")
        }
    }
    Ok(remote)
}

/// The managed containerd of a member. Which addresses its pods get the cluster says, if it has a range for all nodes:
/// until then there is no pod network.
pub fn containerd(root: &Root, shim: Shim, shares_pod_subnet: bool) -> ContainerdConfig {
    let config = ContainerdConfig {
        shim,
        ..ContainerdConfig::of_root(root.as_path())
    };
    match shares_pod_subnet {
        true => ContainerdConfig {
            network: None,
            ..config
        },
        false => config,
    }
}

/// The tag of the etcd image that the runtime has, the newest of several.
pub async fn etcd_tag(remote: &Remote, repository: &str) -> Result<String> {
    let names = images(remote).await?;
    Ok(newest_etcd(names.iter().map(String::as_str), repository)
        .unwrap_or(ETCD_TAG)
        .to_owned())
}

/// Names of the images that the runtime has.
pub async fn images(remote: &Remote) -> Result<Vec<String>> {
    let images = remote.list_images(None).await?;
    Ok(images.into_iter().flat_map(|image| image.repo_tags).collect())
}

fn newest_etcd<'a>(names: impl Iterator<Item = &'a str>, repository: &str) -> Option<&'a str> {
    let prefix = format!("{repository}/etcd:");
    names
        .filter_map(|name| name.strip_prefix(&prefix))
        .max_by_key(|tag| EtcdVersion::of_tag(tag))
}

/// Starts the node agent in the background, as `orlop up` does, unless it runs. Where systemd has a unit for it, that is
/// started.
pub async fn start_agent(root: &Root) -> Result<()> {
    if let Some(unit) = Unit::of(root) {
        return unit.restart();
    }
    if NodeLock::holder(&root.pid_file())?.is_some() {
        return Ok(());
    }
    let root = root.clone();
    let starting = STARTING.lock().await;
    tokio::task::spawn_blocking(move || {
        let _starting = starting;
        let mut arguments: Vec<OsString> = vec!["up".into()];
        if !root.is_default() {
            arguments.extend(["--root".into(), root.as_path().into()]);
        }
        detach::background(&root, arguments)
    })
    .await??;
    Ok(())
}

/// Held while an agent is being started, which goes on when nobody waits for it any more.
static STARTING: Mutex<()> = Mutex::const_new(());

/// Waits until no agent is being started: it could not be found before, to be stopped.
pub async fn started() {
    drop(STARTING.lock().await);
}

/// Fails for what is in the way, and tells of what is ignored.
pub fn judge(complaints: Vec<Complaint>, arguments: &MemberArgs) -> Result<()> {
    for ignored in preflight::judge(complaints, &arguments.ignore_preflight_errors)? {
        println!(
            "[preflight] WARNING {}: {}",
            ignored.checks.join(","),
            ignored.text
        );
    }
    Ok(())
}

/// Programs that must be there for the runtime.
pub fn programs(arguments: &MemberArgs) -> &'static [&'static str] {
    match arguments.cri_socket {
        None => &PROGRAMS,
        Some(_) => &[],
    }
}

/// Where to look when the agent brings nothing up.
pub fn hint(root: &Root) -> String {
    format!("see {} and `orlop ps -a`", root.run().join("orlop.log").display())
}

/// How far an earlier `init` came on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing of one is here.
    None,
    /// It was cut short: what is missing can be done.
    CutShort,
    /// The node is a member of a cluster, by this or by `join`.
    Member,
}

impl Progress {
    pub fn of(layout: &Layout) -> Self {
        match (layout.init_begun().exists(), layout.kubelet_flags().is_file()) {
            (true, _) => Self::CutShort,
            (false, true) => Self::Member,
            (false, false) => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_cluster::files;

    /// A finished one would be written anew, with other settings.
    #[test]
    fn an_init_goes_on_only_where_it_was_cut_short() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        assert_eq!(Progress::of(&layout), Progress::None);
        files::write_private(&layout.init_begun(), "").unwrap();
        assert_eq!(Progress::of(&layout), Progress::CutShort);
        files::write_private(&layout.kubelet_flags(), "").unwrap();
        assert_eq!(Progress::of(&layout), Progress::CutShort);
        files::remove(&layout.init_begun()).unwrap();
        assert_eq!(Progress::of(&layout), Progress::Member);
    }

    /// Where a registry has upstream's images, a cluster is that of a kubeadm of this version.
    #[test]
    fn what_is_pulled_is_what_kubeadm_of_this_version_pulls() {
        assert!(orlop_api::KUBERNETES_VERSION.starts_with("v1.36."));
        assert_eq!(ETCD_TAG, "3.6.8-0");
        let cluster = ClusterConfig::new(orlop_api::KUBERNETES_VERSION);
        let coredns = orlop_cluster::addons::Addon::CoreDns.image(&cluster, std::iter::empty());
        assert_eq!(coredns.name, "registry.k8s.io/coredns/coredns:v1.14.2");
    }

    #[test]
    fn the_newest_etcd_image_is_taken() {
        let names = [
            "registry.k8s.io/etcd:3.4.23-0",
            "registry.k8s.io/etcd:3.5.21-0",
            "registry.k8s.io/etcd:3.5.9-0",
            "other/etcd:3.6.0-0",
        ];
        assert_eq!(
            newest_etcd(names.into_iter(), "registry.k8s.io"),
            Some("3.5.21-0")
        );
        assert_eq!(newest_etcd(names.into_iter(), "nowhere"), None);
    }
}
