//! Flags of the parts that run alone, under upstream's names.
use super::audit::{AuditArgs, TracingArgs};
use super::authentication::AuthenticationArgs;
use super::dead_containers::DeadContainerArgs;
use super::kubelet_flags::ConfigurationFlags;
use super::{LogArgs, RootArg};
use clap::Args;
use orlop_apiserver::ServiceRange;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct KubeletArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// KubeletConfiguration [default: /var/lib/kubelet/config.yaml if it is there].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of drop-ins: files named *.conf, each laid over what came before it.
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    #[command(flatten)]
    pub flags: ConfigurationFlags,
    /// Kubeconfig of the API server; without it the agent runs alone.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Kubeconfig with which the agent asks for a certificate of its own, and writes the --kubeconfig, if that is missing
    /// or its certificate has ended.
    #[arg(long, value_name = "FILE")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Renew the client certificate before it ends (overrides the configuration's rotateCertificates).
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub rotate_certificates: Option<bool>,
    /// Without an API server: serve one of this node's own on a loopback port, for looking with kubectl, and write
    /// /etc/kubernetes/local.conf for it.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "6445", conflicts_with = "kubeconfig")]
    pub local_api: Option<u16>,
    /// Name of the Node object [default: the host name in lower case].
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Address of the node, or one of each family, as `IPV4,IPV6` [default: that of the default route].
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// `external`: a cloud's own controller finds out about this machine. Until then its Node keeps pods away, and has no
    /// addresses but those of --node-ip.
    #[arg(long, value_name = "NAME")]
    pub cloud_provider: Option<String>,
    /// Labels of the Node object at its creation, as `key=value,…`.
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    pub node_labels: Vec<String>,
    /// Taints of the Node object at its creation, as `key=value:effect,…`.
    #[arg(long, value_name = "TAINTS", value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// CRI socket of the runtime [default: the configuration's, or else unix:///run/containerd/containerd.sock].
    #[arg(long, value_name = "ENDPOINT")]
    pub container_runtime_endpoint: Option<String>,
    /// Directory or file of static pods (overrides the configuration's staticPodPath).
    #[arg(long, value_name = "PATH")]
    pub pod_manifest_path: Option<PathBuf>,
    /// Let static pods use ConfigMaps and Secrets that lie as manifests in this directory, or beside them in their own
    /// (overrides the configuration's orlop.dev/staticObjectsPath).
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = crate::paths::STATIC_OBJECTS)]
    pub static_objects: Option<PathBuf>,
    /// The agent's own directory.
    #[arg(long, value_name = "DIR")]
    pub root_dir: Option<PathBuf>,
    /// Directory of the agent's certificates.
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// CredentialProviderConfig, or a directory of them: programs that say how to log in to registries.
    #[arg(long, value_name = "PATH")]
    pub image_credential_provider_config: Option<PathBuf>,
    /// Where these programs are.
    #[arg(long, value_name = "DIR")]
    pub image_credential_provider_bin_dir: Option<PathBuf>,
    #[command(flatten)]
    pub dead_containers: DeadContainerArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct ApiServerArgs {
    #[command(flatten)]
    pub root: RootArg,
    /// Keep everything in memory: for tests of controllers. Prints the path of an administrator's kubeconfig.
    #[arg(long)]
    pub ephemeral: bool,
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub secure_port: u16,
    /// Address under which others reach this server [default: the bind address; the machine's own for 0.0.0.0 and loopback].
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    #[command(flatten)]
    pub authentication: AuthenticationArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
    #[command(flatten)]
    pub tracing: TracingArgs,
    /// EncryptionConfiguration of apiserver.config.k8s.io/v1: how objects are sealed before they are stored.
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Follow changes of that file.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub encryption_provider_config_automatic_reload: bool,
    /// How long a request may take that is neither a watch nor streams; `?timeout=` can ask for less.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = go_duration)]
    pub request_timeout: Duration,
    /// How long the server answers on when it is told to stop, while /readyz says that it does: clients go elsewhere
    /// meanwhile. Then watches and streams end, and what is being answered has as long as --request-timeout says.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = go_duration)]
    pub shutdown_delay_duration: Duration,
    /// While the last requests are answered, tell clients that come to try again (429), instead of not listening to them.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub shutdown_send_retry_after: bool,
    /// Which of the built-in APIs are served, comma-separated: `api/all`, `api/ga` or `api/beta`, GROUP/VERSION (`api/v1` for
    /// the core group) or GROUP/VERSION/RESOURCE, each with `=true` or `=false` [default: all].
    #[arg(long, value_name = "KEY=BOOL", value_delimiter = ',')]
    pub runtime_config: Vec<String>,
    /// When the server is told to stop, end watches one by one within this time rather than all at once.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = go_duration)]
    pub shutdown_watch_termination_grace_period: Duration,
    /// How long a watch lasts at least that does not say, and half as long as it lasts at most; seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub min_request_timeout: u32,
    /// Requests that only read, at the same time; 0 for no limit. With fairness, both limits are one.
    #[arg(long, value_name = "COUNT", default_value_t = 400)]
    pub max_requests_inflight: u32,
    /// Other requests at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    pub max_mutating_requests_inflight: u32,
    /// Share what can be answered at the same time as FlowSchemas and PriorityLevelConfigurations say.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_priority_and_fairness: bool,
    /// How likely a request over HTTP/2 is the last one on its connection, up to 0.02: behind a balancer, clients move to
    /// other servers.
    #[arg(long, value_name = "CHANCE", default_value_t = 0.0, value_parser = goaway_chance)]
    pub goaway_chance: f64,
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Oldest version of TLS that is offered, such as VersionTLS13 [default: VersionTLS12].
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub tls_min_version: String,
    /// Cipher suites of TLS 1.2 that are offered, by IANA's names, comma-separated [default: all that are good].
    #[arg(long, value_name = "SUITES", value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
    /// A certificate and its key, comma-separated, for clients that ask for certain names: those behind a colon,
    /// comma-separated too, or else those in the certificate. Can be given several times.
    #[arg(long, value_name = "FILES[:NAMES]", value_parser = named_certificate)]
    pub tls_sni_cert_key: Vec<NamedCertificate>,
    /// Regular expressions of the origins (`scheme://host:port`) whose pages browsers let ask this server,
    /// comma-separated.
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    pub cors_allowed_origins: Vec<String>,
    /// Certificate by which node agents recognise this server [default: none; agents may let anybody ask].
    #[arg(long, value_name = "FILE", requires = "kubelet_client_key")]
    pub kubelet_client_certificate: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "kubelet_client_certificate")]
    pub kubelet_client_key: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Types of a node's addresses at which its agent is called, comma-separated; the next one is tried where one fails.
    #[arg(long, value_name = "TYPES", value_delimiter = ',', default_values = orlop_apiserver::ADDRESS_TYPES)]
    pub kubelet_preferred_address_types: Vec<String>,
    /// Name of the issuer of service account tokens; further ones are those whose tokens are taken as well
    /// [default: https://kubernetes.default.svc.cluster.local].
    #[arg(long, value_name = "URL")]
    pub service_account_issuer: Vec<String>,
    /// Where others are told to find the keys of these tokens [default: /openid/v1/jwks at the issuer].
    #[arg(long, value_name = "URL")]
    pub service_account_jwks_uri: Option<String>,
    /// Key that service account tokens are signed with [default: /etc/kubernetes/pki/sa.key].
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Further keys (public ones, PEM) by which service account tokens are recognised.
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// What service account tokens are for, comma-separated [default: the issuer].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// Directory of `apiserver.crt` and `apiserver.key`; they are made there if they are missing
    /// [default: /etc/kubernetes/pki].
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Admission plugins that are turned on beyond those that are anyway, comma-separated.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins that are turned off, comma-separated.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// AdmissionConfiguration of apiserver.config.k8s.io/v1: what the plugins PodSecurity, ResourceQuota, EventRateLimit and
    /// those of webhooks are told.
    #[arg(long, value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
    /// How long pods stay on a node that is not ready, if they say nothing of it; seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    /// How long pods stay on a node that cannot be reached, if they say nothing of it; seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,
    /// How long events are kept.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = go_duration)]
    pub event_ttl: Duration,
    /// Service account tokens last no longer [default: as long as is asked for].
    #[arg(long, value_name = "DURATION", value_parser = token_duration)]
    pub service_account_max_token_expiration: Option<Duration>,
    /// Let tokens of pods outlive a renewal that fails, up to a year.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub service_account_extend_token_expiration: bool,
    /// What browsers are told with every answer about asking over TLS only, comma-separated, such as max-age=31536000.
    #[arg(long, value_name = "DIRECTIVES", value_delimiter = ',')]
    pub strict_transport_security_directives: Vec<String>,
    /// Addresses that Services get: one range or, comma-separated, one of each family, the first of which they have by
    /// default.
    #[arg(
        long,
        value_name = "CIDR",
        value_delimiter = ',',
        default_value = "10.96.0.0/12"
    )]
    pub service_cluster_ip_range: Vec<ServiceRange>,
    /// Ports on every node that Services get.
    #[arg(long, value_name = "FIRST-LAST", default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: RangeInclusive<u16>,
    /// How the addresses behind the Service `kubernetes` are found [default: lease on etcd, this server's otherwise].
    #[arg(long, value_name = "TYPE", value_parser = ["lease", "none"])]
    pub endpoint_reconciler_type: Option<String>,
    /// Servers of etcd, comma-separated [default: the embedded store].
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub etcd_certfile: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,
    /// Below which key everything lies in etcd: several clusters can share one.
    #[arg(long, value_name = "KEY", default_value = "/registry")]
    pub etcd_prefix: String,
    /// How often etcd is told to forget what was replaced longer ago than this; 0s: somebody else sees to it.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = go_duration)]
    pub etcd_compaction_interval: Duration,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct SchedulerArgs {
    /// KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1: whose pods are scheduled; its kubeconfig goes before the flag, flags of the
    /// leader's election before it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    pub kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub leader: LeaderArgs,
    #[command(flatten)]
    pub face: FaceArgs,
    /// Port of `/healthz` and `/metrics`; 0 turns it off.
    #[arg(long, value_name = "PORT", default_value_t = 10259)]
    pub secure_port: u16,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Default, Args)]
