//! One client and one server behind us, until one of them ends.
use crate::command::command;
use crate::forward::forward;
use crate::spdy::SpdyError;
use crate::tunnel::tunnel;
use crate::{Backend, Client, Streams};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Why a relay ended that neither side has ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("the client did not switch protocols: {0}")]
    Upgrade(#[from] hyper::Error),
    #[error(transparent)]
    Spdy(#[from] SpdyError),
}

/// Waits for the client's side of the upgrade, then carries the conversation to its end.
pub async fn relay(
    upgrade: OnUpgrade,
    client: Client,
    mut backend: Backend,
    streams: Streams,
) -> Result<(), RelayError> {
    let mut io = TokioIo::new(upgrade.await?);
    match client {
        Client::Spdy(_) => {
            // Broken by either side: the conversation has ended.
            let _ = tokio::io::copy_bidirectional(&mut io, &mut backend.io).await;
        }
        Client::Channels(version, _) => {
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            command(socket, version, backend.io, streams).await?;
        }
        Client::Tunnel(_) => {
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            tunnel(socket, backend.io).await;
        }
        Client::Ports { ports, .. } => {
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            forward(socket, &ports, backend.io).await?;
        }
    }
    Ok(())
}
