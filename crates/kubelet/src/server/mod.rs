//! The agent's HTTP face: HTTPS on 10250 for the API server and scrapers, plain `/healthz` on 10248, and, where
//! `readOnlyPort` asks for it, plain lists and measurements for anybody.
//!
//! | file | answers |
//! |---|---|
//! | [`serve`] | connections and TLS |
//! | [`access`] | who may ask |
//! | [`routes`] | which answer a path gets |
//! | [`health`] | `/healthz` |
//! | [`lists`] | `/pods`, `/runningpods/`; `/status` for commands on the node |
//! | [`measures`] | `/stats/summary`, `/metrics` and the pages below it |
//! | [`metrics`] | their texts |
//! | [`logs`] | `/containerLogs` |
//! | [`checkpoint`] | `/checkpoint` |
//! | [`system_logs`] | `/logs/` |
//! | [`zpages`] | `/statusz`, `/flagz` |
//! | [`streams`] | `/exec`, `/attach`, `/portForward`, `/run` |
mod access;
mod body;
mod checkpoint;
mod health;
mod lists;
mod logs;
mod measures;
mod metrics;
mod query;
mod remembered;
mod routes;
mod serve;
mod streams;
mod system_logs;
mod zpages;

pub(crate) use system_logs::ask::check as check_log_queries;
pub use zpages::flags_of;

use crate::config::KubeletConfiguration;
use crate::metrics::Metrics;
use crate::mirror::Refusals;
use crate::pods::{Orders, PodsHandle};
use crate::sources::report::ReportBoard;
use crate::stats::Meter;
use crate::whole::gone;
use http::{Request, Response};
use jiff::Timestamp;
use orlop_cri::RuntimeService;
use orlop_pki::{Identity, ServingFiles};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What answers are made from.
pub struct ServerContext {
    pub node_name: String,
    pub pods: PodsHandle,
    pub runtime: Arc<dyn RuntimeService>,
    /// Asked whether callers are allowed; `None`: alone, without an API server.
    pub client: Option<kube::Client>,
    /// What `/configz` shows.
    pub configz: serde_json::Value,
    pub metrics: Metrics,
    /// Whether the pod manager takes any tells whether the agent is well.
    pub orders: Orders,
    pub meter: Arc<Meter>,
    /// What became of manifests.
    pub reports: ReportBoard,
    /// Mirrors that the API server does not take.
    pub refusals: Refusals,
    /// When this agent began.
    pub began: Timestamp,
    /// What it was started with.
    pub flags: Vec<(String, String)>,
    /// For commands on this node: root alone may ask.
    pub socket: Option<PathBuf>,
}

/// The context, and the settings that answers depend on.
struct State {
    context: ServerContext,
    access: access::Access,
    health: health::Health,
    pod_logs: PathBuf,
    /// What `/logs/` shows; `None`: nothing.
    system_logs: Option<PathBuf>,
    /// `enableSystemLogQuery`.
    log_queries: bool,
    /// `enableDebuggingHandlers`.
    debugging: bool,
    /// The feature gate `ContainerCheckpoint`, on unless it is switched off.
    checkpoints: bool,
    /// Places for streams.
    streams: Arc<Semaphore>,
    /// `streamingConnectionIdleTimeout`: how long a stream may be silent.
    idle_limit: Duration,
    /// Ends what outlives its request.
    ending: CancellationToken,
}

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// The caller is known and may ask.
    Secure,
    /// `readOnlyPort`: anybody may ask, for little.
    ReadOnly,
    /// The socket for commands on this node.
    Local,
}

/// The machine's logs.
const SYSTEM_LOGS: &str = "/var/log";

/// Open exec, attach and port-forward streams. Each holds two sockets and some 100 KiB of buffers.
const STREAMS_MAX: usize = 256;

/// Why the agent cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "the node agent cannot listen on {address}: {source}. Stop what has the port, or set another `{field}` in the \
         kubelet configuration"
    )]
    Bind {
        address: String,
        field: &'static str,
        source: io::Error,
    },
    #[error("the node agent cannot listen on {}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("{address:?} is no IP address to listen on: correct `{field}` in the kubelet configuration")]
    Address { address: String, field: &'static str },
}

/// A server that has its ports.
pub struct Serving {
    secure: Option<(TcpListener, Arc<ServingFiles>)>,
    health: Option<TcpListener>,
    read_only: Option<TcpListener>,
    local: Option<UnixListener>,
    state: Arc<State>,
}

/// An address and a port of the configuration, with the names of their fields.
struct Place<'a> {
    address: (&'static str, &'a str),
    port: (&'static str, u16),
}