pub struct LeaderArgs {
    /// Work only while holding the part's Lease in kube-system [default: true].
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: Option<bool>,
    /// How long a Lease is respected after its last change [default: 15s].
    #[arg(long, value_name = "DURATION", value_parser = go_duration)]
    pub leader_elect_lease_duration: Option<Duration>,
    /// A leader that couldn't renew its Lease for this long stops [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = go_duration)]
    pub leader_elect_renew_deadline: Option<Duration>,
    /// Pause between attempts to acquire or renew the Lease [default: 2s].
    #[arg(long, value_name = "DURATION", value_parser = go_duration)]
    pub leader_elect_retry_period: Option<Duration>,
    /// What the lock is; nothing but a Lease is one.
    #[arg(long, value_name = "KIND", default_value = "leases", value_parser = ["leases"])]
    pub leader_elect_resource_lock: String,
    /// Name of the Lease [default: that of the program].
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_name: Option<String>,
    /// Namespace of the Lease [default: kube-system].
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_namespace: Option<String>,
}

/// What a part shows of itself, and to whom.
#[derive(Debug, Args)]
pub struct FaceArgs {
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Certificate of the port [default: one that is made at start].
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Paths that anybody may get beside /healthz, /livez and /readyz, comma-separated; `/a/*` for all below.
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    pub authorization_always_allow_paths: Vec<String>,
}

