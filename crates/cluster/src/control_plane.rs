//! The files of a control plane node, phase by phase; each phase can be run again.
use crate::certificates::{self, Signer};
use crate::config::{ClusterConfig, NodeConfig};
use crate::files;
use crate::given::Registration;
use crate::kubelet::{self, MachineFacts};
use crate::layout::{COMPONENTS, Layout};
use crate::manifests::{self, InitialCluster, Machine, bound_to};
use crate::patches::{self, Patches};
use crate::wait::Health;
use crate::{ClusterError, kubeconfigs, yaml};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// A node of the control plane in the making.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    pub layout: Layout,
    pub cluster: ClusterConfig,
    pub node: NodeConfig,
    pub machine: MachineFacts,
    pub host_name: String,
    pub registration: Registration,
    pub ca_directories: Vec<&'static str>,
    pub patches: Patches,
}

impl ControlPlane {
    pub fn certificates(&self) -> Result<(), ClusterError> {
        certificates::ensure(&self.layout, &self.cluster, &self.node)
    }

    pub fn kubeconfigs(&self, names: &[&str]) -> Result<(), ClusterError> {
        kubeconfigs::ensure(&self.layout, &self.cluster, &self.node, names)
    }

    /// Puts everything together that is going to be written, for patches that don't fit are to be told of before anything is.
    /// `shared`: what the cluster's node agents have in common.
    pub fn rehearse(&self, shared: &Value, control_plane: bool) -> Result<(), ClusterError> {
        if control_plane {
            for component in COMPONENTS {
                self.manifest(component, &InitialCluster::default())?;
            }
        }
        self.member().configuration(shared).map(drop)
    }

    /// The text of a component's manifest.
    pub fn manifest(&self, component: &str, members: &InitialCluster) -> Result<String, ClusterError> {
        yaml::write(&self.patches.apply(component, self.bare(component, members)?)?)
    }

    /// A component's manifest without what people lay over it.
    pub(crate) fn bare(&self, component: &str, members: &InitialCluster) -> Result<Value, ClusterError> {
        let machine = Machine {
            root: self.layout.root(),
            ca_directories: &self.ca_directories,
            has_key: !Signer::Cluster.is_external(&self.layout),
        };
        manifests::render(component, &self.cluster, &self.node, members, machine)
    }

    /// Notes that this node's etcd is being added to the others' list.
    pub fn etcd_joins(&self, members: &InitialCluster) -> Result<(), ClusterError> {
        files::write_private(&self.layout.etcd_joining(), &self.manifest("etcd", members)?)
    }

    /// Writes etcd's manifest and prepares its directory.
    pub fn etcd(&self, members: &InitialCluster) -> Result<(), ClusterError> {
        files::private_directory(&self.layout.manifests())?;
        files::private_directory(&self.layout.etcd_data())?;
        files::write_private(&self.layout.manifest("etcd"), &self.manifest("etcd", members)?)
    }

    /// Writes the other manifests.
    pub fn components(&self) -> Result<(), ClusterError> {
        files::private_directory(&self.layout.manifests())?;
        for component in COMPONENTS.into_iter().filter(|component| *component != "etcd") {
            let text = self.manifest(component, &InitialCluster::default())?;
            files::write_private(&self.layout.manifest(component), &text)?;
        }
        Ok(())
    }

    /// Writes what the node agent is started with.
    pub fn kubelet(&self) -> Result<(), ClusterError> {
        let shared = kubelet::configuration(&self.cluster)?;
        self.member().kubelet(&shared, true)
    }

    /// What it has as any member.
    pub fn member(&self) -> Member<'_> {
        Member {
            layout: &self.layout,
            node: &self.node,
            machine: &self.machine,
            host_name: &self.host_name,
            registration: &self.registration,
            pod_subnet: self.cluster.pod_subnet.as_deref(),
            patches: &self.patches,
        }
    }

    /// Where the health of the parts is asked for, in the order in which they can come up.
    pub fn healths(&self) -> [Health; 3] {
        let of = |part, address: IpAddr, port, path| {
            let bound = bound_to(self.cluster.extras(part)).and_then(|address| address.parse().ok());
            Health {
                part,
                tls: true,
                address: SocketAddr::new(bound.unwrap_or(address), port),
                path,
            }
        };
        let local = IpAddr::from([127, 0, 0, 1]);
        [
            of("kube-apiserver", self.node.address, self.node.api_port, "/livez"),
            of("kube-controller-manager", local, 10257, "/healthz"),
            of("kube-scheduler", local, 10259, "/livez"),
        ]
    }
}

