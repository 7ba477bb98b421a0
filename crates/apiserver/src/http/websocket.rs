//! Watches and logs over WebSocket, for clients in browsers: every event, every piece is a message (contract §8.4).
use super::{Answer, Body, Call};
use crate::authn::WEBSOCKET_BEARER;
use crate::status::ApiError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orlop_streaming::words;
use std::io;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

/// A watcher has nothing to say beyond what keeps the connection alive.
const CLIENT_MESSAGE_BYTES_MAX: usize = 4096;

/// The protocol of those who take messages as they are.
const BINARY: &str = "binary.k8s.io";
/// The protocol of those whose messages are to be text whatever they carry.
const BASE64: &str = "base64.binary.k8s.io";

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Events, a line each.
    Lines,
    /// Events in binary form.
    Frames,
    /// Pieces of a log.
    Log,
}

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A line without its end.
    Line,
    Binary,
    Base64,
}

impl Carries {
    fn form(self, protocol: Option<&str>) -> Form {
        match (self, protocol) {
            (Self::Lines, _) => Form::Line,
            (Self::Log, Some(BASE64)) => Form::Base64,
            (Self::Frames | Self::Log, _) => Form::Binary,
        }
    }
}

/// Whether a request asks to switch to WebSocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    words(headers, CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"))
        && words(headers, UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket"))
}

/// The protocols the client offers.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    words(headers, SEC_WEBSOCKET_PROTOCOL)
}

/// The protocol that is spoken of those a client offers, if it offers any.
///
/// # Errors
/// None of them is one in which a log is sent.
fn chosen<'h>(carries: Carries, offered: impl Iterator<Item = &'h str>) -> Result<Option<&'h str>, ApiError> {
    let mut offered = offered.filter(|p| !p.starts_with(WEBSOCKET_BEARER)).peekable();
    match (carries, offered.peek()) {
        (Carries::Log, Some(_)) => {
            let known = offered.find(|protocol| [BINARY, BASE64].contains(protocol));
            known.map(Some).ok_or_else(ApiError::no_such_protocol)
        }
        (_, first) => Ok(first.copied()),
    }
}

/// Switches protocols and sends the events until they end or the client leaves.
pub fn serve(
    call: &Call,
    carries: Carries,
    events: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Result<Answer, ApiError> {
    let key = call
        .headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| ApiError::bad_request("unable to upgrade: no Sec-WebSocket-Key in the request"))?;
    let protocol = chosen(carries, protocols(&call.headers))?;
    let upgrade =
        call.upgrade.lock().take().ok_or_else(|| {
            ApiError::bad_request("unable to upgrade: this connection cannot switch protocols")
        })?;
    let form = carries.form(protocol);
    let answer = switching(key, protocol);
    tokio::spawn(async move {
        if let Err(error) = send(upgrade, form, events).await {
            tracing::debug!(%error, "a watch over WebSocket ended");
        }
    });
    Ok(Answer::Raw(answer))
}

fn switching(key: &HeaderValue, protocol: Option<&str>) -> Response<Body> {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(Ok(protocol)) = protocol.map(HeaderValue::from_str) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    answer
}

async fn send(
    upgrade: OnUpgrade,
    form: Form,
    events: impl Stream<Item = io::Result<Bytes>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(CLIENT_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(CLIENT_MESSAGE_BYTES_MAX));
    let connection = TokioIo::new(upgrade.await?);
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    let (mut sink, mut source) = socket.split();
    let mut events = std::pin::pin!(events);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => sink.send(message(event?, form)?).await?,
                None => return Ok(sink.close().await?),
            },
            said = source.next() => match said {
                // Pings are answered below this.
                Some(Ok(message)) if !message.is_close() => {}
                Some(Err(error)) if !matches!(error, Error::ConnectionClosed) => return Err(error.into()),
                _ => return Ok(()),
            },
        }
    }
}

fn message(event: Bytes, form: Form) -> Result<Message, std::str::Utf8Error> {
    match form {
        Form::Line => {}
        Form::Binary => return Ok(Message::Binary(event)),
        Form::Base64 => return Ok(Message::text(STANDARD.encode(&event))),
    }
    let line = event.slice(..event.len() - usize::from(event.ends_with(b"\n")));
    Ok(Message::Text(Utf8Bytes::try_from(line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_sent_in_protocols_that_are_known_only() {
        let of = |carries, offered: &[&'static str]| {
            chosen(carries, offered.iter().copied()).map_err(|error| error.code)
        };
        let bearer = "base64url.bearer.authorization.k8s.io.YWJj";
        assert_eq!(of(Carries::Log, &[bearer]), Ok(None));
        assert_eq!(
            of(Carries::Log, &["v9", bearer, BASE64, BINARY]),
            Ok(Some(BASE64))
        );
        assert_eq!(of(Carries::Log, &["v9"]), Err(403));
        assert_eq!(of(Carries::Lines, &[bearer, "v9"]), Ok(Some("v9")));
    }

    #[test]
    fn an_event_is_one_message_without_the_end_of_its_line() {
        let line = Bytes::from_static(b"{\"type\":\"ADDED\"}\n");
        assert_eq!(
            message(line, Form::Line).unwrap(),
            Message::text("{\"type\":\"ADDED\"}")
        );
        let piece = Bytes::from_static(&[0, 0xff]);
        let binary = Message::binary(vec![0, 0xff]);
        for (carries, protocol, expected) in [
            (Carries::Log, None, &binary),
            (Carries::Log, Some("binary.k8s.io"), &binary),
            (Carries::Log, Some("base64.binary.k8s.io"), &Message::text("AP8=")),
            (Carries::Frames, Some("base64.binary.k8s.io"), &binary),
        ] {
            let sent = message(piece.clone(), carries.form(protocol)).unwrap();
            assert_eq!(sent, *expected, "{carries:?} {protocol:?}");
        }
        let form = Carries::Lines.form(Some("base64.binary.k8s.io"));
        assert_eq!(form, Form::Line, "events are text as they are");
    }

    #[test]
    fn the_answer_names_the_first_protocol_that_is_no_token() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let mut headers = HeaderMap::new();
        let offered = format!("{WEBSOCKET_BEARER}c2VjcmV0, base64.binary.k8s.io");
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offered.parse().unwrap());
        let answer = switching(
            &key,
            protocols(&headers).find(|p| !p.starts_with(WEBSOCKET_BEARER)),
        );
        assert_eq!(answer.headers()[SEC_WEBSOCKET_PROTOCOL], "base64.binary.k8s.io");
        assert_eq!(
            answer.headers()[SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
