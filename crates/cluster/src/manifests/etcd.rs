//! One member of the cluster's etcd.
use super::Machine;
use super::pod::{Component, HostPath, Probes, is_everywhere};
use crate::config::{ClusterConfig, NodeConfig};
use crate::extras::Extras;
use serde_json::Value;

pub const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const METRICS_PORT: u16 = 2381;
const METRICS_URLS: &str = "listen-metrics-urls";
const LOOPBACK: &str = "127.0.0.1";

/// Which members there are when one starts for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialCluster {
    /// Names and peer URLs, the new one's too. Empty: the member is the first, and alone.
    pub members: Vec<(String, String)>,
}

/// Of an image's tag: what the program understands depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EtcdVersion(pub u32, pub u32, pub u32);

impl EtcdVersion {
    /// `3.5.21-0` or `v3.4.23`. A tag that tells nothing is taken for a new version.
    pub fn of_tag(tag: &str) -> Self {
        let front = tag.trim_start_matches('v').split('-').next().unwrap_or_default();
        let mut numbers = front.split('.').map(str::parse);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Self(major, minor, patch),
            _ => Self(3, 6, 0),
        }
    }

    /// Has `/livez` and `/readyz`.
    fn tells_readiness(self) -> bool {
        self >= Self(3, 5, 11) || (self >= Self(3, 4, 29) && self < Self(3, 5, 0))
    }
}

/// Where a node's member is reached by clients.
pub fn client_url(node: &NodeConfig) -> String {
    url(node, CLIENT_PORT)
}

/// Where a node's member is reached by the others.
pub fn peer_url(node: &NodeConfig) -> String {
    url(node, PEER_PORT)
}

/// Where a member tells of its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdHealth {
    /// `HTTP` or `HTTPS`, as probes call it.
    pub scheme: &'static str,
    pub host: String,
    pub port: u16,
}

impl EtcdHealth {
    /// The first of `listen-metrics-urls`, if the cluster's configuration says something of them.
    pub fn of(extras: &Extras) -> Self {
        let usual = || Self {
            scheme: "HTTP",
            host: LOOPBACK.to_owned(),
            port: METRICS_PORT,
        };
        let first = extras.arg(METRICS_URLS).and_then(|urls| urls.split(',').next());
        let Some(uri) = first.and_then(|url| url.trim().parse::<http::Uri>().ok()) else {
            return usual();
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Self {
            scheme: match uri.scheme_str() {
                Some("https") => "HTTPS",
                _ => "HTTP",
            },
            host: match host.is_empty() || is_everywhere(host) {
                true => LOOPBACK.to_owned(),
                false => host.to_owned(),
            },
            port: uri.port_u16().unwrap_or(METRICS_PORT),
        }
    }
}

fn url(node: &NodeConfig, port: u16) -> String {
    format!("https://{}", std::net::SocketAddr::new(node.address, port))
}

pub(super) fn manifest(
    cluster: &ClusterConfig,
    node: &NodeConfig,
    members: &InitialCluster,
    machine: Machine<'_>,
) -> Value {
    let version = EtcdVersion::of_tag(&cluster.etcd_tag);
    let (client, peer) = (client_url(node), peer_url(node));
    let own = format!("{}={peer}", node.name);
    let initial = match members.members.as_slice() {
        [] => own,
        all => {
            let words: Vec<String> = all.iter().map(|(name, url)| format!("{name}={url}")).collect();
            words.join(",")
        }
    };
    let pki = |file: &str| format!("/etc/kubernetes/pki/etcd/{file}");
    let mut flags = vec![
        ("advertise-client-urls", client.clone()),
        ("cert-file", pki("server.crt")),
        ("client-cert-auth", "true".to_owned()),
        ("data-dir", "/var/lib/etcd".to_owned()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", initial),
        ("key-file", pki("server.key")),
        (
            "listen-client-urls",
            format!("https://127.0.0.1:{CLIENT_PORT},{client}"),
        ),
        (METRICS_URLS, format!("http://{LOOPBACK}:{METRICS_PORT}")),
        ("listen-peer-urls", peer),
        ("name", node.name.clone()),
        ("peer-cert-file", pki("peer.crt")),
        ("peer-client-cert-auth", "true".to_owned()),
        ("peer-key-file", pki("peer.key")),
        ("peer-trusted-ca-file", pki("ca.crt")),
        ("snapshot-count", "10000".to_owned()),
        ("trusted-ca-file", pki("ca.crt")),
    ];
    if !members.members.is_empty() {
        flags.push(("initial-cluster-state", "existing".to_owned()));
    }
    if version >= EtcdVersion(3, 6, 0) {
        flags.push(("feature-gates", "InitialCorruptCheck=true".to_owned()));
        flags.push(("watch-progress-notify-interval", "5s".to_owned()));
    } else {
        flags.push(("experimental-initial-corrupt-check", "true".to_owned()));
        if version >= EtcdVersion(3, 5, 0) {
            flags.push(("experimental-watch-progress-notify-interval", "5s".to_owned()));
        }
    }
    flags.sort_by_key(|(name, _)| *name);
    let (live, ready) = match version.tells_readiness() {
        true => ("/livez", "/readyz"),
        // A member that has no majority to ask, or is full, is not mended by being restarted.
        false => (
            "/health?exclude=NOSPACE&serializable=true",
            "/health?serializable=false",
        ),
    };
    let extras = cluster.extras("etcd");
    let health = EtcdHealth::of(extras);
    Component {
        name: "etcd",
        image: cluster.image("etcd"),
        flags,
        annotation: Some(("kubeadm.kubernetes.io/etcd.advertise-client-urls", client)),
        probes: Probes {
            scheme: health.scheme,
            host: health.host,
            port: health.port,
            live,
            ready: Some(ready),
            started: ready,
        },
        cpu: "100m",
        memory: Some("100Mi"),
        paths: vec![
            HostPath::directory("etcd-data", "/var/lib/etcd").writable(),
            HostPath::directory("etcd-certs", "/etc/kubernetes/pki/etcd").writable(),
        ],
    }
    .manifest(machine, extras)
}
