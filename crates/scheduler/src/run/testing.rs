//! A scheduler for this module's tests.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use orlop_metrics::PartMetrics;
use serde_json::json;

use super::Scheduler;
use crate::extender::Extenders;
use crate::profile::Options;

/// One that has seen nothing, of a server that has nothing.
pub(super) async fn scheduler() -> Scheduler {
    let service = tower::service_fn(|_: Request<Body>| async {
        let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        let mut response = Response::new(Body::from(status.to_string().into_bytes()));
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok::<_, Infallible>(response)
    });
    let options = Options::default();
    let extenders = Extenders::connect(&options.extenders).await.unwrap();
    let client = orlop_client::in_process(service);
    Scheduler::new(&client, &options, extenders, &PartMetrics::new(""))
}
