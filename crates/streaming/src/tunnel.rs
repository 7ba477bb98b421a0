//! Port-forward over WebSocket: binary messages carry the bytes of a SPDY connection.
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Bytes of one message at most.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// Copies both ways until one side ends.
pub async fn tunnel<C, S>(client: WebSocketStream<C>, backend: S)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite,
{
    let (mut to_client, mut from_client) = client.split();
    let (mut from_backend, mut to_backend) = tokio::io::split(backend);
    let upstream = async {
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) if to_backend.write_all(&bytes).await.is_err() => return,
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    let downstream = async {
        loop {
            let mut bytes = BytesMut::with_capacity(MESSAGE_BYTES_MAX);
            match from_backend.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => break,
                Ok(_) if to_client.send(Message::Binary(bytes.freeze())).await.is_err() => return,
                Ok(_) => {}
            }
        }
        // A client that has gone needs no farewell.
        let _ = to_client.send(Message::Close(None)).await;
    };
    tokio::select! {
        () = upstream => {}
        () = downstream => {}
    }
    let _ = to_backend.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[tokio::test]
    async fn o17_bytes_pass_both_ways_and_the_end_closes() {
        let (here, there) = tokio::io::duplex(64);
        let (backend, mut runtime) = tokio::io::duplex(64);
        let server = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
        let task = tokio::spawn(tunnel(server, backend));
        let mut client = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        client.send(Message::Binary("to".into())).await.unwrap();
        let mut read = [0; 2];
        runtime.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"to");
        runtime.write_all(b"fro").await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Binary("fro".into())
        );
        drop(runtime);
        assert!(matches!(client.next().await.unwrap().unwrap(), Message::Close(_)));
        task.await.unwrap();
    }
}
