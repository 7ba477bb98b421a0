//! Certificates for names of their own: which one a server presents to whom.
use crate::names_of;
use crate::presented::Presented;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// A certificate that is presented to clients that ask for certain names.
#[derive(Clone, Debug)]
pub struct Named {
    presented: Presented,
    /// In lower case; `*.example.com` stands for every name one level below.
    names: Vec<String>,
    /// The names were given, not read off the certificate.
    is_given: bool,
}

impl Named {
    /// For these names; with none, for those in the certificate.
    pub fn new(presented: Presented, names: &[String]) -> Self {
        let is_given = !names.is_empty();
        let names = match is_given {
            true => names.to_vec(),
            false => names_of(&presented.current().certificate).map_or_else(Vec::new, |(dns, _)| dns),
        };
        Self {
            presented,
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            is_given,
        }
    }
}

/// What a server presents: what is there for the name that a client asks for, or else the first.
#[derive(Debug)]
pub(crate) struct AsServer {
    pub usual: Presented,
    pub named: Vec<Named>,
}

impl AsServer {
    /// A name as it is goes before a pattern, and one that was given before one that was read off a certificate.
    fn chosen(&self, asked: Option<&str>) -> &Presented {
        let Some(asked) = asked.map(str::to_ascii_lowercase) else {
            return &self.usual;
        };
        let pattern = asked.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let has = |name: &str| {
            [true, false].into_iter().find_map(|given| {
                let mut named = self.named.iter().filter(|named| named.is_given == given);
                named.find(|named| named.names.iter().any(|known| known == name))
            })
        };
        let found = has(&asked).or_else(|| has(&pattern?));
        found.map_or(&self.usual, |named| &named.presented)
    }
}

impl ResolvesServerCert for AsServer {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.chosen(hello.server_name()).certified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, LeafRequest, Usage};

    #[test]
    fn the_name_that_is_asked_for_chooses_the_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(directory.path(), "ca", "kubernetes").unwrap();
        let presented = |names: &[&str]| {
            let request = LeafRequest {
                identity: Identity::new("server", &[]),
                usage: Usage::Server,
                dns_names: names.iter().map(ToString::to_string).collect(),
                addresses: Vec::new(),
            };
            Presented::from(authority.sign(&request).unwrap())
        };
        let given = |names: &[&str]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
        let server = AsServer {
            usual: presented(&["usual"]),
            named: vec![
                Named::new(presented(&["read.example.com", "Both.example.com"]), &[]),
                Named::new(presented(&["x"]), &given(&["*.example.com"])),
                Named::new(presented(&["x"]), &given(&["both.example.com"])),
            ],
        };
        let place = |chosen: &Presented| {
            let all = std::iter::once(&server.usual).chain(server.named.iter().map(|named| &named.presented));
            let current = chosen.current();
            all.into_iter()
                .position(|known| Arc::ptr_eq(&known.current(), &current))
                .unwrap()
        };
        for (asked, expected) in [
            (None, 0),
            (Some("usual"), 0),
            (Some("elsewhere.org"), 0),
            (Some("read.example.com"), 1),
            (Some("READ.example.com"), 1),
            (Some("other.example.com"), 2),
            (Some("deep.other.example.com"), 0),
            (Some("both.example.com"), 3),
        ] {
            assert_eq!(place(server.chosen(asked)), expected, "{asked:?}");
        }
    }
}
