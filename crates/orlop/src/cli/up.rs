//! `orlop up`.
use super::{LogArgs, RootArg};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use std::net::IpAddr;
use std::path::PathBuf;

/// What a member of a cluster has from kubeadm's files, and what it has not.
const OF_NO_MEMBER: [&str; 7] = [
    "node_name",
    "static_objects",
    "bind_address",
    "secure_port",
    "controller_manager_port",
    "scheduler_port",
    "config",
];

#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Name of the Node object [default: the host name in lower case].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Let static pods use ConfigMaps and Secrets that lie as manifests in this directory, or beside them in their own
    /// [default: as the kubelet configuration says].
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = crate::paths::STATIC_OBJECTS)]
    pub static_objects: Option<PathBuf>,
    /// Address that the API server listens on.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port that the API server listens on.
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub secure_port: u16,
    /// Port of the controllers' `/healthz` and `/metrics`; 0 turns it off.
    #[arg(long, value_name = "PORT", default_value_t = 10257)]
    pub controller_manager_port: u16,
    /// Port of the scheduler's `/healthz` and `/metrics`; 0 turns it off.
    #[arg(long, value_name = "PORT", default_value_t = 10259)]
    pub scheduler_port: u16,
    /// KubeletConfiguration of the node agent [default: /var/lib/kubelet/config.yaml if it is there].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// CRI socket of a runtime to use instead of the managed containerd.
    #[arg(long, value_name = "ENDPOINT")]
    pub container_runtime_endpoint: Option<String>,
    /// Directory of OCI archives (`*.tar`) to import [default: /var/lib/orlop/images].
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Start in the background and return when the node serves.
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub log: LogArgs,
    /// Flags that were given and that only a node of its own follows.
    #[arg(skip)]
    pub of_no_member: Vec<String>,
}

impl UpArgs {
    /// Notes which flags were given that count for nothing on a member of a cluster; those that are as they are anyway were not.
    pub fn note(&mut self, matches: &ArgMatches) {
        let is_given = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let given = OF_NO_MEMBER.iter().copied().filter(is_given);
        self.of_no_member = given
            .map(|name| format!("--{}", name.replace('_', "-")))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Command, parse};

    #[test]
    fn flags_that_no_member_follows_are_noted_if_they_are_given() {
        for (line, want) in [
            ("orlop up --detach --images=/i --root=/r -v 4", vec![]),
            ("orlop up --secure-port=6443", vec!["--secure-port"]),
            (
                "orlop up --config=/c --node-name=n --static-objects --bind-address=::",
                vec!["--node-name", "--static-objects", "--bind-address", "--config"],
            ),
            (
                "orlop up --scheduler-port=0 --controller-manager-port=0",
                vec!["--controller-manager-port", "--scheduler-port"],
            ),
        ] {
            let cli = parse(line.split(' ').map(Into::into)).unwrap();
            let Command::Up(arguments) = cli.command else {
                panic!("{line}")
            };
            assert_eq!(arguments.of_no_member, want, "{line}");
        }
    }
}
