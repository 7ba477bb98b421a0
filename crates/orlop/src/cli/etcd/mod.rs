//! Flags under which etcd is known, for the one member that the embedded store is.
mod file;

use super::parts::go_duration;
use super::{LogArgs, LogFormat};
use clap::{Arg, Args, ValueEnum};
use orlop_etcd::{KeepAlive, Limits, Progress, QUOTA_BYTES};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct EtcdArgs {
    /// File that says everything else, in YAML; flags beside it are not looked at.
    #[arg(long, value_name = "FILE", env = "ETCD_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
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
    /// Further URLs for clients that don't speak gRPC, comma-separated.
    #[arg(
        long,
        value_name = "URLS",
        env = "ETCD_LISTEN_CLIENT_HTTP_URLS",
        value_delimiter = ','
    )]
    pub listen_client_http_urls: Vec<String>,
    /// URLs on which /metrics, /health, /livez and /readyz are answered and nothing else, comma-separated: those with http need
    /// no certificate.
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
    /// What makes clusters of the same addresses distinct.
    #[arg(long, value_name = "TOKEN", env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = orlop_etcd::CLUSTER_TOKEN)]
    pub initial_cluster_token: String,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub compaction: CompactionArgs,
    /// How much is logged: debug, info, warn, error, panic or fatal [default: what -v says].
    #[arg(long, value_name = "LEVEL", env = "ETCD_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,
    /// What a line of the log looks like: json or console.
    #[arg(long, value_name = "FORMAT", env = "ETCD_LOG_FORMAT", default_value = "json")]
    pub log_format: LineFormat,
    /// Log verbosity where no level is given, as upstream's: 0 warnings, 2 decisions, 4 details, 6 everything.
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 2)]
    pub verbosity: u8,
    /// Do not wait for what is written to be on the disk. For tests: the power takes what the system had in memory.
    #[arg(long, value_name = "BOOL", env = "ETCD_UNSAFE_NO_FSYNC", default_value_t = false,
          action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub unsafe_no_fsync: bool,
}

/// How much is taken, and how often watches are told.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Largest request, in bytes.
    #[arg(long, value_name = "BYTES", env = "ETCD_MAX_REQUEST_BYTES", default_value_t = orlop_etcd::REQUEST_BYTES_MAX)]
    pub max_request_bytes: usize,
    /// Most operations in each list of a transaction.
    #[arg(long, value_name = "N", env = "ETCD_MAX_TXN_OPS", default_value_t = orlop_etcd::TXN_OPERATIONS_MAX)]
    pub max_txn_ops: usize,
    /// Most calls that a client may have under way on one connection [default: any number].
    #[arg(long, value_name = "N", env = "ETCD_MAX_CONCURRENT_STREAMS")]
    pub max_concurrent_streams: Option<u32>,
    /// Bytes that records may take before an alarm is raised and writes are refused; 0: 2 GiB, less: as many as the disk has.
    #[arg(
        long,
        value_name = "BYTES",
        env = "ETCD_QUOTA_BACKEND_BYTES",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub quota_backend_bytes: i64,
    /// How often watches that ask for it are told how far they are [default: within seconds, if they have come further].
    #[arg(
        long,
        alias = "experimental-watch-progress-notify-interval",
        value_name = "DURATION",
        env = "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL",
        value_parser = go_duration
    )]
    pub watch_progress_notify_interval: Option<Duration>,
    /// How long a client may be silent before it is asked whether it is there; 0: it is not asked.
    #[arg(
        long,
        value_name = "DURATION",
        env = "ETCD_GRPC_KEEPALIVE_INTERVAL",
        default_value = "2h",
        value_parser = go_duration
    )]
    pub grpc_keepalive_interval: Duration,
    /// How long the answer to that may take.
    #[arg(
        long,
        value_name = "DURATION",
        env = "ETCD_GRPC_KEEPALIVE_TIMEOUT",
        default_value = "20s",
        value_parser = go_duration
    )]
    pub grpc_keepalive_timeout: Duration,
    /// How far apart a client's own questions whether the server is there have to lie; who asks more often again and again is
    /// sent away. 0: gRPC's own five minutes.
    #[arg(
        long,
        value_name = "DURATION",
        env = "ETCD_GRPC_KEEPALIVE_MIN_TIME",
        default_value = "5s",
        value_parser = go_duration
    )]
    pub grpc_keepalive_min_time: Duration,
}

