//! Passes a request on, with who is calling in headers that the other server takes this server's word for.
use super::locate::locate;
use super::{Aggregation, Remote};
use crate::authn::UserInfo;
use crate::http::{Body, Passed, Upload, switch};
use crate::outbound::OutboundError;
use crate::request::escape;
use crate::status::ApiError;
use bytes::Bytes;
use futures::StreamExt;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, BodyStream, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A server that does not take a connection in this time is reported as unreachable.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of a document that are read: no server has the memory of this one.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Answers a request by asking the server behind an APIService.
pub async fn forward(
    aggregation: &Aggregation,
    remote: &Remote,
    user: &UserInfo,
    parts: &Parts,
    upgrade: Option<OnUpgrade>,
    body: Passed,
    shutdown: &CancellationToken,
) -> Result<Response<Body>, ApiError> {
    if !remote.available {
        return Err(ApiError::service_unavailable("service unavailable"));
    }
    let unreachable = |error: &dyn std::fmt::Display| {
        ApiError::service_unavailable(&format!("error trying to reach service: {error}"))
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(&parts.method).uri(path);
    if let Some(headers) = request.headers_mut() {
        *headers = passed_on(&parts.headers, &aggregation.naming);
        tell(headers, user);
        if upgrade.is_some() {
            switch::carry(&parts.headers, headers);
        }
    }
    let request = request.body(body).map_err(|error| unreachable(&error))?;
    let mut response = send(aggregation, remote, request)
        .await
        .map_err(|error| unreachable(&error))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = upgrade
    {
        switch::join(client, hyper::upgrade::on(&mut response), shutdown.clone());
        let (parts, _) = response.into_parts();
        return Ok(Response::from_parts(parts, Body::Empty));
    }
    let (mut parts, body) = response.into_parts();
    for hop in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        parts.headers.remove(hop);
    }
    let frames = BodyStream::new(body).filter_map(|frame| async move {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(std::io::Error::other(error))),
        }
    });
    Ok(Response::from_parts(parts, Body::from_stream(frames)))
}

/// Asks the server behind an APIService; its answer is still to be read.
pub(super) async fn send(
    aggregation: &Aggregation,
    remote: &Remote,
    mut request: Request<Passed>,
) -> Result<Response<Incoming>, OutboundError> {
    let failed = |error: &dyn std::fmt::Display| OutboundError::Failed(error.to_string().into());
    let places = locate(&aggregation.cache, remote).map_err(|nowhere| failed(&nowhere.message))?;
    let outbound = remote.outbound(aggregation.identity.as_ref())?;
    let name = remote.host();
    let value = HeaderValue::from_str(&name).map_err(|error| failed(&error))?;
    request.headers_mut().insert(HOST, value);
    let connect = async {
        let stream = outbound.connect_to_any(places, &name).await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        handshake.map_err(|error| failed(&error))
    };
    let connected = tokio::time::timeout(CONNECT_TIME_MAX, connect).await;
    let (mut sender, connection) = connected.map_err(|_| OutboundError::Late(CONNECT_TIME_MAX))??;
    // Ends with the response body.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(|error| failed(&error))
}

/// The headers that are the other server's business: none that prove something to this one, or are between neighbours.
/// `naming`: headers, or beginnings of such, that would name the caller.
fn passed_on(headers: &HeaderMap, naming: &[String]) -> HeaderMap {
    let own = |name: &HeaderName| {
        let text = name.as_str();
        [AUTHORIZATION, CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE].contains(name)
            || text == "content-length"
            || text.starts_with("impersonate-")
            || text.starts_with("x-remote-")
            || naming.iter().any(|name| text.starts_with(name.as_str()))
    };
    let mut passed = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !own(name)) {
        passed.append(name, value.clone());
    }
    switch::forget_token(&mut passed);
    passed
}

/// Tells who is calling.
fn tell(headers: &mut HeaderMap, user: &UserInfo) {
    let mut add = |name: &str, value: &str| {
        // Names needn't be ASCII.
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        for value in values {
            add(&format!("x-remote-extra-{}", escape(key)), value);
        }
    }
}

/// Reads an answer to its end.
async fn collect(response: Response<Incoming>) -> Result<(StatusCode, Bytes), String> {
    let code = response.status();
    let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX)
        .collect()
        .await;
    Ok((code, body.map_err(|error| error.to_string())?.to_bytes()))
}

/// Reads a document of the server behind an APIService, as this server itself.
///
/// # Errors
/// Why it cannot be read.
pub(super) async fn read(
    aggregation: &Aggregation,
    remote: &Remote,
    path: &str,
) -> Result<(StatusCode, Bytes), String> {
    let mut request = Request::get(path)
        .header(ACCEPT, "application/json")
        .body(Upload::Nothing.pass_on())
        .map_err(|error| error.to_string())?;
    tell(request.headers_mut(), &UserInfo::admin("system:kube-aggregator"));
    let response = send(aggregation, remote, request)
        .await
        .map_err(|e| e.to_string())?;
    collect(response).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proves_something_here_is_not_passed_on_and_callers_cannot_name_themselves() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
            ("impersonate-user", "admin"),
            ("accept", "application/json"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.insert("x-forwarded-user", HeaderValue::from_static("admin"));
        let mut passed = passed_on(&headers, &["x-forwarded-user".to_owned()]);
        let mut user = UserInfo::new("alice", ["devs"]);
        user.extra
            .insert("example.org/scope".to_owned(), vec!["a".to_owned()]);
        tell(&mut passed, &user);
        for gone in ["authorization", "impersonate-user", "x-forwarded-user"] {
            assert!(!passed.contains_key(gone), "{gone}");
        }
        assert_eq!(passed["accept"], "application/json");
        let of = |name: &str| {
            passed
                .get_all(name)
                .iter()
                .map(|v| v.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("x-remote-user"), ["alice"]);
        assert_eq!(of("x-remote-group"), ["devs", "system:authenticated"]);
        assert_eq!(of("x-remote-extra-example.org%2fscope"), ["a"]);
    }
}
