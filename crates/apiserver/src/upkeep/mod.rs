//! What the server keeps in order by itself (contract §21): the Service that leads to it, the rules of aggregated
//! roles, the APIServices of what it serves, the IPAddresses of Services, what ServiceCIDRs and FlowSchemas say of
//! themselves, what Secrets say about the use of their tokens, whom extension servers are told to trust, the Lease that says that
//! the server is there. Each task wakes when the objects it is about change.
mod addresses;
mod aggregated_roles;
mod api_services;
mod authorities;
mod compaction;
mod flow_schemas;
mod identity;
mod kept_tokens;
mod kubernetes;
mod masters;
mod service_cidrs;

pub use addresses::object as address_object;
pub use api_services::built_in as built_in_api_services;
pub use compaction::run as compact;
pub use identity::Identity;
pub use masters::{EndpointReconciler, Masters};
pub use service_cidrs::FINALIZER as SERVICE_CIDR_FINALIZER;

use crate::ApiServer;
use crate::authn::UserInfo;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tower::ServiceExt;

/// Pause before what failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Starts all tasks.
pub fn start(server: &Arc<ApiServer>) {
    let own = || Arc::downgrade(server);
    tokio::spawn(masters::follow(own()));
    tokio::spawn(kept_tokens::follow(own()));
    tokio::spawn(authorities::follow(own()));
    tokio::spawn(identity::follow(own()));
    tokio::spawn(api_services::forget_turned_off(own()));
    tokio::spawn(keep(
        own(),
        "kubernetes-service",
        kubernetes::KINDS,
        kubernetes::restore,
    ));
    tokio::spawn(keep(
        own(),
        "clusterrole-aggregation",
        aggregated_roles::KINDS,
        aggregated_roles::write,
    ));
    tokio::spawn(keep(
        own(),
        "apiservice-registration",
        api_services::KINDS,
        api_services::register,
    ));
    tokio::spawn(keep(
        own(),
        "service-ip-addresses",
        addresses::KINDS,
        addresses::follow,
    ));
    tokio::spawn(keep(
        own(),
        "service-cidrs",
        service_cidrs::KINDS,
        service_cidrs::follow,
    ));
    tokio::spawn(keep(
        own(),
        "priority-and-fairness-config",
        flow_schemas::KINDS,
        flow_schemas::tell,
    ));
}

/// Does `work` now and whenever an object of these kinds (group and plural) changes. It answers whether all is done.
async fn keep<W>(
    server: Weak<ApiServer>,
    name: &'static str,
    kinds: &[(&str, &str)],
    work: impl Fn(Arc<ApiServer>) -> W,
) where
    W: Future<Output = bool>,
{
    let Some((mut changed, shutdown)) = server.upgrade().map(|server| {
        let receivers: Vec<watch::Receiver<u64>> = kinds
            .iter()
            .filter_map(|(group, plural)| server.cache.changes_of(group, plural))
            .collect();
        (receivers, server.shutdown.clone())
    }) else {
        return;
    };
    let queue = match server.upgrade() {
        Some(server) => server.metrics.part.queue(name),
        None => return,
    };
    loop {
        for receiver in &mut changed {
            receiver.borrow_and_update();
        }
        let Some(server) = server.upgrade() else { return };
        queue.added();
        queue.waited(Duration::ZERO);
        let began = Instant::now();
        let done = work(server).await;
        queue.worked(began.elapsed());
        if !done {
            queue.retried();
            tracing::warn!(
                task = name,
                "something could not be put in order; it is tried again"
            );
        }
        let news =
            futures::future::select_all(changed.iter_mut().map(|receiver| Box::pin(receiver.changed())));
        tokio::select! {
            (ended, ..) = news => if ended.is_err() { return },
            () = tokio::time::sleep(RETRY_PAUSE), if !done => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// A request of the server to itself: it takes the same way as everybody's. Bodies of PATCH are merge patches.
pub async fn own_call(server: &Arc<ApiServer>, method: Method, path: &str, body: Value) -> StatusCode {
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = match body {
        Value::Null => Bytes::new(),
        body => Bytes::from(body.to_string()),
    };
    let request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header("content-type", kind)
        .extension(crate::http::OwnRequest)
        .body(Full::new(body));
    let Ok(request) = request else {
        return StatusCode::BAD_REQUEST;
    };
    let service = server
        .in_process(UserInfo::admin("system:apiserver"))
        .named("kube-apiserver");
    let began = Instant::now();
    let code = match service.oneshot(request).await {
        Ok(response) => response.status(),
        Err(never) => match never {},
    };
    let host = server.advertise().to_string();
    let part = &server.metrics.part;
    part.calls
        .called(method.as_str(), &host, code.as_str(), began.elapsed());
    code
}
