//! One call after the other.

use super::frame::{Frame, REQUEST, RESPONSE};
use crate::proto::ttrpc::{KeyValue, Request, Response};
use prost::Message;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long an answer may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection.
pub struct Client {
    stream: UnixStream,
    /// Clients' calls have odd numbers.
    next: u32,
}

impl Client {
    pub async fn connect(socket: &Path) -> Result<Self> {
        Ok(Self {
            stream: UnixStream::connect(socket).await?,
            next: 1,
        })
    }

    /// Calls a method in a namespace of containerd, and waits for its answer.
    pub async fn call(
        &mut self,
        service: &str,
        method: &str,
        namespace: &str,
        message: &impl Message,
    ) -> Result<()> {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: message.encode_to_vec(),
            timeout_nano: i64::try_from(CALL_TIMEOUT.as_nanos()).unwrap_or_default(),
            metadata: vec![KeyValue {
                key: "containerd-namespace-ttrpc".to_owned(),
                value: namespace.to_owned(),
            }],
        };
        let stream = self.next;
        self.next = self.next.wrapping_add(2);
        let answered = async {
            let frame = Frame {
                stream,
                kind: REQUEST,
                payload: request.encode_to_vec(),
            };
            frame.write(&mut self.stream).await?;
            loop {
                let Some(frame) = Frame::read(&mut self.stream).await? else {
                    return Err(ErrorKind::UnexpectedEof.into());
                };
                if (frame.stream, frame.kind) == (stream, RESPONSE) {
                    return Response::decode(&*frame.payload).map_err(Error::other);
                }
            }
        };
        let response = tokio::time::timeout(CALL_TIMEOUT, answered)
            .await
            .map_err(|_| Error::from(ErrorKind::TimedOut))??;
        match response.status {
            Some(status) if status.code != 0 => Err(Error::other(status.message)),
            _ => Ok(()),
        }
    }
}
