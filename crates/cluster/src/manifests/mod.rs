//! The static pods of a control plane, as kubeadm lays them out (pure).
mod apiserver;
mod controller_manager;
mod etcd;
mod pod;
mod scheduler;

pub use etcd::{EtcdHealth, EtcdVersion, InitialCluster, client_url, peer_url};
pub use pod::{CA_DIRECTORIES, bound_to};

use crate::ClusterError;
use crate::config::{ClusterConfig, NodeConfig};
use serde_json::Value;
use std::path::Path;

/// What manifests depend on.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Put before the host's paths.
    pub root: &'a Path,
    /// Which of [`CA_DIRECTORIES`] the machine has.
    pub ca_directories: &'a [&'a str],
    /// The key of the cluster's authority is here.
    pub has_key: bool,
}

/// The manifest of a component of [`crate::layout::COMPONENTS`].
pub fn render(
    component: &str,
    cluster: &ClusterConfig,
    node: &NodeConfig,
    members: &InitialCluster,
    machine: Machine<'_>,
) -> Result<Value, ClusterError> {
    Ok(match component {
        "etcd" => etcd::manifest(cluster, node, members, machine),
        "kube-apiserver" => apiserver::manifest(cluster, node, machine),
        "kube-controller-manager" => controller_manager::manifest(cluster, machine),
        "kube-scheduler" => scheduler::manifest(cluster, machine),
        other => {
            return Err(ClusterError::Configuration(format!(
                "{other} is no component of the control plane"
            )));
        }
    })
}

#[cfg(test)]
mod tests;
