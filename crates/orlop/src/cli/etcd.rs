//! Flags under which etcd is known, for the one member that the embedded store is.
use super::LogArgs;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct EtcdArgs {
    /// Name of the member.
    #[arg(long, value_name = "NAME", env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Directory of the store [default: NAME.etcd].
    #[arg(long, value_name = "DIR", env = "ETCD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// URLs to listen on for clients, comma-separated.
    #[arg(
        long,
        value_name = "URLS",
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2379"
    )]
    pub listen_client_urls: Vec<String>,
    /// URLs that clients are told, comma-separated.
    #[arg(
        long,
        value_name = "URLS",
        env = "ETCD_ADVERTISE_CLIENT_URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2379"
    )]
    pub advertise_client_urls: Vec<String>,
    /// Further URLs on which /health and /metrics are answered, comma-separated.
    #[arg(
        long,
        value_name = "URLS",
        env = "ETCD_LISTEN_METRICS_URLS",
        value_delimiter = ','
    )]
    pub listen_metrics_urls: Vec<String>,
    #[command(flatten)]
    pub tls: ServingTlsArgs,
    /// URLs shown for peers; nobody listens there.
    #[arg(
        long,
        value_name = "URLS",
        env = "ETCD_INITIAL_ADVERTISE_PEER_URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2380"
    )]
    pub initial_advertise_peer_urls: Vec<String>,
    /// Members as NAME=URL, comma-separated; more than one is refused.
    #[arg(
        long,
        value_name = "MEMBERS",
        env = "ETCD_INITIAL_CLUSTER",
        value_delimiter = ','
    )]
    pub initial_cluster: Vec<String>,
    /// Largest request, in bytes.
    #[arg(long, value_name = "BYTES", env = "ETCD_MAX_REQUEST_BYTES", default_value_t = orlop_etcd::REQUEST_BYTES_MAX)]
    pub max_request_bytes: usize,
    #[command(flatten)]
    pub log: LogArgs,
}

/// The server's certificate, and whom it trusts.
#[derive(Clone, Debug, Args)]
pub struct ServingTlsArgs {
    #[arg(long, value_name = "FILE", env = "ETCD_CERT_FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", env = "ETCD_KEY_FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Authority of the clients.
    #[arg(long, value_name = "FILE", env = "ETCD_TRUSTED_CA_FILE")]
    pub trusted_ca_file: Option<PathBuf>,
    /// Serve only clients that have a certificate of the trusted authority.
    #[arg(long, value_name = "BOOL", env = "ETCD_CLIENT_CERT_AUTH", default_value_t = false,
          action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub client_cert_auth: bool,
}

impl EtcdArgs {
    /// Refuses a cluster, which this is not.
    pub fn check(&self) -> Result<(), String> {
        let mut names: Vec<&str> = self
            .initial_cluster
            .iter()
            .filter_map(|member| member.split('=').next())
            .collect();
        names.dedup();
        match names.as_slice() {
            [] => Ok(()),
            [one] if *one == self.name => Ok(()),
            [one] => Err(format!(
                "--initial-cluster has the member {one}, but --name is {}",
                self.name
            )),
            _ => Err(format!(
                "--initial-cluster has {} members: the embedded store is one; use etcd itself for more",
                names.len()
            )),
        }
    }

    pub fn directory(&self) -> PathBuf {
        self.data_dir
            .clone()
            .unwrap_or_else(|| format!("{}.etcd", self.name).into())
    }
}
