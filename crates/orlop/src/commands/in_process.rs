//! Clients of an API server of this process.
use orlop_apiserver::{ApiServer, UserInfo};
use orlop_client::{Measure, in_process};
use orlop_metrics::CallMetrics;
use std::net::SocketAddr;
use std::sync::Arc;
use tower::Layer;

/// A client that is a user and has a program's name, by which it owns the fields it writes. Its calls are counted as those
/// to `host`.
pub fn client(
    server: &Arc<ApiServer>,
    user: UserInfo,
    program: &'static str,
    calls: &CallMetrics,
    host: SocketAddr,
) -> kube::Client {
    let measure = Measure::new(calls.clone(), &host.to_string());
    in_process(measure.layer(server.in_process(user).named(program)))
}
