//! What a file of kubeadm's says of a control plane, and where it says nothing the machine, as with `init`: for what is made
//! before there is a cluster.
use super::{given, node};
use crate::commands::agent::node_name;
use anyhow::Result;
use orlop_api::KUBERNETES_VERSION;
use orlop_cluster::config::{API_PORT, ClusterConfig, NodeConfig};
use std::path::Path;

pub struct Settings {
    pub cluster: ClusterConfig,
    pub node: NodeConfig,
}

impl Settings {
    pub fn of(config: Option<&Path>) -> Result<Self> {
        let given = given::read(config)?;
        anyhow::ensure!(
            config.is_none() || given.init.is_some() || given.cluster.is_some(),
            "the configuration file has neither an InitConfiguration nor a ClusterConfiguration"
        );
        let init = given.init.unwrap_or_default();
        let name = node_name(init.node.name.as_deref());
        let address = match init.local.address {
            Some(address) => address,
            None => node::own_address(&name)?,
        };
        let cluster = match &given.cluster {
            Some(document) => ClusterConfig::from_given(document, KUBERNETES_VERSION)?,
            None => ClusterConfig::new(KUBERNETES_VERSION),
        };
        Ok(Self {
            cluster,
            node: NodeConfig {
                name,
                address,
                api_port: init.local.port.unwrap_or(API_PORT),
            },
        })
    }
}
