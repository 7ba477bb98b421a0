//! Calls of gRPC services that other programs on the node have on their sockets.
use crate::grpc::{FRAME_HEADER, framed};
use bytes::{Buf, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// An answer's message is no longer.
const MESSAGE_MAX: usize = 16 << 20;

/// A connection to one service. It ends with its last clone.
#[derive(Clone)]
pub struct Caller {
    service: &'static str,
    connection: SendRequest<Full<Bytes>>,
}

impl Caller {
    /// Connects to what listens there.
    pub async fn connect(socket: &Path, service: &'static str) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).await;
        let stream = stream.map_err(|error| format!("cannot connect to {}: {error}", socket.display()))?;
        let (connection, work) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            // Calls tell how it ended.
            let _ = work.await;
        });
        Ok(Self { service, connection })
    }

    /// Begins a call.
    pub async fn call(&self, method: &str, message: &impl Message) -> Result<Answers, String> {
        let request = Request::post(format!("http://localhost/{}/{method}", self.service))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(framed(&message.encode_to_vec())))
            .map_err(|error| error.to_string())?;
        let mut connection = self.connection.clone();
        connection.ready().await.map_err(|error| error.to_string())?;
        let answer = connection.send_request(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        refusal(answer.headers())?;
        Ok(Answers {
            body: answer.into_body(),
            read: BytesMut::new(),
        })
    }

    /// A call with one answer, within `patience`.
    pub async fn ask<M: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
        patience: Duration,
    ) -> Result<M, String> {
        let work = async {
            let mut answers = self.call(method, message).await?;
            let answer = answers.next().await?;
            answer.ok_or_else(|| "the answer is empty".to_owned())
        };
        let answer = tokio::time::timeout(patience, work).await;
        answer.map_err(|_| format!("no answer within {} s", patience.as_secs()))?
    }
}

/// What a call is answered with, one message after the other.
pub struct Answers {
    body: Incoming,
    read: BytesMut,
}

impl Answers {
    /// The next message; `None` at the end.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, String> {
        loop {
            if let Some(message) = self.take()? {
                return M::decode(message).map(Some).map_err(|error| error.to_string());
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.read.extend_from_slice(&data),
                    Err(other) => {
                        if let Ok(trailers) = other.into_trailers() {
                            refusal(&trailers)?;
                        }
                    }
                },
            }
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, String> {
        let Some(header) = self.read.get(..FRAME_HEADER) else {
            return Ok(None);
        };
        if header[0] != 0 {
            return Err("the answer is compressed".to_owned());
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > MESSAGE_MAX {
            return Err(format!("an answer of {length} bytes is too long"));
        }
        if self.read.len() < FRAME_HEADER + length {
            return Ok(None);
        }
        self.read.advance(FRAME_HEADER);
        Ok(Some(self.read.split_to(length).freeze()))
    }
}

/// What a service says instead of an answer.
fn refusal(headers: &http::HeaderMap) -> Result<(), String> {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match of("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => Err(format!(
            "rpc error: code = {code} desc = {}",
            of("grpc-message").unwrap_or_default()
        )),
    }
}
