//! A client that is another one with each request.

use http::Request;
use kube::client::Body;

use crate::in_process;

/// A client whose requests each go through the one that `choose` names. Must be called within a tokio runtime.
pub fn routed(choose: impl Fn(&Request<Body>) -> kube::Client + Send + 'static) -> kube::Client {
    in_process(tower::service_fn(move |request: Request<Body>| {
        let client = choose(&request);
        async move { client.send(request).await }
    }))
}
