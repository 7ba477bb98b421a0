//! One client and one server behind us, until one of them ends.
use crate::command::command;
use crate::forward::forward;
use crate::idle::Noticed;
use crate::spdy::SpdyError;
use crate::tunnel::tunnel;
use crate::{Backend, Client, Streams};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Why a relay ended that neither side has ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("the client did not switch protocols: {0}")]
    Upgrade(#[from] hyper::Error),
    #[error(transparent)]
    Spdy(#[from] SpdyError),
    #[error("nothing was said for {0:?} (streamingConnectionIdleTimeout)")]
    Idle(Duration),
}

/// Waits for the client's side of the upgrade, then carries the conversation to its end, or until the server behind us has
/// neither said nor heard anything for `idle_limit`.
pub async fn relay(
    upgrade: OnUpgrade,
    client: Client,
    backend: Backend,
    streams: Streams,
    idle_limit: Option<Duration>,
) -> Result<(), RelayError> {
    let (backend, activity) = Noticed::new(backend.io);
    let conversation = carry(upgrade, client, backend, streams);
    match idle_limit {
        None => conversation.await,
        Some(limit) => tokio::select! {
            outcome = conversation => outcome,
            () = activity.silence(limit) => Err(RelayError::Idle(limit)),
        },
    }
}

async fn carry<S>(
    upgrade: OnUpgrade,
    client: Client,
    mut backend: S,
    streams: Streams,
) -> Result<(), RelayError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut io = TokioIo::new(upgrade.await?);
    match client {
        Client::Spdy(_) => {
            // Broken by either side: the conversation has ended.
            let _ = tokio::io::copy_bidirectional(&mut io, &mut backend).await;
        }
        Client::Channels(version, _) => {
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            command(socket, version, backend, streams).await?;
        }
        Client::Tunnel(_) => {
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            tunnel(socket, backend).await;
        }
        Client::Ports { ports, .. } => {
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            forward(socket, &ports, backend).await?;
        }
    }
    Ok(())
}
