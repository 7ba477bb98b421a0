//! Connections that leave HTTP on their way through this server to another.
use crate::authn::WEBSOCKET_BEARER;
use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

/// Carries bytes between two connections until both have ended, or the server does.
pub fn join(client: OnUpgrade, other: OnUpgrade, shutdown: CancellationToken) {
    let carried = async move {
        let (Ok(client), Ok(other)) = tokio::join!(client, other) else {
            return;
        };
        let (mut client, mut other) = (TokioIo::new(client), TokioIo::new(other));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut other).await {
            tracing::debug!(%error, "a connection that switched protocols ended");
        }
    };
    tokio::spawn(async move { shutdown.run_until_cancelled(carried).await });
}

/// Says in `to` that the connection switches to the protocol that `from` asks for, or has been granted.
pub fn carry(from: &HeaderMap, to: &mut HeaderMap) {
    if let Some(protocol) = from.get(UPGRADE) {
        to.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        to.insert(UPGRADE, protocol.clone());
    }
}

/// Takes a token out of the protocols of a WebSocket: it was for this server alone.
pub fn forget_token(headers: &mut HeaderMap) {
    let values: Vec<HeaderValue> = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    for value in values {
        let protocols = value.to_str().unwrap_or_default().split(',').map(str::trim);
        let others: Vec<&str> = protocols
            .filter(|protocol| !protocol.is_empty() && !protocol.starts_with(WEBSOCKET_BEARER))
            .collect();
        if let (false, Ok(value)) = (others.is_empty(), HeaderValue::from_str(&others.join(", "))) {
            headers.append(SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_among_protocols_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        let protocols = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj,plain";
        headers.append(SEC_WEBSOCKET_PROTOCOL, protocols.parse().unwrap());
        headers.append(
            SEC_WEBSOCKET_PROTOCOL,
            "base64url.bearer.authorization.k8s.io.YWJj".parse().unwrap(),
        );
        forget_token(&mut headers);
        let left: Vec<&HeaderValue> = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().collect();
        assert_eq!(left, ["v4.channel.k8s.io, plain"]);
    }
}
