//! Messages of exec and attach over WebSocket (contract, API server §14). Pure.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

/// What a channel carries; the number is the first byte of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// How it ended.
    Error = 3,
    /// The size of the client's terminal.
    Resize = 4,
}

impl Channel {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Error,
            4 => Self::Resize,
            _ => return None,
        })
    }
}

/// A version of the channel protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subprotocol {
    /// As in `Sec-WebSocket-Protocol`; empty when the client named none.
    pub name: &'static str,
    base64: bool,
    /// The end is told as a Status object rather than as an error's text.
    status: bool,
    /// Clients can close a channel.
    close: bool,
}

/// First byte of a v5 message that closes the channel named by the second.
const CLOSE: u8 = 255;

const fn version(name: &'static str, base64: bool, status: bool, close: bool) -> Subprotocol {
    Subprotocol {
        name,
        base64,
        status,
        close,
    }
}

const VERSIONS: &[Subprotocol] = &[
    version("v5.channel.k8s.io", false, true, true),
    version("v4.channel.k8s.io", false, true, false),
    version("v4.base64.channel.k8s.io", true, true, false),
    version("channel.k8s.io", false, false, false),
    version("base64.channel.k8s.io", true, false, false),
    version("", false, false, false),
];

/// What a client's message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Data(Channel, Bytes),
    Close(Channel),
    /// Nothing that concerns us: control messages, channels that a client does not write.
    Nothing,
}

impl Subprotocol {
    /// The version of this name.
    pub fn named(name: &str) -> Option<Self> {
        VERSIONS.iter().find(|version| version.name == name).copied()
    }

    /// A message for the client.
    pub fn message(self, channel: Channel, payload: &[u8]) -> Message {
        let number = channel as u8;
        if self.base64 {
            let mut text = String::with_capacity(1 + payload.len().div_ceil(3) * 4);
            text.push(char::from(b'0' + number));
            STANDARD.encode_string(payload, &mut text);
            return Message::text(text);
        }
        let mut message = BytesMut::with_capacity(1 + payload.len());
        message.put_u8(number);
        message.put_slice(payload);
        Message::Binary(message.freeze())
    }

    /// The message that tells how it ended; `status` is a Status object. `None`: this version says nothing of success.
    pub fn end(self, status: &[u8]) -> Option<Message> {
        if self.status {
            return Some(self.message(Channel::Error, status));
        }
        let status: serde_json::Value = serde_json::from_slice(status).unwrap_or_default();
        match status["message"].as_str() {
            Some(text) if status["status"] != "Success" => {
                Some(self.message(Channel::Error, text.as_bytes()))
            }
            _ => None,
        }
    }

    /// Reads a client's message.
    pub fn read(self, message: Message) -> Said {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            _ => return Said::Nothing,
        };
        let Some(&first) = bytes.first() else {
            return Said::Nothing;
        };
        if self.base64 {
            let channel = Channel::of(first.wrapping_sub(b'0'));
            return match (channel, STANDARD.decode(&bytes[1..])) {
                (Some(channel), Ok(payload)) => Said::Data(channel, payload.into()),
                _ => Said::Nothing,
            };
        }
        if self.close && first == CLOSE {
            return bytes
                .get(1)
                .and_then(|number| Channel::of(*number))
                .map_or(Said::Nothing, Said::Close);
        }
        match Channel::of(first) {
            Some(channel) => Said::Data(channel, bytes.slice(1..)),
            None => Said::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(bytes: &[u8]) -> Message {
        Message::Binary(Bytes::copy_from_slice(bytes))
    }

    fn data(channel: Channel, bytes: &'static [u8]) -> Said {
        Said::Data(channel, Bytes::from_static(bytes))
    }

    #[test]
    fn o15_first_byte_names_the_channel_and_v5_closes() {
        let v5 = Subprotocol::named("v5.channel.k8s.io").unwrap();
        let v4 = Subprotocol::named("v4.channel.k8s.io").unwrap();
        for (case, version, message, expected) in [
            ("stdin", v5, binary(b"\0abc"), data(Channel::Stdin, b"abc")),
            ("empty", v5, binary(b"\0"), data(Channel::Stdin, b"")),
            ("resize", v4, binary(b"\x04{}"), data(Channel::Resize, b"{}")),
            ("end of stdin", v5, binary(b"\xff\0"), Said::Close(Channel::Stdin)),
            ("half a close", v5, binary(b"\xff"), Said::Nothing),
            ("v4 has no close", v4, binary(b"\xff\0"), Said::Nothing),
            ("no byte", v5, binary(b""), Said::Nothing),
            ("unknown channel", v5, binary(b"\x09x"), Said::Nothing),
            ("ping", v5, Message::Ping(Bytes::new()), Said::Nothing),
        ] {
            assert_eq!(version.read(message), expected, "{case}");
        }
        assert_eq!(v5.message(Channel::Stderr, b"no"), binary(b"\x02no"));
    }

    #[test]
    fn base64_versions_write_text() {
        let version = Subprotocol::named("base64.channel.k8s.io").unwrap();
        assert_eq!(version.message(Channel::Stdout, b"hi"), Message::text("1aGk="));
        assert_eq!(version.read(Message::text("0aGk=")), data(Channel::Stdin, b"hi"));
        assert_eq!(version.read(Message::text("0?")), Said::Nothing);
        assert_eq!(version.read(Message::text("\u{fc}")), Said::Nothing);
    }

    #[test]
    fn o18_the_end_is_a_status_since_v4_and_a_text_before() {
        let failure = br#"{"status":"Failure","message":"exit 3"}"#;
        let v4 = Subprotocol::named("v4.channel.k8s.io").unwrap();
        let first = Subprotocol::named("").unwrap();
        assert_eq!(v4.end(failure), Some(v4.message(Channel::Error, failure)));
        assert_eq!(first.end(failure), Some(binary(b"\x03exit 3")));
        assert_eq!(first.end(br#"{"status":"Success"}"#), None);
        assert_eq!(Subprotocol::named("v9.channel.k8s.io"), None);
    }
}