/// What a node's agent is told, by what all share, what the machine asks for, and what people lay over it.
fn of_node(
    layout: &Layout,
    shared: &Value,
    machine: &MachineFacts,
    patches: &Patches,
) -> Result<Value, ClusterError> {
    let instance = match files::read_optional(&layout.instance_config())? {
        Some(text) => Some(yaml::read("instance-config.yaml", &text)?),
        None => None,
    };
    let root = match layout.root().to_str() {
        Some("/") | None => "",
        Some(root) => root.trim_end_matches('/'),
    };
    let document = kubelet::of_node(shared, machine, root, instance.as_ref());
    patches.apply(patches::KUBELET, document)
}

/// Brings the configuration of a member's agent up to what the cluster shares now; `false`: it is so already. What it was
/// is kept at `backup`.
pub fn refresh_kubelet(
    layout: &Layout,
    shared: &Value,
    patches: &Patches,
    backup: &Path,
) -> Result<bool, ClusterError> {
    let refreshed = refreshed(layout, shared, patches)?;
    if refreshed.document == refreshed.present {
        return Ok(false);
    }
    files::write_private(backup, &refreshed.text)?;
    files::write_private(&layout.kubelet_config(), &yaml::write(&refreshed.document)?)?;
    Ok(true)
}

/// Puts together what [`refresh_kubelet`] would write, for patches that don't fit are to be told of before anything is
/// exchanged.
pub fn rehearse_refresh(layout: &Layout, shared: &Value, patches: &Patches) -> Result<(), ClusterError> {
    refreshed(layout, shared, patches).map(drop)
}

/// The configuration that a member's agent has, and the one that it is to have.
struct Refreshed {
    text: String,
    present: Value,
    document: Value,
}

fn refreshed(layout: &Layout, shared: &Value, patches: &Patches) -> Result<Refreshed, ClusterError> {
    let text = files::read(&layout.kubelet_config())?;
    let present = yaml::read("the node agent's configuration", &text)?;
    let document = of_node(layout, shared, &MachineFacts::of(&present), patches)?;
    Ok(Refreshed {
        text,
        present,
        document,
    })
}

/// What any member has.
pub struct Member<'a> {
    pub layout: &'a Layout,
    pub node: &'a NodeConfig,
    pub machine: &'a MachineFacts,
    pub host_name: &'a str,
    pub registration: &'a Registration,
    pub pod_subnet: Option<&'a str>,
    pub patches: &'a Patches,
}

