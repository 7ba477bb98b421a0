//! Commands that make machines members of a cluster, with kubeadm's flags.
use super::{LogArgs, RootArg};
use clap::{Args, Subcommand, ValueEnum};
use orlop_api::KUBERNETES_VERSION;
use orlop_cluster::endpoint::Endpoint;
use orlop_cluster::shared_certificates::CertificateKey;
use orlop_cluster::token::Token;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How lists are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    Text,
    Json,
    Yaml,
}

/// What is said of the node itself.
#[derive(Debug, Args)]
pub struct MemberArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Name of the Node object [default: the host name in lower case].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// CRI socket of a runtime to use instead of the managed containerd.
    #[arg(long, value_name = "ENDPOINT")]
    pub cri_socket: Option<String>,
    /// Directory of OCI archives (`*.tar`) to import [default: /var/lib/orlop/images].
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Address that this node tells others [default: that of the default route].
    #[arg(long, value_name = "IP")]
    pub apiserver_advertise_address: Option<IpAddr>,
    /// Port of this node's API server.
    #[arg(long, value_name = "PORT", default_value_t = orlop_cluster::config::API_PORT)]
    pub apiserver_bind_port: u16,
    /// How long each part may take to become healthy.
    #[arg(long, value_name = "DURATION", default_value = "4m", value_parser = super::parts::go_duration)]
    pub timeout: Duration,
    /// Checks that are told of and don't count, comma-separated, as the sentence names them that refuses; `all` for all.
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub ignore_preflight_errors: Vec<String>,
    /// Directory of patches, `target[suffix][+type].yaml` or `.json`, of the static pods, of kubeletconfiguration and, with
    /// `init`, of corednsdeployment [types: strategic, merge, json].
    #[arg(long, value_name = "DIR")]
    pub patches: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct InitArgs {
    #[command(subcommand)]
    pub part: Option<InitPart>,
    #[command(flatten)]
    pub member: MemberArgs,
    /// File with what kubeadm calls InitConfiguration, ClusterConfiguration and KubeletConfiguration, in the place of flags.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "node_name", "cri_socket", "apiserver_advertise_address", "apiserver_bind_port", "control_plane_endpoint",
        "apiserver_cert_extra_sans", "service_cidr", "pod_network_cidr", "service_dns_domain", "kubernetes_version",
        "image_repository", "token", "token_ttl",
    ])]
    pub config: Option<PathBuf>,
    /// Phases that are left out, comma-separated: addon, addon/coredns, addon/kube-proxy. Without it each add-on is
    /// applied whose image this node has.
    #[arg(long, value_name = "PHASES", value_delimiter = ',')]
    pub skip_phases: Vec<String>,
    /// `host` or `host:port` behind which all API servers are; needed for more than one [default port: that of this node's
    /// API server].
    #[arg(long, value_name = "ENDPOINT")]
    pub control_plane_endpoint: Option<Endpoint>,
    /// Further names and addresses of the API servers' certificates, comma-separated.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub apiserver_cert_extra_sans: Vec<String>,
    /// Addresses that Services get; an IPv4 range and, comma-separated, one of IPv6.
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub service_cidr: String,
    /// Addresses that pods get; each node a part of them.
    #[arg(long, value_name = "CIDR")]
    pub pod_network_cidr: Option<String>,
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub service_dns_domain: String,
    /// Tag of the control plane's images.
    #[arg(long, value_name = "VERSION", default_value = KUBERNETES_VERSION)]
    pub kubernetes_version: String,
    /// Where the control plane's images come from.
    #[arg(long, value_name = "NAME", default_value = orlop_cluster::config::IMAGE_REPOSITORY)]
    pub image_repository: String,
    /// Token with which nodes join [default: a new one].
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<Token>,
    /// How long the token lasts; 0 for ever.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = super::parts::go_duration)]
    pub token_ttl: Duration,
    /// Leave the certificates that masters share in the cluster, encrypted, for two hours.
    #[arg(long)]
    pub upload_certs: bool,
    /// Key that they are encrypted with [default: a new one].
    #[arg(long, value_name = "KEY", requires = "upload_certs")]
    pub certificate_key: Option<CertificateKey>,
    /// Don't print the token.
    #[arg(long)]
    pub skip_token_print: bool,
    /// Don't print the key that the certificates are encrypted with.
    #[arg(long)]
    pub skip_certificate_key_print: bool,
    /// Make every check; change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub enum InitPart {
    /// Run one phase of `init` by itself.
    Phase {
        #[command(subcommand)]
        phase: InitPhase,
    },
}

