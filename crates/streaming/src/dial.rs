//! Asking the next server to switch to SPDY/3.1.
use crate::upgrade::{SPDY, STREAM_PROTOCOL};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, UPGRADE};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of a refusal that are passed on.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// A server that neither switches nor refuses in this time is not waited for: nobody else ends the wait.
const SWITCH_TIME_MAX: Duration = Duration::from_secs(60);

/// A connection that speaks SPDY/3.1.
#[derive(Debug)]
pub struct Backend {
    pub io: TokioIo<Upgraded>,
    /// The version of its streams that the server chose.
    pub agreed: Option<HeaderValue>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("error sending request: {0}")]
    Http(#[from] hyper::Error),
    #[error("the address {0:?} makes no request")]
    Address(String),
    #[error("error sending request: nothing came within {SWITCH_TIME_MAX:?}")]
    Silent,
    #[error("unable to upgrade connection: {text}")]
    Refused { status: StatusCode, text: String },
}

/// Asks for `path` over a fresh connection to `host`.
pub async fn dial<S>(
    stream: S,
    host: &str,
    path: &str,
    versions: &[HeaderValue],
) -> Result<Backend, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asking = ask(stream, host, path, versions);
    let asked = tokio::time::timeout(SWITCH_TIME_MAX, asking).await;
    asked.unwrap_or(Err(DialError::Silent))
}

async fn ask<S>(stream: S, host: &str, path: &str, versions: &[HeaderValue]) -> Result<Backend, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the upgrade, or with the refusal's body.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection for streams ended");
        }
    });
    let mut request = Request::post(path)
        .header(HOST, host)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, SPDY)
        .header(CONTENT_LENGTH, 0);
    for version in versions {
        request = request.header(STREAM_PROTOCOL, version);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| DialError::Address(format!("{host}{path}")))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let text = match Limited::new(response.into_body(), REFUSAL_BYTES_MAX)
            .collect()
            .await
        {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(),
            Err(error) => format!("the answer could not be read: {error}"),
        };
        return Err(DialError::Refused { status, text });
    }
    let agreed = response.headers().get(STREAM_PROTOCOL).cloned();
    let io = TokioIo::new(hyper::upgrade::on(response).await?);
    Ok(Backend { io, agreed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
        let (stream, _silent) = tokio::io::duplex(1024);
        let error = dial(stream, "node", "/exec", &[]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "error sending request: nothing came within 60s"
        );
    }
}