impl Member<'_> {
    /// The agent's configuration.
    fn configuration(&self, shared: &Value) -> Result<Value, ClusterError> {
        of_node(self.layout, shared, self.machine, self.patches)
    }

    /// Writes the agent's configuration and flags.
    pub fn kubelet(&self, shared: &Value, control_plane: bool) -> Result<(), ClusterError> {
        let document = self.configuration(shared)?;
        files::private_directory(&self.layout.kubelet())?;
        files::write_private(&self.layout.kubelet_config(), &yaml::write(&document)?)?;
        if let Some(subnet) = self.pod_subnet {
            files::write_public(&self.layout.pod_subnet(), &format!("{subnet}\n"))?;
        }
        files::write_private(
            &self.layout.kubelet_flags(),
            &kubelet::flags(self.node, self.host_name, control_plane, self.registration),
        )
    }

    /// Where the agent tells of its health.
    pub fn health() -> Health {
        Health {
            part: "kubelet",
            tls: false,
            address: SocketAddr::from(([127, 0, 0, 1], 10248)),
            path: "/healthz",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plane;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_agents_configuration_follows_what_all_share_and_keeps_what_is_the_nodes() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        let mut shared = kubelet::configuration(&ClusterConfig::new("v1.36.0")).unwrap();
        let machine = MachineFacts {
            cgroup_driver: "systemd".to_owned(),
            swap: true,
            runtime_endpoint: Some("unix:///x.sock".to_owned()),
            ..MachineFacts::default()
        };
        files::write_private(&layout.instance_config(), "maxPods: 7\n").unwrap();
        let none = Patches::default();
        let before = of_node(&layout, &shared, &machine, &none).unwrap();
        files::write_private(&layout.kubelet_config(), &yaml::write(&before).unwrap()).unwrap();
        let backup = layout.at("/backup/config.yaml");
        assert!(!refresh_kubelet(&layout, &shared, &none, &backup).unwrap());
        assert!(!backup.exists());
        shared["maxPods"] = json!(200);
        shared["podPidsLimit"] = json!(1000);
        assert!(refresh_kubelet(&layout, &shared, &none, &backup).unwrap());
        let mut want = before.clone();
        want["podPidsLimit"] = json!(1000);
        let read = |path: &Path| yaml::read("it", &files::read(path).unwrap()).unwrap();
        assert_eq!(read(&layout.kubelet_config()), want);
        assert_eq!(read(&backup), before);
    }

    #[test]
    fn what_people_lay_over_manifests_and_the_agents_configuration_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let of = |text: &str| {
            std::fs::write(at("etcd.yaml"), text).unwrap();
            ControlPlane {
                patches: Patches::read(directory.path()).unwrap(),
                ..plane(ClusterConfig::new("v1.36.0"), &at("root"))
            }
        };
        std::fs::write(at("kubeletconfiguration.yaml"), "maxPods: 7\n").unwrap();
        let plane = of("metadata: {labels: {mine: \"1\"}}\n");
        let shared = kubelet::configuration(&plane.cluster).unwrap();
        plane.rehearse(&shared, true).unwrap();
        assert!(!at("root").exists());
        plane.etcd(&InitialCluster::default()).unwrap();
        plane.kubelet().unwrap();
        let read = |path: &Path| yaml::read("it", &files::read(path).unwrap()).unwrap();
        let manifest = read(&plane.layout.manifest("etcd"));
        assert_eq!(manifest["metadata"]["labels"]["mine"], "1");
        assert_eq!(manifest["metadata"]["labels"]["component"], "etcd");
        assert_eq!(read(&plane.layout.kubelet_config())["maxPods"], 7);
        let unfit = of("spec: {containers: none}\n");
        let error = unfit.rehearse(&shared, true).unwrap_err().to_string();
        assert!(error.contains("etcd.yaml"), "{error}");
        unfit.rehearse(&shared, false).unwrap();
    }

    #[test]
    fn the_agents_directory_is_made_for_root_alone() {
        let directory = tempfile::tempdir().unwrap();
        let plane = plane(ClusterConfig::new("v1.36.0"), directory.path());
        plane.kubelet().unwrap();
        let made = plane.layout.kubelet().metadata().unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn patches_that_do_not_fit_an_agent_are_told_of_before_it_is_refreshed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let plane = plane(ClusterConfig::new("v1.36.0"), &at("root"));
        plane.kubelet().unwrap();
        let before = files::read(&plane.layout.kubelet_config()).unwrap();
        let shared = kubelet::configuration(&plane.cluster).unwrap();
        std::fs::create_dir(at("patches")).unwrap();
        let rehearsed = |text: &str| {
            std::fs::write(at("patches/kubeletconfiguration+json.yaml"), text).unwrap();
            let patches = Patches::read(&at("patches")).unwrap();
            rehearse_refresh(&plane.layout, &shared, &patches)
        };
        rehearsed("- {op: add, path: /maxPods, value: 7}\n").unwrap();
        let error = rehearsed("- {op: remove, path: /nothing}\n").unwrap_err();
        assert!(
            error.to_string().contains("kubeletconfiguration+json.yaml"),
            "{error}"
        );
        assert_eq!(files::read(&plane.layout.kubelet_config()).unwrap(), before);
    }

    #[test]
    fn a_component_is_waited_for_where_its_probes_ask_it() {
        let text = "kubernetesVersion: v1.36.0\nscheduler: {extraArgs: {bind-address: 10.0.0.1}}\n\
                    controllerManager: {extraArgs: {bind-address: 0.0.0.0}}\n";
        let plane = plane(ClusterConfig::from_yaml(text).unwrap(), Path::new("/"));
        let asked = plane.healths().map(|health| health.address.to_string());
        assert_eq!(asked, ["10.0.0.1:6443", "127.0.0.1:10257", "10.0.0.1:10259"]);
    }
}
