//! Flags of the controllers that run alone, under upstream's names.
use super::LogArgs;
use super::parts::{FaceArgs, LeaderArgs, go_duration};
use clap::Args;
use orlop_controllers::NodeBits;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct ControllerManagerArgs {
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Controllers that run, by upstream's names, comma-separated: `*` for all that run unless told otherwise, `-NAME` for
    /// one that does not.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        allow_hyphen_values = true,
        default_value = "*"
    )]
    pub controllers: Vec<String>,
    /// Let each controller write as the service account of its name in kube-system, with that account's rights; otherwise
    /// all write as whom the kubeconfig names.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub use_service_account_credentials: bool,
    /// Authority that is published to pods as `kube-root-ca.crt`.
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// Key that signs the tokens kept in Secrets of type kubernetes.io/service-account-token.
    #[arg(long, value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,
    /// Authority that signs certificates which were approved.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// How long signed certificates are valid at most.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = go_duration)]
    pub cluster_signing_duration: Duration,
    /// Give every node a range of pod addresses.
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, default_value_t = false,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allocate_node_cidrs: bool,
    /// Pod addresses of the cluster, a range or one of each family, comma-separated: the preferred one first.
    #[arg(long, value_name = "CIDR")]
    pub cluster_cidr: Option<String>,
    /// Size of a node's range [default: 24 of IPv4, 64 of IPv6].
    #[arg(long, alias = "node-cidr-mask-size-ipv4", value_name = "BITS")]
    pub node_cidr_mask_size: Option<u8>,
    /// Size of its range of IPv6 where there is one of IPv4, too [default: 64].
    #[arg(long, value_name = "BITS")]
    pub node_cidr_mask_size_ipv6: Option<u8>,
    /// Finished pods that are kept for people to look at; all of them with 0 or less.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 12_500,
        allow_negative_numbers = true
    )]
    pub terminated_pod_gc_threshold: i32,
    /// How long a token that an older cluster made by itself may be unused before it is taken out of use, and then before
    /// it is deleted.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = go_duration)]
    pub legacy_service_account_token_clean_up_period: Duration,
    #[command(flatten)]
    pub nodes: NodeLifecycleArgs,
    #[command(flatten)]
    pub autoscaler: AutoscalerArgs,
    #[command(flatten)]
    pub leader: LeaderArgs,
    #[command(flatten)]
    pub face: FaceArgs,
    /// Port of `/healthz` and `/metrics`; 0 turns it off.
    #[arg(long, value_name = "PORT", default_value_t = 10257)]
    pub secure_port: u16,
    #[command(flatten)]
    pub log: LogArgs,
}

impl ControllerManagerArgs {
    /// Of the only family it is the one size that is meant; of two, each has its own.
    pub fn node_bits(&self) -> NodeBits {
        let cidrs = self.cluster_cidr.as_deref().unwrap_or_default();
        let usual = NodeBits::default();
        let alone = self.node_cidr_mask_size.filter(|_| !cidrs.contains(','));
        NodeBits {
            ipv4: self.node_cidr_mask_size.unwrap_or(usual.ipv4),
            ipv6: self.node_cidr_mask_size_ipv6.or(alone).unwrap_or(usual.ipv6),
        }
    }
}

/// When and how fast nodes are given up.
#[derive(Debug, Args)]
pub struct NodeLifecycleArgs {
    /// After how long a node is given up that is not heard of any more.
    #[arg(long = "node-monitor-grace-period", value_name = "DURATION", default_value = "50s",
          value_parser = lasting)]
    pub monitor_grace_period: Duration,
    /// The same for one that never posted its status.
    #[arg(long = "node-startup-grace-period", value_name = "DURATION", default_value = "1m",
          value_parser = lasting)]
    pub startup_grace_period: Duration,
    /// Nodes a second that may be emptied in a zone; none with 0.
    #[arg(long = "node-eviction-rate", value_name = "RATE", default_value_t = 0.1)]
    pub eviction_rate: f64,
    /// The same in a large zone that is partly down.
    #[arg(
        long = "secondary-node-eviction-rate",
        value_name = "RATE",
        default_value_t = 0.01
    )]
    pub secondary_eviction_rate: f64,
    /// A zone with more nodes than this is large; a small one that is partly down is left alone.
    #[arg(
        long = "large-cluster-size-threshold",
        value_name = "NODES",
        default_value_t = 50
    )]
    pub large_cluster_size_threshold: usize,
    /// From which share of failed nodes on a zone is partly down.
    #[arg(
        long = "unhealthy-zone-threshold",
        value_name = "SHARE",
        default_value_t = 0.55
    )]
    pub unhealthy_zone_threshold: f64,
}

/// How HorizontalPodAutoscalers are looked at.
#[derive(Debug, Args)]
pub struct AutoscalerArgs {
    /// Pause between two looks at one autoscaler.
    #[arg(long = "horizontal-pod-autoscaler-sync-period", value_name = "DURATION", default_value = "15s",
          value_parser = lasting)]
    pub sync_period: Duration,
    /// For how long a higher recommendation counts, where an autoscaler does not say.
    #[arg(long = "horizontal-pod-autoscaler-downscale-stabilization", value_name = "DURATION",
          default_value = "5m", value_parser = go_duration)]
    pub downscale_stabilization: Duration,
    /// By how much use may miss its aim, where an autoscaler does not say.
    #[arg(
        long = "horizontal-pod-autoscaler-tolerance",
        value_name = "SHARE",
        default_value_t = 0.1
    )]
    pub tolerance: f64,
    /// For how long after its start a pod's use of cpu may be that of its beginning.
    #[arg(long = "horizontal-pod-autoscaler-cpu-initialization-period", value_name = "DURATION",
          default_value = "5m", value_parser = go_duration)]
    pub cpu_initialization_period: Duration,
    /// For how long after its start a pod that was never ready still begins.
    #[arg(long = "horizontal-pod-autoscaler-initial-readiness-delay", value_name = "DURATION",
          default_value = "30s", value_parser = go_duration)]
    pub initial_readiness_delay: Duration,
}

/// A duration that work is paused for: without one it would never rest.
fn lasting(text: &str) -> Result<Duration, String> {
    match go_duration(text)? {
        Duration::ZERO => Err(format!("{text}: must be greater than 0")),
        lasting => Ok(lasting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_pause_of_nothing_is_refused() {
        assert_eq!(lasting("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(lasting("0s").unwrap_err(), "0s: must be greater than 0");
        assert!(lasting("soon").is_err());
    }

    #[test]
    fn sizes_of_nodes_ranges_are_of_their_family() {
        let bits = |flags: &str| {
            let words = format!("orlop controller-manager --kubeconfig=/k {flags}");
            let cli = crate::cli::Cli::try_parse_from(words.split_whitespace()).unwrap();
            let crate::cli::Command::ControllerManager(arguments) = cli.command else {
                panic!("{words}");
            };
            let NodeBits { ipv4, ipv6 } = arguments.node_bits();
            (ipv4, ipv6)
        };
        let both = "--cluster-cidr=10.244.0.0/16,fd00::/56";
        assert_eq!(bits(both), (24, 64));
        assert_eq!(bits(&format!("{both} --node-cidr-mask-size-ipv4=25")), (25, 64));
        assert_eq!(bits(&format!("{both} --node-cidr-mask-size-ipv6=72")), (24, 72));
        assert_eq!(bits("--cluster-cidr=10.0.0.0/8 --node-cidr-mask-size=20").0, 20);
        assert_eq!(bits("--cluster-cidr=fd00::/56 --node-cidr-mask-size=80").1, 80);
    }
}