/// What gRPC's servers allow that are told nothing.
const UNSAID_PING_INTERVAL_MIN: Duration = Duration::from_secs(5 * 60);

impl LimitArgs {
    pub fn limits(&self) -> Limits {
        let interval = self.watch_progress_notify_interval;
        Limits {
            request_bytes: self.max_request_bytes,
            txn_operations: self.max_txn_ops,
            streams_of_a_connection: self.max_concurrent_streams,
            quota_bytes: match self.quota_backend_bytes {
                0 => Some(QUOTA_BYTES),
                bytes => u64::try_from(bytes).ok(),
            },
            keep_alive: match (self.grpc_keepalive_interval, self.grpc_keepalive_timeout) {
                (Duration::ZERO, _) | (_, Duration::ZERO) => None,
                (interval, timeout) => Some(KeepAlive { interval, timeout }),
            },
            ping_interval_min: match self.grpc_keepalive_min_time {
                Duration::ZERO => UNSAID_PING_INTERVAL_MIN,
                interval => interval,
            },
            progress: interval
                .filter(|interval| !interval.is_zero())
                .map_or(Progress::WhenFurther, Progress::Every),
        }
    }
}

/// What is forgotten by itself.
#[derive(Debug, Args)]
pub struct CompactionArgs {
    /// Whether the retention is a time or a number of revisions.
    #[arg(
        long,
        value_name = "MODE",
        env = "ETCD_AUTO_COMPACTION_MODE",
        default_value = "periodic"
    )]
    pub auto_compaction_mode: CompactionMode,
    /// How much of history stays: hours or a duration, or revisions; 0: all of it.
    #[arg(
        long,
        value_name = "RETENTION",
        env = "ETCD_AUTO_COMPACTION_RETENTION",
        default_value = "0"
    )]
    pub auto_compaction_retention: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompactionMode {
    Periodic,
    Revision,
}

/// How much of history stays readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// All of it: clients compact by themselves.
    All,
    Time(Duration),
    Revisions(u64),
}

impl CompactionArgs {
    pub fn retention(&self) -> Result<Retention, String> {
        let text = self.auto_compaction_retention.as_str();
        let number = text.parse::<u64>();
        match (self.auto_compaction_mode, number) {
            (_, Ok(0)) => Ok(Retention::All),
            (CompactionMode::Revision, Ok(revisions)) => Ok(Retention::Revisions(revisions)),
            (CompactionMode::Revision, Err(_)) => Err(format!(
                "--auto-compaction-retention={text} is no number of revisions"
            )),
            (CompactionMode::Periodic, Ok(hours)) => {
                Ok(Retention::Time(Duration::from_secs(hours.saturating_mul(3600))))
            }
            (CompactionMode::Periodic, Err(_)) => {
                let time = go_duration(text).map_err(|why| format!("--auto-compaction-retention: {why}"))?;
                Ok(match time.is_zero() {
                    true => Retention::All,
                    false => Retention::Time(time),
                })
            }
        }
    }
}

/// Formats of etcd's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LineFormat {
    Json,
    Console,
}

/// Levels of etcd's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Panic,
    Fatal,
}

impl LogLevel {
    fn verbosity(self) -> u8 {
        match self {
            Self::Debug => 4,
            Self::Info => 2,
            Self::Warn | Self::Error | Self::Panic | Self::Fatal => 0,
        }
    }
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
    /// List of certificates that the authority has revoked.
    #[arg(long, value_name = "FILE", env = "ETCD_CLIENT_CRL_FILE")]
    pub client_crl_file: Option<PathBuf>,
    /// Make a certificate if none is given.
    #[arg(long, value_name = "BOOL", env = "ETCD_AUTO_TLS", default_value_t = false,
          action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub auto_tls: bool,
    /// Cipher suites of TLS 1.2, comma-separated [default: all that are good].
    #[arg(
        long,
        value_name = "SUITES",
        env = "ETCD_CIPHER_SUITES",
        value_delimiter = ','
    )]
    pub cipher_suites: Vec<String>,
    /// The oldest version of TLS: TLS1.2 or TLS1.3.
    #[arg(
        long,
        value_name = "VERSION",
        env = "ETCD_TLS_MIN_VERSION",
        default_value = "TLS1.2"
    )]
    pub tls_min_version: TlsVersion,
    /// The newest version of TLS [default: the newest there is].
    #[arg(long, value_name = "VERSION", env = "ETCD_TLS_MAX_VERSION")]
    pub tls_max_version: Option<TlsVersion>,
}

