//! What a client asks to switch to, and the answer to it. Pure.
use crate::Subprotocol;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Versions of the streams inside SPDY.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
pub const SPDY: HeaderValue = HeaderValue::from_static("SPDY/3.1");
/// Bytes of a SPDY connection in binary messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Ports over channels, in binary messages; a client that names no protocol means this one too.
const PORT_CHANNELS: &str = "v4.channel.k8s.io";

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// exec and attach.
    Command,
    /// The ports that the query names, which the oldest WebSocket clients need.
    PortForward(Vec<u16>),
}

/// How a client wants to talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// SPDY/3.1, with the versions of its streams it knows.
    Spdy(Vec<HeaderValue>),
    /// Channels over WebSocket; with what proves that the key was read.
    Channels(Subprotocol, String),
    /// SPDY/3.1 through WebSocket messages.
    Tunnel(String),
    /// Two channels a port over WebSocket.
    Ports {
        ports: Vec<u16>,
        /// As in `Sec-WebSocket-Protocol`; empty when the client named none.
        protocol: &'static str,
        accept: String,
    },
}

/// Why there is nothing to switch to; 400 for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Upgrade request required")]
    NoUpgrade,
    #[error("unable to upgrade: no Sec-WebSocket-Key in the request")]
    NoKey,
    #[error("query parameter \"ports\" is required")]
    NoPorts,
    #[error("port \"0\" must be > 0")]
    PortZero,
    #[error("unable to upgrade: none of the WebSocket protocols [{0}] is known here")]
    UnknownProtocols(String),
}

/// The comma-separated words of a header that may come more than once.
pub fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

impl Client {
    /// Reads a request's headers.
    pub fn of(headers: &HeaderMap, purpose: Purpose) -> Result<Self, Refusal> {
        let is = |wanted: &str| words(headers, UPGRADE).any(|word| word.eq_ignore_ascii_case(wanted));
        if !words(headers, CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade")) {
            return Err(Refusal::NoUpgrade);
        }
        if is("SPDY/3.1") {
            let versions =
                words(headers, STREAM_PROTOCOL).filter_map(|word| HeaderValue::from_str(word).ok());
            return Ok(Self::Spdy(versions.collect()));
        }
        if !is("websocket") {
            return Err(Refusal::NoUpgrade);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Refusal::NoKey)?;
        let accept = derive_accept_key(key.as_bytes());
        let mut asked = words(headers, SEC_WEBSOCKET_PROTOCOL).peekable();
        let found = match purpose {
            Purpose::Command if asked.peek().is_none() => {
                Subprotocol::named("").map(|v| Self::Channels(v, accept))
            }
            Purpose::Command => asked
                .find_map(Subprotocol::named)
                .map(|v| Self::Channels(v, accept)),
            Purpose::PortForward(ports) => {
                let protocol = match asked.peek() {
                    None => Some(""),
                    Some(_) => {
                        asked.find_map(|word| [TUNNEL, PORT_CHANNELS].into_iter().find(|p| *p == word))
                    }
                };
                match protocol {
                    Some(TUNNEL) => Some(Self::Tunnel(accept)),
                    Some(_) if ports.is_empty() => return Err(Refusal::NoPorts),
                    Some(_) if ports.contains(&0) => return Err(Refusal::PortZero),
                    Some(protocol) => Some(Self::Ports {
                        ports,
                        protocol,
                        accept,
                    }),
                    None => None,
                }
            }
        };
        found.ok_or_else(|| {
            let asked: Vec<&str> = words(headers, SEC_WEBSOCKET_PROTOCOL).collect();
            Refusal::UnknownProtocols(asked.join(", "))
        })
    }

    /// The versions of SPDY's streams to ask the next server for.
    pub fn stream_protocols(&self) -> Vec<HeaderValue> {
        match self {
            Self::Spdy(versions) => versions.clone(),
            Self::Channels(..) => vec![HeaderValue::from_static("v4.channel.k8s.io")],
            Self::Tunnel(_) | Self::Ports { .. } => vec![HeaderValue::from_static("portforward.k8s.io")],
        }
    }

