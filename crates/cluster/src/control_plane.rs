//! The files of a control plane node, phase by phase; each phase can be run again.
use crate::certificates;
use crate::config::{ClusterConfig, NodeConfig};
use crate::files;
use crate::kubelet::{self, MachineFacts};
use crate::layout::{COMPONENTS, Layout};
use crate::manifests::{self, InitialCluster, Machine};
use crate::wait::Health;
use crate::{ClusterError, kubeconfigs, yaml};
use serde_json::Value;
use std::net::SocketAddr;

/// A node of the control plane in the making.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    pub layout: Layout,
    pub cluster: ClusterConfig,
    pub node: NodeConfig,
    pub machine: MachineFacts,
    pub host_name: String,
    pub ca_directories: Vec<&'static str>,
}

impl ControlPlane {
    pub fn certificates(&self) -> Result<(), ClusterError> {
        certificates::ensure(&self.layout, &self.cluster, &self.node)
    }

    pub fn kubeconfigs(&self, names: &[&str]) -> Result<(), ClusterError> {
        kubeconfigs::ensure(&self.layout, &self.cluster, &self.node, names)
    }

    /// The text of a component's manifest.
    pub fn manifest(&self, component: &str, members: &InitialCluster) -> Result<String, ClusterError> {
        let machine = Machine {
            root: self.layout.root(),
            ca_directories: &self.ca_directories,
        };
        yaml::write(&manifests::render(
            component,
            &self.cluster,
            &self.node,
            members,
            machine,
        )?)
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
        let node = Member {
            layout: &self.layout,
            node: &self.node,
            machine: &self.machine,
            host_name: &self.host_name,
            pod_subnet: self.cluster.pod_subnet.as_deref(),
        };
        node.kubelet(&shared, true)
    }

    /// Where the health of the parts is asked for, in the order in which they can come up.
    pub fn healths(&self) -> [Health; 3] {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        [
            Health {
                part: "kube-apiserver",
                tls: true,
                address: SocketAddr::new(self.node.address, self.node.api_port),
                path: "/livez",
            },
            Health {
                part: "kube-controller-manager",
                tls: true,
                address: local(10257),
                path: "/healthz",
            },
            Health {
                part: "kube-scheduler",
                tls: true,
                address: local(10259),
                path: "/livez",
            },
        ]
    }
}

/// What any member has.
pub struct Member<'a> {
    pub layout: &'a Layout,
    pub node: &'a NodeConfig,
    pub machine: &'a MachineFacts,
    pub host_name: &'a str,
    pub pod_subnet: Option<&'a str>,
}

impl Member<'_> {
    /// Writes the agent's configuration and flags.
    pub fn kubelet(&self, shared: &Value, control_plane: bool) -> Result<(), ClusterError> {
        let instance = match files::read_optional(&self.layout.instance_config())? {
            Some(text) => Some(yaml::read("instance-config.yaml", &text)?),
            None => None,
        };
        let root = match self.layout.root().to_str() {
            Some("/") | None => "",
            Some(root) => root.trim_end_matches('/'),
        };
        let document = kubelet::of_node(shared, self.machine, root, instance.as_ref());
        files::write_private(&self.layout.kubelet_config(), &yaml::write(&document)?)?;
        if let Some(subnet) = self.pod_subnet {
            files::write_public(&self.layout.pod_subnet(), &format!("{subnet}\n"))?;
        }
        files::write_private(
            &self.layout.kubelet_flags(),
            &kubelet::flags(self.node, self.host_name, control_plane),
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
