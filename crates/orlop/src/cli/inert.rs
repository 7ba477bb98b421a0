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
    ("allow-privileged", Always),
    ("kubelet-preferred-address-types", Always),
    ("runtime-config", NotYet),
    ("feature-gates", NotYet),
];

const CONTROLLER_MANAGER: &[(&str, Why)] = &[
    ("authentication-kubeconfig", Always),
    ("authorization-kubeconfig", Always),
    ("client-ca-file", NotYet),
    ("cluster-name", Always),
    ("controllers", NotYet),
    ("requestheader-client-ca-file", NotYet),
    ("service-account-private-key-file", NotYet),
    ("service-cluster-ip-range", NotYet),
    ("use-service-account-credentials", NotYet),
    ("feature-gates", NotYet),
];

const SCHEDULER: &[(&str, Why)] = &[
    ("authentication-kubeconfig", Always),
    ("authorization-kubeconfig", Always),
    ("feature-gates", NotYet),
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
