//! Members of a cluster: made, started, looked after. What is written is `orlop-cluster`'s; here it is carried out in
//! order and told.
mod addons;
pub mod certs;
pub mod config;
mod expiry;
mod given;
pub mod init;
mod interrupt;
pub mod join;
pub mod kubeconfig;
pub mod member;
mod node;
mod pod_network;
mod removal;
pub mod reset;
mod settings;
pub mod token;
mod undo;
mod unit;
pub mod upgrade;
mod upgrade_addons;
mod upgrade_images;

use crate::cli::{AdminArgs, ListOutput, RootArg};
use crate::paths::Root;
use anyhow::{Context, Result};
use orlop_cluster::config::{ClusterConfig, NodeConfig};
use orlop_cluster::layout::Layout;
use orlop_cluster::{api, files, objects, yaml};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The files of the node under a root.
fn layout(root: &Root) -> Layout {
    Layout::new(root.as_path())
}

/// Whether `init` or `join` made the node under this root a member.
pub fn is_member(root: &RootArg) -> Result<bool> {
    let root = Root::new(root.root.as_deref())?;
    Ok(layout(&root).kubelet_flags().is_file())
}

/// A client of the cluster, as its administrator.
async fn administrator(arguments: &AdminArgs) -> Result<kube::Client> {
    client_by(arguments, "admin").await
}

/// The same by another of this node's kubeconfigs, where none is given.
async fn client_by(arguments: &AdminArgs, usual: &str) -> Result<kube::Client> {
    let root = Root::new(arguments.root.root.as_deref())?;
    let path = match &arguments.kubeconfig {
        Some(paths) => first_there(paths),
        None => root.kubeconfig(usual),
    };
    Ok(api::connect(&path).await?)
}

/// The first of several that is there: the variable KUBECONFIG may name more than one.
fn first_there(paths: &Path) -> PathBuf {
    let mut all = std::env::split_paths(paths);
    all.find(|path| path.is_file())
        .unwrap_or_else(|| paths.to_path_buf())
}

/// What the cluster was made with, from its API.
async fn configuration(client: &kube::Client) -> Result<ClusterConfig> {
    let map = api::get(client, CONFIGURATION).await?;
    Ok(ClusterConfig::from_yaml(&configuration_text(map.as_ref())?)?)
}

/// Where the cluster keeps what it was made with.
const CONFIGURATION: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";

/// The same as it is kept there.
fn configuration_text(map: Option<&Value>) -> Result<String> {
    let text = map.and_then(|map| map["data"]["ClusterConfiguration"].as_str());
    let text = text.context("the cluster has no ConfigMap kubeadm-config: `orlop init` makes it")?;
    Ok(text.to_owned())
}

/// The configuration that all node agents share, from the cluster's API.
async fn kubelet_configuration(client: &kube::Client) -> Result<Value> {
    let map = api::get(client, objects::KUBELET_CONFIG).await?;
    let text = map.as_ref().and_then(|map| map["data"]["kubelet"].as_str());
    let text = text.context("the cluster has no ConfigMap kubelet-config: `orlop init` makes it")?;
    Ok(yaml::read("kubelet-config", text)?)
}

/// This master, from the manifest of its API server, which knows its address, and its agent's flags.
fn this_master(root: &Root) -> Result<NodeConfig> {
    let layout = layout(root);
    let path = layout.manifest("kube-apiserver");
    let text = files::read(&path).context("this node is no master")?;
    let manifest = yaml::read("the API server's manifest", &text)?;
    let endpoint = manifest
        .pointer("/metadata/annotations/kubeadm.kubernetes.io~1kube-apiserver.advertise-address.endpoint")
        .and_then(Value::as_str)
        .and_then(|endpoint| endpoint.parse::<std::net::SocketAddr>().ok())
        .with_context(|| format!("{} does not tell where the API server is reached", path.display()))?;
    let flags = files::read(&layout.kubelet_flags())?;
    let named = orlop_cluster::kubelet::read_flags(&flags)
        .iter()
        .find_map(|flag| flag.strip_prefix("--hostname-override=").map(str::to_owned));
    Ok(NodeConfig {
        name: crate::commands::agent::node_name(named.as_deref()),
        address: endpoint.ip(),
        api_port: endpoint.port(),
    })
}

/// Documents as programs read them; `None` where people do.
fn documents(output: ListOutput, all: &[Value]) -> Result<Option<String>> {
    let texts = match output {
        ListOutput::Text => return Ok(None),
        ListOutput::Json => all.iter().map(|one| format!("{one:#}\n")).collect(),
        ListOutput::Yaml => {
            let texts = all.iter().map(yaml::write).collect::<Result<Vec<_>, _>>()?;
            let texts = texts.iter().map(|text| format!("{}\n", text.trim_end()));
            texts.collect::<Vec<_>>().join("---\n")
        }
    };
    Ok(Some(texts))
}

/// Rows under each other, three spaces between their columns.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_may_name_several_kubeconfigs() {
        let directory = tempfile::tempdir().unwrap();
        let (gone, there) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&there, "").unwrap();
        let both = std::env::join_paths([&gone, &there]).unwrap();
        assert_eq!(first_there(Path::new(&both)), there);
        assert_eq!(first_there(&gone), gone);
    }

    #[test]
    fn lists_are_printed_for_programs_in_kubeadms_forms() {
        let all = [serde_json::json!({"a": 1}), serde_json::json!({"b": "x"})];
        assert_eq!(documents(ListOutput::Text, &all).unwrap(), None);
        let json = documents(ListOutput::Json, &all).unwrap().unwrap();
        assert_eq!(json, "{\n  \"a\": 1\n}\n{\n  \"b\": \"x\"\n}\n");
        let yaml = documents(ListOutput::Yaml, &all).unwrap().unwrap();
        assert_eq!(yaml, "a: 1\n---\nb: x\n");
        assert_eq!(documents(ListOutput::Yaml, &[]).unwrap().unwrap(), "");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A      B\nlong   x\n");
    }
}