#[derive(Debug, Subcommand)]
pub enum InitPhase {
    /// Apply an add-on, whether this node has its image or not.
    Addon {
        #[command(flatten)]
        admin: AdminArgs,
        /// Image to run instead of the usual one of the cluster's repository.
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
        /// Directory of patches, as `init` takes them: those of corednsdeployment are laid over CoreDNS.
        #[arg(long, value_name = "DIR")]
        patches: Option<PathBuf>,
        #[arg(value_parser = ["all", "coredns", "kube-proxy"])]
        which: String,
    },
    /// Leave the certificates that masters share in the cluster, as `orlop certs upload` does.
    UploadCerts {
        #[command(flatten)]
        admin: AdminArgs,
        /// Without it nothing is done, as with `init`.
        #[arg(long)]
        upload_certs: bool,
        /// Key that they are encrypted with [default: a new one].
        #[arg(long, value_name = "KEY", requires = "upload_certs")]
        certificate_key: Option<CertificateKey>,
    },
}

#[derive(Debug, Args)]
pub struct JoinArgs {
    #[command(flatten)]
    pub member: MemberArgs,
    /// File with what kubeadm calls JoinConfiguration, in the place of flags.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "node_name", "cri_socket", "apiserver_advertise_address", "apiserver_bind_port", "endpoint", "token",
        "discovery_token", "tls_bootstrap_token", "discovery_token_ca_cert_hash",
        "discovery_token_unsafe_skip_ca_verification", "discovery_file", "control_plane", "certificate_key",
    ])]
    pub config: Option<PathBuf>,
    /// `host:port` of an API server of the cluster [default port: 6443].
    #[arg(value_name = "ENDPOINT", required_unless_present_any = ["config", "discovery_file"])]
    pub endpoint: Option<Endpoint>,
    /// Token that `init` or `orlop token create` printed.
    #[arg(
        long,
        value_name = "TOKEN",
        required_unless_present_any = ["config", "discovery_token", "tls_bootstrap_token", "discovery_file"]
    )]
    pub token: Option<Token>,
    /// Token by which the cluster is trusted, if it is another.
    #[arg(long, value_name = "TOKEN")]
    pub discovery_token: Option<Token>,
    /// Token with which the node asks for its certificate, if it is another.
    #[arg(long, value_name = "TOKEN")]
    pub tls_bootstrap_token: Option<Token>,
    /// Hash of the cluster's authority, as `sha256:<hex>`; one of several.
    #[arg(long, value_name = "HASH", value_delimiter = ',')]
    pub discovery_token_ca_cert_hash: Vec<String>,
    /// Trust whatever authority is signed with the token.
    #[arg(long)]
    pub discovery_token_unsafe_skip_ca_verification: bool,
    /// Kubeconfig by which the cluster is trusted, in the place of an endpoint and a token. If it has no credentials with which
    /// the node can ask for its certificate, --tls-bootstrap-token gives them.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "endpoint", "token", "discovery_token", "discovery_token_ca_cert_hash",
        "discovery_token_unsafe_skip_ca_verification",
    ])]
    pub discovery_file: Option<PathBuf>,
    /// Become a master.
    #[arg(long)]
    pub control_plane: bool,
    /// Key of the certificates that `init --upload-certs` left in the cluster. Without it they must lie in
    /// /etc/kubernetes/pki, copied from a master.
    #[arg(long, value_name = "KEY", requires = "control_plane")]
    pub certificate_key: Option<CertificateKey>,
    /// Make every check and say what would be done; change nothing.
    #[arg(long, visible_alias = "dry-run")]
    pub explain: bool,
}

/// Which node's kubeconfig is used.
#[derive(Debug, Args)]
pub struct AdminArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Kubeconfig of an administrator [default: /etc/kubernetes/admin.conf].
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token with which nodes join.
    Create(TokenCreateArgs),
    /// List tokens.
    List {
        #[command(flatten)]
        admin: AdminArgs,
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: ListOutput,
    },
    /// Delete tokens, by the whole or by the first part.
    Delete {
        #[command(flatten)]
        admin: AdminArgs,
        #[arg(value_name = "TOKEN", required = true)]
        tokens: Vec<String>,
    },
    /// Print a token that nobody knows yet; it counts when `token create` has made it.
    Generate,
}

#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    #[command(flatten)]
    pub admin: AdminArgs,
    /// The token [default: a new one].
    pub token: Option<Token>,
    /// How long it lasts; 0 for ever.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = super::parts::go_duration)]
    pub ttl: Duration,
    /// What it may be used for.
    #[arg(long, value_name = "USAGES", value_delimiter = ',', default_value = "signing,authentication",
          value_parser = ["signing", "authentication"])]
    pub usages: Vec<String>,
    /// Groups that who uses it is in.
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', default_value = orlop_cluster::token::GROUP)]
    pub groups: Vec<String>,
    /// What people should know of it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub description: String,
    /// Print the whole command with which nodes join.
    #[arg(long)]
    pub print_join_command: bool,
    /// Print the command of a master, with this key of the certificates that `orlop certs upload` left.
    #[arg(long, value_name = "KEY", requires = "print_join_command")]
    pub certificate_key: Option<CertificateKey>,
}