/// `8760h`, as Go writes durations.
pub(super) fn go_duration(text: &str) -> Result<Duration, String> {
    orlop_api::duration::parse_go_duration(text).ok_or_else(|| format!("{text} is no duration such as 8760h"))
}

/// A certificate for names of its own, as it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Empty: those in the certificate.
    pub names: Vec<String>,
}

/// `certificate,key` or `certificate,key:name,name`.
fn named_certificate(text: &str) -> Result<NamedCertificate, String> {
    let list = |text: &str| -> Vec<String> { text.split(',').map(|part| part.trim().to_owned()).collect() };
    let (files, names) = text
        .split_once(':')
        .map_or((text, None), |(files, names)| (files, Some(names)));
    if names.is_some_and(|names| names.trim().is_empty()) {
        return Err("there are no names behind the colon".to_owned());
    }
    let [certificate, key] = list(files)
        .try_into()
        .map_err(|_| "a certificate and a key are needed, such as tls.crt,tls.key".to_owned())?;
    Ok(NamedCertificate {
        certificate: certificate.into(),
        key: key.into(),
        names: names.map(list).unwrap_or_default(),
    })
}

/// Upstream's bounds.
fn token_duration(text: &str) -> Result<Duration, String> {
    let duration = go_duration(text)?;
    let bounds = Duration::from_secs(3600)..=Duration::from_secs(1 << 32);
    match bounds.contains(&duration) {
        true => Ok(duration),
        false => Err("it can be from 1h to 2^32 seconds".to_owned()),
    }
}

/// `30000-32767`, or a single port.
fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().map_err(|error| error.to_string());
    let (first, last) = (port(first)?, port(last)?);
    if first == 0 || first > last {
        return Err(format!("{first}-{last} is no range of ports such as 30000-32767"));
    }
    Ok(first..=last)
}

/// Upstream's bounds: more would keep clients busy with connecting.
fn goaway_chance(text: &str) -> Result<f64, String> {
    let chance: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=0.02).contains(&chance) {
        Ok(chance)
    } else {
        Err("it can be from 0 to 0.02".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_for_names_are_read_as_upstream_reads_them() {
        let given = |names: &[&str]| NamedCertificate {
            certificate: "a.crt".into(),
            key: "a.key".into(),
            names: names.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(named_certificate("a.crt,a.key"), Ok(given(&[])));
        assert_eq!(
            named_certificate("a.crt, a.key:*.example.com, example.com"),
            Ok(given(&["*.example.com", "example.com"]))
        );
        for wrong in ["", "a.crt", "a.crt,a.key,b", "a.crt,a.key:"] {
            assert!(named_certificate(wrong).is_err(), "{wrong}");
        }
    }
}