async fn listen(place: Place<'_>) -> Result<TcpListener, ServeError> {
    let (address_field, address) = place.address;
    let (field, port) = place.port;
    let ip: IpAddr = address.parse().map_err(|_| ServeError::Address {
        address: address.to_owned(),
        field: address_field,
    })?;
    let address = SocketAddr::new(ip, port);
    orlop_sockets::listen(address)
        .await
        .map_err(|source| ServeError::Bind {
            address: address.to_string(),
            field,
            source,
        })
}

/// Takes the ports: a port that is taken must end the agent before it touches a pod.
pub async fn bind(
    configuration: &KubeletConfiguration,
    tls: Option<Arc<ServingFiles>>,
    context: ServerContext,
) -> Result<Serving, ServeError> {
    let secure = match tls.filter(|_| configuration.enable_server && configuration.port != 0) {
        Some(tls) => {
            let place = Place {
                address: ("address", &configuration.address),
                port: ("port", configuration.port),
            };
            Some((listen(place).await?, tls))
        }
        None => None,
    };
    let health = match configuration.healthz_port {
        0 => None,
        port => {
            let address = ("healthzBindAddress", configuration.healthz_bind_address.as_str());
            Some(
                listen(Place {
                    address,
                    port: ("healthzPort", port),
                })
                .await?,
            )
        }
    };
    let read_only = match configuration.read_only_port {
        0 => None,
        port => {
            let place = Place {
                address: ("address", &configuration.address),
                port: ("readOnlyPort", port),
            };
            Some(listen(place).await?)
        }
    };
    let local = match &context.socket {
        Some(path) => Some(listen_locally(path).map_err(|source| ServeError::Socket {
            path: path.clone(),
            source,
        })?),
        None => None,
    };
    let state = State {
        access: access::Access::new(configuration, &context.node_name, context.client.clone()),
        health: health::Health {
            orders: context.orders.clone(),
            metrics: context.metrics.clone(),
        },
        context,
        system_logs: (configuration.other.get("enableSystemLogHandler") != Some(&false.into()))
            .then(|| PathBuf::from(SYSTEM_LOGS)),
        log_queries: system_logs::ask::is_enabled(configuration),
        pod_logs: PathBuf::from(&configuration.pod_logs_dir),
        debugging: configuration.enable_debugging_handlers,
        checkpoints: checkpoint::are_enabled(configuration),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        idle_limit: configuration.streaming_connection_idle_timeout.0,
        ending: CancellationToken::new(),
    };
    Ok(Serving {
        secure,
        health,
        read_only,
        local,
        state: Arc::new(state),
    })
}

impl Serving {
    /// Answers until shutdown, which also ends the answers under way.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Self {
            secure,
            health,
            read_only,
            local,
            state,
        } = self;
        let _end = state.ending.clone().drop_guard();
        let health = async {
            if let Some(listener) = health {
                let health = &state.health;
                serve::accept(listener, shutdown.clone(), |stream| {
                    serve::healthz(stream, health.clone())
                })
                .await;
            }
        };
        let secure = async {
            let Some((listener, tls)) = secure else {
                return;
            };
            serve::accept(listener, shutdown.clone(), |stream| {
                let state = state.clone();
                serve::secure(stream, serve::acceptor(&tls), move |caller, request| {
                    answer(state.clone(), caller, request)
                })
            })
            .await;
        };
        let read_only = answer_anybody(read_only, &state, Port::ReadOnly, &shutdown);
        let local = answer_anybody(local, &state, Port::Local, &shutdown);
        tokio::join!(health, secure, read_only, local, shutdown.cancelled());
        Ok(())
    }
}

/// Answers whoever can connect.
async fn answer_anybody<L>(listener: Option<L>, state: &Arc<State>, port: Port, shutdown: &CancellationToken)
where
    L: serve::Listen<Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static>,
{
    let Some(listener) = listener else {
        return;
    };
    serve::accept(listener, shutdown.clone(), |stream| {
        let state = state.clone();
        serve::plain(stream, move |request| {
            let state = state.clone();
            async move { routes::answer(&state, port, request).await }
        })
    })
    .await;
}

/// A socket that only this user can connect to. What is left of an earlier agent's is removed.
fn listen_locally(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    gone(std::fs::remove_file(path))?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn answer<B>(
    state: Arc<State>,
    caller: Option<Arc<Identity>>,
    request: Request<B>,
) -> Response<body::Body> {
    let (method, path) = (request.method(), request.uri().path());
    match state.access.check(caller, request.headers(), method, path).await {
        Ok(()) => routes::answer(&state, Port::Secure, request).await,
        Err(refusal) => refusal,
    }
}

#[cfg(test)]
mod tests;