impl JoinArgs {
    /// By which the cluster is trusted, and with which the node asks for its certificate.
    pub fn tokens(&self) -> Option<(&Token, &Token)> {
        let both = self.token.as_ref();
        let discovery = self.discovery_token.as_ref().or(both)?;
        Some((discovery, self.tls_bootstrap_token.as_ref().or(both)?))
    }
}

#[derive(Debug, Args)]
pub struct CertsArgs {
    #[command(subcommand)]
    pub command: CertsCommand,
}

#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// List this node's certificates and when they end.
    CheckExpiration {
        #[command(flatten)]
        admin: AdminArgs,
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: ListOutput,
    },
    /// Sign certificates of this node anew; parts that present them take them up by themselves.
    Renew {
        #[command(flatten)]
        root: RootArg,
        /// A name of `check-expiration`, or `all`.
        which: String,
    },
    /// Leave the certificates that masters share in the cluster, encrypted, for two hours.
    Upload {
        #[command(flatten)]
        admin: AdminArgs,
        /// Key that they are encrypted with [default: a new one].
        #[arg(long, value_name = "KEY")]
        certificate_key: Option<CertificateKey>,
    },
    /// Print a new key for `init --certificate-key`.
    CertificateKey,
    /// Make keys of all that a control plane needs, and requests to sign for who keeps the authorities' keys elsewhere:
    /// NAME.key and NAME.csr, and kubeconfigs with NAME.conf.csr.
    GenerateCsr {
        #[command(flatten)]
        root: RootArg,
        /// File with an InitConfiguration or a ClusterConfiguration [default: as `init` without flags].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where those of certificates go [default: /etc/kubernetes/pki].
        #[arg(long, value_name = "DIR")]
        cert_dir: Option<PathBuf>,
        /// Where kubeconfigs go [default: /etc/kubernetes].
        #[arg(long, value_name = "DIR")]
        kubeconfig_dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct ResetArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Don't ask.
    #[arg(short, long)]
    pub force: bool,
    /// Go on although this node's member cannot be taken out of etcd, as where the whole cluster is given up.
    #[arg(long)]
    pub abandon_etcd: bool,
}

#[derive(Debug, Args)]
pub struct UpgradeArgs {
    #[command(subcommand)]
    pub command: UpgradeCommand,
}

#[derive(Debug, Subcommand)]
pub enum UpgradeCommand {
    /// Say which versions the control plane runs and which it could.
    Plan(AdminArgs),
    /// Bring this master, and what the cluster is said to be, to a version.
    Apply(UpgradeApplyArgs),
    /// Bring this master to the version that the cluster is said to be; on a worker, its agent's configuration.
    Node(UpgradeStepArgs),
}

#[derive(Debug, Args)]
pub struct UpgradeApplyArgs {
    #[command(flatten)]
    pub step: UpgradeStepArgs,
    #[arg(value_name = "VERSION", default_value = KUBERNETES_VERSION)]
    pub target: String,
    /// Go on where node agents would be too old for the version.
    #[arg(short, long)]
    pub force: bool,
    /// Take versions that are not released yet.
    #[arg(long)]
    pub allow_experimental_upgrades: bool,
    /// The same of release candidates.
    #[arg(long)]
    pub allow_release_candidate_upgrades: bool,
    /// Taken from kubeadm's users; nothing is asked.
    #[arg(short, long, hide = true)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct UpgradeStepArgs {
    #[command(flatten)]
    pub admin: AdminArgs,
    /// How long each component may take to become healthy.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = super::parts::go_duration)]
    pub timeout: Duration,
    /// Sign the certificates of this master anew, too.
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub certificate_renewal: bool,
    /// Phases that are left out, comma-separated: addon, addon/coredns, addon/kube-proxy.
    #[arg(long, value_name = "PHASES", value_delimiter = ',')]
    pub skip_phases: Vec<String>,
    /// Directory of patches, as `init` takes them. Without it what they changed is as usual again, but for etcd and CoreDNS,
    /// of which an upgrade writes nothing else.
    #[arg(long, value_name = "DIR")]
    pub patches: Option<PathBuf>,
    /// Say what would be done; change nothing.
    #[arg(long)]
    pub dry_run: bool,
}
