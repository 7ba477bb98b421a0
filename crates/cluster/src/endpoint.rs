//! Where all API servers of a cluster are said to be reached, as kubeadm takes it: a host, with a port or without (pure).
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Of a name, in bytes.
const NAME_BYTES_MAX: usize = 253;
/// Of what is between two dots.
const LABEL_BYTES_MAX: usize = 63;

/// A name or an address. Without a port that of the node's API server is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a control plane, such as cluster.example, 10.0.0.1:6443 or [fd00::1]:6443")]
pub struct EndpointError(String);

impl Endpoint {
    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `host:port`.
    pub fn with_port(&self, port: u16) -> String {
        let port = self.port.unwrap_or(port);
        match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError(text.to_owned());
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self {
                host: text.to_owned(),
                port: None,
            });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                match (rest.strip_prefix(':'), rest.is_empty()) {
                    (Some(port), _) => (host, Some(port)),
                    (None, true) => (host, None),
                    (None, false) => return Err(wrong()),
                }
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                if host.parse::<IpAddr>().is_err() && !is_name(host) {
                    return Err(wrong());
                }
                (host, port)
            }
        };
        let port = match port {
            None => None,
            Some(digits) => {
                let number = digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then(|| digits.parse().ok());
                Some(number.flatten().filter(|port| *port != 0).ok_or_else(wrong)?)
            }
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Whether it is one that name servers know. What ends in a number would be an address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| is_letter(byte) || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= NAME_BYTES_MAX
        && text.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_alone_means_the_port_of_the_api_server() {
        for (text, host, want) in [
            ("cluster.example", "cluster.example", "cluster.example:6443"),
            ("cluster.example:443", "cluster.example", "cluster.example:443"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.1:6443"),
            ("10.0.0.1:8443", "10.0.0.1", "10.0.0.1:8443"),
            ("fd00::1", "fd00::1", "[fd00::1]:6443"),
            ("[fd00::1]", "fd00::1", "[fd00::1]:6443"),
            ("[fd00::1]:443", "fd00::1", "[fd00::1]:443"),
            ("lb", "lb", "lb:6443"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(
                (endpoint.host(), endpoint.with_port(6443).as_str()),
                (host, want),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":6443",
            "lb:",
            "lb:0",
            "lb:65536",
            "lb:+1",
            "lb:x",
            "lb:1:2",
            "https://lb:6443",
            "lb/x",
            "LB",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "10.0.0.300",
            "10.0.0",
            "[fd00::1",
            "[fd00::1]x",
            "[lb]:1",
            "a b",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        assert!(format!("{}.example", "a".repeat(64)).parse::<Endpoint>().is_err());
    }
}
