//! Figures, each beside its reference in the same run. The machine is noisy: compare the two
//! columns, don't take either alone.
//!
//! `--manifests` and `--runtime-endpoint` put the same load on another node agent; `--reference`
//! puts the API server's on a second one.
mod agent;
mod api;
mod cluster;
mod fleet;
mod machine;
mod marker;
mod report;
mod store;
mod whole_node;

use anyhow::{Result, ensure};
use clap::Parser;
use std::path::PathBuf;

/// Print Orlop's figures beside their references.
#[derive(Debug, Parser)]
pub struct Options {
    /// The orlop binary to measure.
    #[arg(long)]
    orlop: PathBuf,
    /// Directory of the example's OCI archives; a node needs them.
    #[arg(long)]
    images: Option<PathBuf>,
    /// Directory of the control plane's OCI archives; a cluster needs them.
    #[arg(long)]
    cluster_images: Option<PathBuf>,
    /// Objects of each load on a cluster: fewer for a try.
    #[arg(long, default_value_t = 3000)]
    cluster_writes: usize,
    /// What to measure.
    #[arg(long, value_enum, default_value_t = Part::All)]
    part: Part,
    /// Of the API server's table, these parts only.
    #[arg(long, value_enum, value_delimiter = ',')]
    figures: Vec<api::Figures>,
    /// Of the fleet's table, these parts only.
    #[arg(long, value_enum, value_delimiter = ',')]
    fleet_figures: Vec<fleet::Figures>,
    /// Largest fleet of hollow nodes.
    #[arg(long, default_value_t = 15_000)]
    nodes_max: usize,
    /// Of the node agent's table, these parts only.
    #[arg(long, value_enum, value_delimiter = ',')]
    agent_figures: Vec<agent::AgentFigures>,
    /// Counted rounds of each figure.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Kubeconfig of a second API server, put under the same load for comparison.
    #[arg(long, value_name = "KUBECONFIG")]
    reference: Option<PathBuf>,
    /// Measure a node agent that runs already: its manifests directory …
    #[arg(long, requires = "runtime_endpoint")]
    manifests: Option<PathBuf>,
    /// … its CRI socket …
    #[arg(long, requires = "manifests")]
    runtime_endpoint: Option<String>,
    /// … and a kubeconfig for its API server, if it has one; its node is called `bench`.
    #[arg(long, requires = "manifests")]
    kubeconfig: Option<PathBuf>,
    /// Of the store's table, these parts only.
    #[arg(long, value_enum, value_delimiter = ',')]
    store_figures: Vec<store::Figures>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    All,
    /// The node agent and the whole node.
    Node,
    /// The node agent alone.
    Agent,
    /// The store, beside etcd.
    Store,
    /// The API server, over TLS.
    Api,
    /// DaemonSets on hollow nodes.
    Fleet,
    /// Masters of a cluster, each a machine of its own.
    Cluster,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    report::header();
    if let (Some(manifests), Some(endpoint)) = (&options.manifests, &options.runtime_endpoint) {
        let kubeconfig = options.kubeconfig.as_deref();
        return agent::measure_other(manifests, endpoint, kubeconfig, options.rounds).await;
    }
    ensure!(
        options.cluster_images.is_some() || options.part != Part::Cluster,
        "--cluster-images is needed to measure a cluster"
    );
    let measures_node = matches!(options.part, Part::All | Part::Node | Part::Agent);
    ensure!(
        options.images.is_some() || !measures_node,
        "--images is needed to measure a node"
    );
    if matches!(options.part, Part::All | Part::Store) {
        store::measure(&options.orlop, &options.store_figures).await?;
    }
    if matches!(options.part, Part::All | Part::Api) {
        api::measure(&options.orlop, options.reference.as_deref(), &options.figures).await?;
    }
    if matches!(options.part, Part::All | Part::Fleet) {
        fleet::measure(&options.orlop, &options.fleet_figures, options.nodes_max).await?;
    }
    if let Some(images) = options
        .cluster_images
        .as_deref()
        .filter(|_| matches!(options.part, Part::All | Part::Cluster))
    {
        cluster::measure(&options.orlop, images, options.cluster_writes).await?;
    }
    let Some(images) = options.images.as_deref().filter(|_| measures_node) else {
        return Ok(());
    };
    agent::measure(&options.orlop, images, &options.agent_figures, options.rounds).await?;
    if options.part == Part::Agent {
        return Ok(());
    }
    let mut node = machine::Node::start(&options.orlop, images).await?;
    whole_node::measure(&mut node, options.rounds.min(7)).await
}