/// Versions of TLS as etcd's flags have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum TlsVersion {
    #[value(name = "TLS1.2")]
    Tls12,
    #[value(name = "TLS1.3")]
    Tls13,
}

/// A flag as etcd has it, for which a variable that is empty is none.
pub fn without_empty_variable(flag: Arg, is_empty: impl Fn(&OsStr) -> bool) -> Arg {
    match flag.get_env().is_some_and(is_empty) {
        true => flag.env(None::<&'static str>),
        false => flag,
    }
}

impl EtcdArgs {
    /// How much is logged.
    pub fn log(&self) -> LogArgs {
        LogArgs {
            verbosity: self.log_level.map_or(self.verbosity, LogLevel::verbosity),
            logging_format: match self.log_format {
                LineFormat::Json => LogFormat::Etcd,
                LineFormat::Console => LogFormat::Text,
            },
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Command};
    use std::ffi::OsString;

    /// What a command line says, if it is one.
    fn parsed(words: &[&str]) -> Option<EtcdArgs> {
        let words = ["orlop", "etcd"].iter().chain(words).map(OsString::from);
        match cli::parse(words).ok()?.command {
            Command::Etcd(arguments) => Some(arguments),
            other => panic!("{other:?} is no etcd"),
        }
    }

    #[test]
    fn a_variable_that_is_empty_is_none() {
        for is_empty in [false, true] {
            let flag = Arg::new("max-txn-ops").env("ETCD_MAX_TXN_OPS");
            let flag = without_empty_variable(flag, |variable| {
                assert_eq!(variable, "ETCD_MAX_TXN_OPS");
                is_empty
            });
            assert_eq!(flag.get_env().is_none(), is_empty);
        }
    }

    #[test]
    fn clients_may_ping_as_often_as_is_said() {
        for (words, seconds) in [
            (&[][..], 5),
            (&["--grpc-keepalive-min-time=30s"], 30),
            (&["--grpc-keepalive-min-time=0s"], 300),
        ] {
            let limits = parsed(words).unwrap().limits.limits();
            assert_eq!(
                limits.ping_interval_min,
                Duration::from_secs(seconds),
                "{words:?}"
            );
        }
    }

    #[test]
    fn the_log_looks_as_etcds_flag_says_and_no_other() {
        for (words, format) in [
            (&[][..], LogFormat::Etcd),
            (&["--log-format=console"], LogFormat::Text),
            (&["--log-format=json", "-v=4"], LogFormat::Etcd),
        ] {
            assert_eq!(parsed(words).unwrap().log().logging_format, format, "{words:?}");
        }
        // As etcd, which doesn't know it; it would have no effect.
        assert!(parsed(&["--logging-format=json"]).is_none());
    }

    #[test]
    fn a_retention_is_a_time_or_a_number_of_revisions() {
        let retention = |mode, text: &str| {
            let arguments = CompactionArgs {
                auto_compaction_mode: mode,
                auto_compaction_retention: text.to_owned(),
            };
            arguments.retention().ok()
        };
        let hour = Duration::from_secs(3600);
        use CompactionMode::{Periodic, Revision};
        for (mode, text, expected) in [
            (Periodic, "0", Some(Retention::All)),
            (Periodic, "0s", Some(Retention::All)),
            (Periodic, "8", Some(Retention::Time(8 * hour))),
            (Periodic, "30m", Some(Retention::Time(hour / 2))),
            (Periodic, "soon", None),
            (Revision, "0", Some(Retention::All)),
            (Revision, "1000", Some(Retention::Revisions(1000))),
            (Revision, "1h", None),
        ] {
            assert_eq!(retention(mode, text), expected, "{mode:?} {text}");
        }
    }
}
