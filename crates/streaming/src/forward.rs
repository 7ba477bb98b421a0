//! Port-forward of the oldest WebSocket clients, spoken on as SPDY/3.1: two channels a port, data and error, whose first
//! message is the port's number (contract, API server §14).
use crate::spdy::{self, Heard, Reader, SpdyError, StreamId, Writer};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, WriteHalf};
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Bytes read from the runtime at once.
const READ_BYTES: usize = 32 * 1024;
/// Channels are numbered by one byte, two for each port.
const PORTS_MAX: usize = 128;

/// What a stream towards the runtime is to the client. Pure.
struct Streams(Vec<StreamId>);

impl Streams {
    /// Opens an error and a data stream for each port, in that order, as runtimes are used to; the frames that do it.
    fn open(ports: &[u16]) -> (Self, Vec<u8>) {
        let (mut writer, mut frames, mut ids) = (Writer::default(), Vec::new(), Vec::new());
        for (request, port) in ports.iter().enumerate() {
            let (port, request) = (port.to_string(), request.to_string());
            let mut open = |name| {
                let headers = [("streamtype", name), ("port", &*port), ("requestid", &*request)];
                let (id, frame) = writer.open(&headers);
                frames.extend_from_slice(&frame);
                id
            };
            let (error, data) = (open("error"), open("data"));
            ids.extend([data, error]);
        }
        (Self(ids), frames)
    }

    /// The channel of a stream: 2i is the data of port i, 2i+1 its error.
    fn channel(&self, stream: StreamId) -> Option<u8> {
        let at = self.0.iter().position(|id| *id == stream)?;
        u8::try_from(at).ok()
    }

    /// The stream that a client's message on a channel goes to; it writes data only.
    fn written(&self, channel: u8) -> Option<StreamId> {
        channel
            .is_multiple_of(2)
            .then(|| self.0.get(usize::from(channel)).copied())
            .flatten()
    }
}

fn message(channel: u8, payload: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(1 + payload.len());
    bytes.put_u8(channel);
    bytes.put_slice(payload);
    Message::Binary(bytes.freeze())
}

async fn send<S: AsyncWrite>(
    backend: &Mutex<WriteHalf<S>>,
    stream: StreamId,
    mut bytes: Bytes,
) -> std::io::Result<()> {
    let mut backend = backend.lock().await;
    while !bytes.is_empty() {
        let part = bytes.split_to(bytes.len().min(spdy::DATA_BYTES_MAX));
        backend
            .write_all(&spdy::data_header(stream, part.len(), false))
            .await?;
        backend.write_all(&part).await?;
    }
    backend.flush().await
}

/// Carries bytes both ways until the client hangs up or every port's connection has ended.
pub async fn forward<C, S>(client: WebSocketStream<C>, ports: &[u16], backend: S) -> Result<(), SpdyError>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite,
{
    let ports = &ports[..ports.len().min(PORTS_MAX)];
    let (reader, writer) = tokio::io::split(backend);
    let writer = Mutex::new(writer);
    let (mut to_client, mut from_client) = client.split();
    let (streams, frames) = Streams::open(ports);
    {
        let mut writer = writer.lock().await;
        writer.write_all(&frames).await?;
        writer.flush().await?;
    }
    for (channel, port) in ports.iter().flat_map(|port| [port, port]).enumerate() {
        let first = message(channel as u8, &port.to_le_bytes());
        if to_client.send(first).await.is_err() {
            return Ok(());
        }
    }
    let upstream = async {
        while let Some(Ok(message)) = from_client.next().await {
            let mut bytes = match message {
                Message::Binary(bytes) if !bytes.is_empty() => bytes,
                Message::Close(_) => break,
                _ => continue,
            };
            let channel = bytes.split_to(1)[0];
            if let Some(stream) = streams.written(channel)
                && send(&writer, stream, bytes).await.is_err()
            {
                break;
            }
        }
    };
    let downstream = async {
        let mut reader = Reader::new(BufReader::with_capacity(READ_BYTES, reader));
        // What goes wrong may be told after a port's data has ended: its connection ends with both.
        let mut ended = vec![false; 2 * ports.len()];
        while ended.contains(&false) {
            let (stream, bytes, last) = match reader.next().await? {
                Some(Heard::Data(stream, bytes, last)) => (stream, bytes, last),
                Some(Heard::Reset(stream)) => (stream, Bytes::new(), true),
                Some(Heard::Ping(id)) => {
                    let mut writer = writer.lock().await;
                    writer.write_all(&spdy::pong(id)).await?;
                    writer.flush().await?;
                    continue;
                }
                Some(Heard::Nothing) => continue,
                Some(Heard::GoAway) | None => break,
            };
            let Some(channel) = streams.channel(stream) else {
                continue;
            };
            if !bytes.is_empty() && to_client.send(message(channel, &bytes)).await.is_err() {
                return Ok(());
            }
            if last && let Some(ended) = ended.get_mut(usize::from(channel)) {
                *ended = true;
            }
        }
        let _ = to_client.send(Message::Close(None)).await;
        Ok::<(), SpdyError>(())
    };
    tokio::select! {
        () = upstream => Ok(()),
        ended = downstream => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio_tungstenite::tungstenite::protocol::Role;

    fn binary(bytes: &[u8]) -> Message {
        Message::Binary(Bytes::copy_from_slice(bytes))
    }

    #[tokio::test]
    async fn channels_2i_are_data_and_2i_plus_1_errors_each_starting_with_the_port() {
        let (here, there) = tokio::io::duplex(4096);
        let (backend, mut runtime) = tokio::io::duplex(4096);
        let server = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
        let ports = [80, 443];
        let (streams, frames) = Streams::open(&ports);
        let task = tokio::spawn(async move { forward(server, &ports, backend).await });
        let mut client = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        for expected in [[0, 80, 0], [1, 80, 0], [2, 187, 1], [3, 187, 1]] {
            assert_eq!(client.next().await.unwrap().unwrap(), binary(&expected));
        }
        let mut opened = vec![0; frames.len()];
        runtime.read_exact(&mut opened).await.unwrap();
        assert_eq!(opened, frames);

        // Port 443's data goes to its stream; what is written to an error channel goes nowhere.
        client.send(binary(b"\x03no")).await.unwrap();
        client.send(binary(b"\x02hi")).await.unwrap();
        let data = streams.written(2).unwrap();
        let mut heard = [0; 10];
        runtime.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard[..8], spdy::data_header(data, 2, false));
        assert_eq!(&heard[8..], b"hi");

        let error = streams.0[1];
        // The first port's data ends before its error is told, as containerd does it when nobody listens.
        for (stream, text, last) in [
            (data, "yo", true),
            (streams.0[3], "", true),
            (streams.0[0], "", true),
            (error, "bad", true),
        ] {
            let header = spdy::data_header(stream, text.len(), last);
            runtime.write_all(&header).await.unwrap();
            runtime.write_all(text.as_bytes()).await.unwrap();
        }
        assert_eq!(client.next().await.unwrap().unwrap(), binary(b"\x02yo"));
        assert_eq!(client.next().await.unwrap().unwrap(), binary(b"\x01bad"));
        assert!(matches!(client.next().await.unwrap().unwrap(), Message::Close(_)));
        task.await.unwrap().unwrap();
    }
}
