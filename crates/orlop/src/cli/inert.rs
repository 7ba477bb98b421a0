//! Flags of upstream's programs that are accepted without effect, so that a kubeadm command line
//! runs unchanged. What each asks for is either always so here or not yet built; which of the two
//! is said in the log at start.
use clap::{Arg, ArgAction, ArgMatches, Command};

/// Why a flag has no effect.
#[derive(Clone, Copy)]
enum Why {
    /// What it asks for is how this program always behaves.
    Always,
    /// The feature behind it is not built yet.
    NotYet,
}
use Why::{Always, NotYet};

const APISERVER: &[(&str, Why)] = &[
    ("allow-metric-labels", NotYet),
    ("allow-privileged", Always),
    ("contention-profiling", NotYet),
    ("cors-allowed-origins", NotYet),
    ("default-watch-cache-size", Always),
    ("delete-collection-workers", Always),
    ("emulated-version", NotYet),
    ("enable-aggregator-routing", Always),
    ("enable-garbage-collector", Always),
    ("enable-logs-handler", NotYet),
    ("etcd-count-metric-poll-period", Always),
    ("etcd-db-metric-poll-interval", Always),
    ("etcd-healthcheck-timeout", NotYet),
    ("etcd-readycheck-timeout", NotYet),
    ("event-ttl", NotYet),
    ("external-hostname", NotYet),
    ("feature-gates", NotYet),
    ("http2-max-streams-per-connection", NotYet),
    ("kubelet-preferred-address-types", Always),
    ("kubelet-timeout", NotYet),
    ("lease-reuse-duration-seconds", Always),
    ("livez-grace-period", NotYet),
    ("logging-format", NotYet),
    ("min-request-timeout", NotYet),
    ("permit-address-sharing", NotYet),
    ("permit-port-sharing", NotYet),
    ("profiling", NotYet),
    ("request-timeout", NotYet),
    ("runtime-config", NotYet),
    ("service-account-extend-token-expiration", NotYet),
    ("service-account-lookup", Always),
    ("show-hidden-metrics-for-version", NotYet),
    ("shutdown-delay-duration", NotYet),
    ("shutdown-send-retry-after", NotYet),
    ("storage-backend", Always),
    ("storage-media-type", NotYet),
    ("tls-cipher-suites", NotYet),
    ("tls-min-version", NotYet),
    ("watch-cache", Always),
    ("watch-cache-sizes", Always),
];

const CONTROLLER_MANAGER: &[(&str, Why)] = &[
    ("authentication-kubeconfig", Always),
    ("authentication-skip-lookup", Always),
    ("authentication-tolerate-lookup-failure", Always),
    ("authorization-always-allow-paths", Always),
    ("authorization-kubeconfig", Always),
    ("client-ca-file", NotYet),
    ("cluster-name", Always),
    ("concurrent-cron-job-syncs", Always),
    ("concurrent-daemonset-syncs", Always),
    ("concurrent-deployment-syncs", Always),
    ("concurrent-endpoint-syncs", Always),
    ("concurrent-gc-syncs", Always),
    ("concurrent-job-syncs", Always),
    ("concurrent-namespace-syncs", Always),
    ("concurrent-replicaset-syncs", Always),
    ("concurrent-resource-quota-syncs", Always),
    ("concurrent-service-endpoint-syncs", Always),
    ("concurrent-serviceaccount-token-syncs", Always),
    ("concurrent-statefulset-syncs", Always),
    ("configure-cloud-routes", Always),
    ("contention-profiling", NotYet),
    ("controllers", NotYet),
    ("enable-garbage-collector", Always),
    ("feature-gates", NotYet),
    ("kube-api-burst", Always),
    ("kube-api-content-type", Always),
    ("kube-api-qps", Always),
    ("logging-format", NotYet),
    ("min-resync-period", Always),
    ("namespace-sync-period", Always),
    ("node-monitor-grace-period", NotYet),
    ("node-monitor-period", Always),
    ("profiling", NotYet),
    ("requestheader-client-ca-file", NotYet),
    ("resource-quota-sync-period", NotYet),
    ("service-cluster-ip-range", NotYet),
    ("tls-cipher-suites", NotYet),
    ("tls-min-version", NotYet),
    ("use-service-account-credentials", NotYet),
];

