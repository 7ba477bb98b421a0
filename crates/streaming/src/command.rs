//! One exec or attach of a WebSocket client, spoken on as SPDY/3.1 towards the runtime.
use crate::channels::{Channel, Said, Subprotocol};
use crate::spdy::{self, Heard, Reader, SpdyError, StreamId, Writer};
use bytes::{Buf, Bytes};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// A client that has been told the end gets this long to hang up.
const FAREWELL_MAX: Duration = Duration::from_secs(5);
/// What a runtime may say about the end.
const STATUS_BYTES_MAX: usize = 64 * 1024;
/// Bytes read from the runtime at once.
const READ_BYTES: usize = 32 * 1024;

/// What a client wants of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Streams {
    /// The channels to open towards a runtime, in the order it is used to. A terminal has one output only.
    fn channels(self) -> impl Iterator<Item = (Channel, &'static str)> {
        [
            (true, Channel::Error, "error"),
            (self.stdin, Channel::Stdin, "stdin"),
            (self.stdout, Channel::Stdout, "stdout"),
            (self.stderr && !self.tty, Channel::Stderr, "stderr"),
            (self.tty, Channel::Resize, "resize"),
        ]
        .into_iter()
        .filter(|(wanted, ..)| *wanted)
        .map(|(_, channel, name)| (channel, name))
    }

    /// The first channel that is written to the client.
    fn first_written(self) -> Channel {
        match (self.stdout, self.stderr && !self.tty) {
            (true, _) => Channel::Stdout,
            (_, true) => Channel::Stderr,
            _ => Channel::Error,
        }
    }
}

/// Carries a conversation until the process or the client has ended.
pub async fn command<C, S>(
    client: WebSocketStream<C>,
    version: Subprotocol,
    backend: S,
    streams: Streams,
) -> Result<(), SpdyError>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(backend);
    let (to_client, from_client) = client.split();
    let mut conversation = Conversation {
        version,
        opened: Vec::new(),
        to_client: Mutex::new(to_client),
        to_backend: Mutex::new(writer),
    };
    conversation.open(streams).await?;
    conversation.carry(streams, from_client, reader).await
}

struct Conversation<C, S> {
    version: Subprotocol,
    opened: Vec<(Channel, StreamId)>,
    to_client: Mutex<SplitSink<WebSocketStream<C>, Message>>,
    to_backend: Mutex<WriteHalf<S>>,
}

impl<C, S> Conversation<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite,
{
    async fn open(&mut self, streams: Streams) -> Result<(), SpdyError> {
        let mut frames = Vec::new();
        let mut writer = Writer::default();
        for (channel, name) in streams.channels() {
            let (id, frame) = writer.open(&[("streamtype", name)]);
            self.opened.push((channel, id));
            frames.extend_from_slice(&frame);
        }
        let mut backend = self.to_backend.lock().await;
        backend.write_all(&frames).await?;
        backend.flush().await?;
        Ok(())
    }

    async fn carry(
        &self,
        streams: Streams,
        mut from_client: SplitStream<WebSocketStream<C>>,
        reader: ReadHalf<S>,
    ) -> Result<(), SpdyError> {
        // Clients wait for a first message before they take the connection as made.
        if self
            .tell(self.version.message(streams.first_written(), b""))
            .await
            .is_err()
        {
            return Ok(());
        }
        let status = tokio::select! {
            () = self.upstream(&mut from_client) => return Ok(()),
            ended = self.downstream(reader) => ended,
        };
        let status = match status {
            Ok(Some(status)) => status,
            // The client has gone.
            Ok(None) => return Ok(()),
            Err(error) => failure(&error.to_string()),
        };
        if let Some(message) = self.version.end(&status) {
            let _ = self.tell(message).await;
        }
        let close = CloseFrame {
            code: CloseCode::Normal,
            reason: Default::default(),
        };
        let _ = self.tell(Message::Close(Some(close))).await;
        // Hanging up on what the client still sends would lose what it has not read yet.
        let drain = async { while let Some(Ok(_)) = from_client.next().await {} };
        let _ = tokio::time::timeout(FAREWELL_MAX, drain).await;
        Ok(())
    }

    async fn tell(&self, message: Message) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.to_client.lock().await.send(message).await
    }

    /// The client's input, until it hangs up. Reading also answers its pings.
    async fn upstream(&self, from_client: &mut SplitStream<WebSocketStream<C>>) {
        while let Some(Ok(message)) = from_client.next().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
            let (channel, bytes, last) = match self.version.read(message) {
                Said::Data(channel, bytes) => (channel, bytes, false),
                Said::Close(channel) => (channel, Bytes::new(), true),
                Said::Nothing => continue,
            };
            let stream = self.opened.iter().find(|(opened, _)| *opened == channel);
            let Some((Channel::Stdin | Channel::Resize, stream)) = stream else {
                continue;
            };
            if let Err(error) = self.send(*stream, bytes, last).await {
                // A process that ended early reads no more; how it ended is still to come.
                tracing::debug!(%error, "input for a container is dropped");
            }
        }
    }

    async fn send(&self, stream: StreamId, mut bytes: Bytes, last: bool) -> std::io::Result<()> {
        if bytes.is_empty() && !last {
            return Ok(());
        }
        let mut backend = self.to_backend.lock().await;
        loop {
            let part = bytes.split_to(bytes.len().min(spdy::DATA_BYTES_MAX));
            let header = spdy::data_header(stream, part.len(), last && !bytes.has_remaining());
            backend.write_all(&header).await?;
            backend.write_all(&part).await?;
            if !bytes.has_remaining() {
                return backend.flush().await;
            }
        }
    }

    /// The process's output, until it has ended; how it ended, or `None` when the client has gone.
    async fn downstream(&self, reader: ReadHalf<S>) -> Result<Option<Bytes>, SpdyError> {
        let mut reader = Reader::new(BufReader::with_capacity(READ_BYTES, reader));
        let mut status = Vec::new();
        let error = self.opened.iter().find(|(channel, _)| *channel == Channel::Error);
        let error = error.map(|(_, id)| *id);
        loop {
            match reader.next().await? {
                Some(Heard::Data(id, bytes, last)) if Some(id) == error => {
                    if status.len() + bytes.len() <= STATUS_BYTES_MAX {
                        status.extend_from_slice(&bytes);
                    }
                    if last {
                        break;
                    }
                }
                Some(Heard::Data(id, bytes, _)) => {
                    let channel = self.opened.iter().find(|(_, opened)| *opened == id);
                    if let Some((channel @ (Channel::Stdout | Channel::Stderr), _)) = channel
                        && !bytes.is_empty()
                        && self.tell(self.version.message(*channel, &bytes)).await.is_err()
                    {
                        return Ok(None);
                    }
                }
                Some(Heard::Reset(id)) if Some(id) == error => break,
                Some(Heard::Ping(id)) => {
                    let mut backend = self.to_backend.lock().await;
                    backend.write_all(&spdy::pong(id)).await?;
                    backend.flush().await?;
                }
                Some(Heard::Reset(_) | Heard::Nothing) => {}
                Some(Heard::GoAway) | None => break,
            }
        }
        if status.is_empty() {
            return Ok(Some(failure(
                "the container runtime ended the connection without saying how it went",
            )));
        }
        Ok(Some(status.into()))
    }
}

/// A Status for what went wrong on the way.
fn failure(message: &str) -> Bytes {
    let status = serde_json::json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {message}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    });
    Bytes::from(status.to_string())
}

#[cfg(test)]
mod tests;
