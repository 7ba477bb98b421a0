//! `orlop hollow`: nodes without machines.
use super::LogArgs;
use super::parts::go_duration;
use clap::Args;
use orlop_hollow::Share;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct HollowArgs {
    /// How many nodes.
    #[arg(long, value_name = "COUNT")]
    pub nodes: usize,
    /// Kubeconfig of the API server.
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: PathBuf,
    /// Nodes are called `<prefix>-00000` and so on.
    #[arg(long, value_name = "NAME", default_value = "hollow")]
    pub prefix: String,
    /// Further labels of the nodes, as `key=value,…`.
    #[arg(long, value_name = "LABELS", value_delimiter = ',', value_parser = label)]
    pub node_labels: Vec<(String, String)>,
    /// Allocatable cpu of each node.
    #[arg(long, value_name = "QUANTITY", default_value = "4")]
    pub cpu: String,
    /// Allocatable memory of each node.
    #[arg(long, value_name = "QUANTITY", default_value = "16Gi")]
    pub memory: String,
    /// Pods that each node takes.
    #[arg(long, value_name = "COUNT", default_value_t = 110)]
    pub pods: u32,
    /// From a pod's binding until it runs.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = go_duration)]
    pub start_delay: Duration,
    /// From a pod's deletion until it is gone.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = go_duration)]
    pub stop_delay: Duration,
    /// How many of the started pods fail.
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    pub fail: Share,
    /// From a pod's start until it fails.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = go_duration)]
    pub fail_after: Duration,
    /// How many nodes are silent at any moment: no lease, no status, nothing happens to their pods.
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    pub vanish: Share,
    /// How long one is silent, before it comes back.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = go_duration)]
    pub vanish_for: Duration,
    /// How many nodes say at any moment that they aren't ready.
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    pub flap: Share,
    /// How long one says so.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = go_duration)]
    pub flap_for: Duration,
    /// Which nodes and pods are struck, and when: the same number, the same troubles.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// Between two renewals of a node's Lease.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = go_duration)]
    pub lease_interval: Duration,
    #[command(flatten)]
    pub log: LogArgs,
}

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("{text} is no label such as zone=a"))
}