const SCHEDULER: &[(&str, Why)] = &[
    ("authentication-kubeconfig", Always),
    ("authentication-skip-lookup", Always),
    ("authentication-tolerate-lookup-failure", Always),
    ("authorization-always-allow-paths", Always),
    ("authorization-kubeconfig", Always),
    ("client-ca-file", NotYet),
    ("contention-profiling", NotYet),
    ("feature-gates", NotYet),
    ("kube-api-burst", Always),
    ("kube-api-content-type", Always),
    ("kube-api-qps", Always),
    ("logging-format", NotYet),
    ("profiling", NotYet),
    ("requestheader-client-ca-file", NotYet),
    ("tls-cipher-suites", NotYet),
    ("tls-min-version", NotYet),
];

const KUBELET: &[(&str, Why)] = &[
    ("pod-infra-container-image", Always),
    ("runtime-cgroups", NotYet),
    ("cloud-provider", NotYet),
    ("feature-gates", NotYet),
];

const ETCD: &[(&str, Why)] = &[
    ("auto-compaction-mode", NotYet),
    ("auto-compaction-retention", NotYet),
    ("election-timeout", Always),
    ("enable-pprof", NotYet),
    ("enable-v2", NotYet),
    ("experimental-compact-hash-check-enabled", Always),
    ("experimental-initial-corrupt-check", Always),
    ("experimental-watch-progress-notify-interval", Always),
    ("feature-gates", NotYet),
    ("heartbeat-interval", Always),
    ("initial-cluster-state", Always),
    ("initial-cluster-token", Always),
    ("listen-peer-urls", Always),
    ("log-level", NotYet),
    ("log-outputs", NotYet),
    ("logger", NotYet),
    ("max-txn-ops", NotYet),
    ("metrics", Always),
    ("peer-cert-file", Always),
    ("peer-client-cert-auth", Always),
    ("peer-key-file", Always),
    ("peer-trusted-ca-file", Always),
    ("quota-backend-bytes", NotYet),
    ("snapshot-count", Always),
    ("strict-reconfig-check", Always),
    ("unsafe-no-fsync", NotYet),
    ("watch-progress-notify-interval", Always),
];

const PARTS: &[(&str, &[(&str, Why)])] = &[
    ("apiserver", APISERVER),
    ("controller-manager", CONTROLLER_MANAGER),
    ("scheduler", SCHEDULER),
    ("kubelet", KUBELET),
    ("etcd", ETCD),
];

/// Adds the inert flags to each part's subcommand, hidden from help.
pub fn accept(command: Command) -> Command {
    PARTS.iter().fold(command, |command, (part, flags)| {
        command.mut_subcommand(*part, |part| {
            part.args(flags.iter().map(|(flag, _)| {
                Arg::new(*flag)
                    .long(*flag)
                    .hide(true)
                    .action(ArgAction::Append)
                    .num_args(0..=1)
                    .default_missing_value("true")
            }))
        })
    })
}

/// The line to log about inert flags that were given, if any asks for something not built yet.
pub fn notice(matches: &ArgMatches) -> Option<String> {
    let (part, given) = matches.subcommand()?;
    let (_, flags) = PARTS.iter().find(|(name, _)| *name == part)?;
    let ignored: Vec<String> = flags
        .iter()
        .filter(|(flag, why)| matches!(why, NotYet) && given.contains_id(flag))
        .map(|(flag, _)| format!("--{flag}"))
        .collect();
    (!ignored.is_empty()).then(|| format!("accepted without effect in this version: {}", ignored.join(", ")))
}

/// Prints the notice to standard error: the log isn't set up before the flags are known.
pub fn mention(matches: &ArgMatches) {
    if let Some(notice) = notice(matches) {
        eprintln!("orlop: {notice}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flag_without_effect_is_named_in_the_notice() {
        let command = accept(crate::cli::Cli::command());
        let matches = command
            .try_get_matches_from(["orlop", "scheduler", "--kubeconfig=/x", "--feature-gates=A=true"])
            .unwrap();
        assert_eq!(
            notice(&matches).as_deref(),
            Some("accepted without effect in this version: --feature-gates")
        );
    }
}
