//! A server for tests of whole syncs.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;

/// What was asked of the server: method, path and body.
pub type Asked = Arc<Mutex<Vec<(Method, String, Value)>>>;

/// A client of a server that answers as `answer` says. Events are not noted.
pub fn server(
    answer: impl Fn(&Method, &str, Value) -> (u16, Value) + Send + Sync + 'static,
) -> (kube::Client, Asked) {
    let (asked, answer) = (Asked::default(), Arc::new(answer));
    let notes = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (notes, answer) = (notes.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let path = head.uri.path().to_owned();
            let (code, object) = answer(&head.method, &path, body.clone());
            if !path.contains("/events") {
                notes.lock().unwrap().push((head.method, path, body));
            }
            let mut response = Response::new(Body::from(object.to_string().into_bytes()));
            *response.status_mut() = code.try_into().unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    (orlop_client::in_process(service), asked)
}
