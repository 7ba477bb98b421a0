use super::MESSAGE_SIZE_MAX;
use crate::{ConnectError, CriError, Endpoint, v1};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::Channel;
use tower::service_fn;
use v1::runtime_service_client::RuntimeServiceClient;

/// The CRI version every v1 runtime answers.
const CRI_VERSION: &str = "0.1.0";
/// One `Version` call of the handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(2);
/// Between two tries. A runtime that starts has its socket before it serves; nothing tells when.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// A connection that is opened by the first call and again after it broke.
fn channel(endpoint: &Endpoint) -> Channel {
    let socket = endpoint.socket().to_owned();
    // The URI is never resolved: the connector knows the socket. It only becomes the `:authority` of the calls.
    tonic::transport::Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(
        move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        },
    ))
}

pub(super) fn runtime_client(channel: Channel) -> RuntimeServiceClient<Channel> {
    RuntimeServiceClient::new(channel).max_decoding_message_size(MESSAGE_SIZE_MAX)
}

/// Opens the connection and asks for the version, again and again until `patience` is over.
pub(super) async fn handshake(
    endpoint: &Endpoint,
    patience: Duration,
) -> Result<(Channel, v1::VersionResponse), ConnectError> {
    let give_up = tokio::time::Instant::now() + patience;
    loop {
        match attempt(endpoint).await {
            Ok(done) => return Ok(done),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) if tokio::time::Instant::now() + RETRY_DELAY >= give_up => {
                return Err(error);
            }
            Err(_) => tokio::time::sleep(RETRY_DELAY).await,
        }
    }
}

/// A connection to whatever listens there, when something does.
pub(super) async fn listening(endpoint: &Endpoint, patience: Duration) -> Result<Channel, ConnectError> {
    let give_up = tokio::time::Instant::now() + patience;
    loop {
        match reach(endpoint).await {
            Ok(()) => return Ok(channel(endpoint)),
            Err(error) if tokio::time::Instant::now() + RETRY_DELAY >= give_up => return Err(error),
            Err(_) => tokio::time::sleep(RETRY_DELAY).await,
        }
    }
}

/// Asked for beforehand, because the gRPC layer hides why a connection failed.
async fn reach(endpoint: &Endpoint) -> Result<(), ConnectError> {
    let connected = UnixStream::connect(endpoint.socket()).await.map(drop);
    connected.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ConnectError::SocketMissing {
            endpoint: endpoint.clone(),
        },
        std::io::ErrorKind::ConnectionRefused => ConnectError::Unreachable {
            endpoint: endpoint.clone(),
            reason: "nothing listens on the socket any more; is containerd running?".to_owned(),
        },
        _ => ConnectError::Unreachable {
            endpoint: endpoint.clone(),
            reason: error.to_string(),
        },
    })
}

async fn attempt(endpoint: &Endpoint) -> Result<(Channel, v1::VersionResponse), ConnectError> {
    reach(endpoint).await?;
    let channel = channel(endpoint);
    let mut client = runtime_client(channel.clone());
    let answer = super::deadlines::call(
        "Version",
        Some(HANDSHAKE_DEADLINE),
        v1::VersionRequest {
            version: CRI_VERSION.to_owned(),
        },
        async |request| client.version(request).await,
    )
    .await
    .map_err(|error| refused(endpoint, error))?;
    if answer.version != CRI_VERSION {
        return Err(ConnectError::Version {
            endpoint: endpoint.clone(),
            version: answer.version,
        });
    }
    Ok((channel, answer))
}

fn refused(endpoint: &Endpoint, error: CriError) -> ConnectError {
    if error.is_unavailable() || error.is_deadline_exceeded() {
        ConnectError::Unreachable {
            endpoint: endpoint.clone(),
            reason: error.message,
        }
    } else {
        ConnectError::NotCri {
            endpoint: endpoint.clone(),
            error,
        }
    }
}

/// Waiting doesn't help.
fn is_final(error: &ConnectError) -> bool {
    match error {
        ConnectError::Endpoint { .. } | ConnectError::Version { .. } => true,
        // The CRI plugin may still be starting; when it answers Unimplemented it is disabled.
        ConnectError::NotCri { error, .. } => error.is_unimplemented(),
        ConnectError::SocketMissing { .. } | ConnectError::Unreachable { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn missing_socket_is_a_clear_error() {
        let endpoint = Endpoint::of_socket("/nowhere/containerd.sock");
        let error = handshake(&endpoint, Duration::ZERO).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(
                "runtime socket /nowhere/containerd.sock does not exist: is containerd running?"
            ),
            "{text}"
        );
    }

    #[tokio::test]
    async fn socket_without_listener_is_told_from_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let error = handshake(&Endpoint::of_socket(&socket), Duration::ZERO)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("nothing listens"), "{error}");
    }
}