    /// The answer that switches; `agreed` is the version that the next server chose.
    pub fn switching<B: Default>(&self, agreed: Option<&HeaderValue>) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let (accept, protocol) = match self {
            Self::Spdy(_) => {
                headers.insert(UPGRADE, SPDY);
                if let Some(agreed) = agreed {
                    headers.insert(STREAM_PROTOCOL, agreed.clone());
                }
                return response;
            }
            Self::Channels(version, accept) => (accept, version.name),
            Self::Tunnel(accept) => (accept, TUNNEL),
            Self::Ports { protocol, accept, .. } => (accept, *protocol),
        };
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if !protocol.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(lines: &[(&'static str, &'static str)], purpose: Purpose) -> Result<Client, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Client::of(&headers, purpose)
    }

    /// Key and answer are those of RFC 6455, section 1.3.
    const SOCKET: [(&str, &str); 3] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn socket(protocols: &'static str, purpose: Purpose) -> Result<Client, Refusal> {
        let mut lines = SOCKET.to_vec();
        lines.push(("sec-websocket-protocol", protocols));
        asks(&lines, purpose)
    }

    #[test]
    fn clients_say_how_they_want_to_talk() {
        let channels = |name| {
            Ok(Client::Channels(
                Subprotocol::named(name).unwrap(),
                ACCEPT.to_owned(),
            ))
        };
        let spdy = [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ];
        let versions = ["v4.channel.k8s.io", "v3.channel.k8s.io"].map(HeaderValue::from_static);
        let command = || Purpose::Command;
        let forward = |ports: &[u16]| Purpose::PortForward(ports.to_vec());
        let cases = [
            (
                "spdy",
                asks(&spdy, command()),
                Ok(Client::Spdy(versions.to_vec())),
            ),
            (
                "v5",
                socket("v5.channel.k8s.io", command()),
                channels("v5.channel.k8s.io"),
            ),
            (
                "the client's first that is known",
                socket("v9.channel.k8s.io, v4.channel.k8s.io", command()),
                channels("v4.channel.k8s.io"),
            ),
            ("no protocol", asks(&SOCKET, command()), channels("")),
            (
                "tunnel",
                socket(TUNNEL, forward(&[])),
                Ok(Client::Tunnel(ACCEPT.to_owned())),
            ),
            (
                "v5 forwards no port",
                socket("v5.channel.k8s.io", forward(&[80])),
                Err(Refusal::UnknownProtocols("v5.channel.k8s.io".into())),
            ),
            (
                "channels for ports",
                socket("v4.channel.k8s.io", forward(&[80, 81])),
                Ok(Client::Ports {
                    ports: vec![80, 81],
                    protocol: "v4.channel.k8s.io",
                    accept: ACCEPT.to_owned(),
                }),
            ),
            (
                "channels for no port",
                socket("v4.channel.k8s.io", forward(&[])),
                Err(Refusal::NoPorts),
            ),
            (
                "channels for a port that is none",
                socket("v4.channel.k8s.io", forward(&[80, 0])),
                Err(Refusal::PortZero),
            ),
            (
                "no protocol, ports",
                asks(&SOCKET, forward(&[80])),
                Ok(Client::Ports {
                    ports: vec![80],
                    protocol: "",
                    accept: ACCEPT.to_owned(),
                }),
            ),
            ("nothing", asks(&[], command()), Err(Refusal::NoUpgrade)),
            (
                "no connection header",
                asks(&spdy[1..], command()),
                Err(Refusal::NoUpgrade),
            ),
            ("no key", asks(&SOCKET[..2], command()), Err(Refusal::NoKey)),
            (
                "another protocol",
                asks(&[("connection", "upgrade"), ("upgrade", "h2c")], command()),
                Err(Refusal::NoUpgrade),
            ),
        ];
        for (case, found, expected) in cases {
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn answers_name_what_was_agreed() {
        let client = socket("v5.channel.k8s.io", Purpose::Command).unwrap();
        let answer: Response<()> = client.switching(None);
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answer.headers()["sec-websocket-accept"], ACCEPT);
        assert_eq!(answer.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
        let agreed = HeaderValue::from_static("v4.channel.k8s.io");
        let answer: Response<()> = Client::Spdy(vec![]).switching(Some(&agreed));
        assert_eq!(answer.headers()["upgrade"], "SPDY/3.1");
        assert_eq!(answer.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
    }
}
