//! Kubeconfigs of further users, with kubeadm's flags.
use super::RootArg;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    #[command(subcommand)]
    pub command: KubeconfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum KubeconfigCommand {
    /// Print a kubeconfig of another user, with a certificate that the authority on this master signs, or with a token.
    User(KubeconfigUserArgs),
}

#[derive(Debug, Args)]
pub struct KubeconfigUserArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Name of the user, as whom the certificate speaks.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub client_name: String,
    /// Groups that the certificate is of, comma-separated.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    pub org: Vec<String>,
    /// Token that the cluster knows the user by, in the place of a certificate.
    #[arg(long, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    pub token: Option<String>,
    /// How long the certificate is valid from now on, but no longer than the authority.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = super::parts::go_duration)]
    pub validity_period: Duration,
    /// File with an InitConfiguration or a ClusterConfiguration, which says where the cluster is reached and what it is called
    /// [default: as /etc/kubernetes/admin.conf says].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
