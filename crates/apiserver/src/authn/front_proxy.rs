//! Callers that a proxy in front of the server has recognised, in the headers it sets (contract §15.3).
use super::UserInfo;
use super::authorities::TrustedAuthorities;
use super::config::FrontProxyConfig;
use crate::request::decode_percent;
use http::HeaderMap;
use rustls::pki_types::{CertificateDer, UnixTime};

/// Whose word is taken.
pub struct FrontProxy {
    config: FrontProxyConfig,
}

impl FrontProxy {
    pub fn new(config: FrontProxyConfig) -> Self {
        let lower = |headers: Vec<String>| headers.iter().map(|h| h.to_ascii_lowercase()).collect();
        Self {
            config: FrontProxyConfig {
                username_headers: lower(config.username_headers),
                uid_headers: lower(config.uid_headers),
                group_headers: lower(config.group_headers),
                extra_prefixes: lower(config.extra_prefixes),
                ..config
            },
        }
    }

    pub fn authorities(&self) -> &TrustedAuthorities {
        &self.config.ca
    }

    /// Whether the client of a connection is such a proxy.
    pub fn is_proxy(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        if !self.config.ca.signed(chain, now) {
            return false;
        }
        let names = &self.config.allowed_names;
        let subject = chain.first().and_then(|leaf| orlop_pki::subject_of(leaf));
        names.is_empty() || subject.is_some_and(|subject| names.contains(&subject.user))
    }

    /// Whom the headers name; `None` if they name nobody. Only for requests of a proxy.
    pub fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let text = |value: &http::HeaderValue| {
            let text = std::str::from_utf8(value.as_bytes());
            text.ok().map(str::to_owned)
        };
        let first = |names: &[String]| {
            let mut found = names.iter().filter_map(|name| text(headers.get(name)?));
            found.find(|value| !value.is_empty())
        };
        let name = first(&self.config.username_headers)?;
        let groups = self.config.group_headers.iter();
        let groups: Vec<String> = groups
            .flat_map(|header| headers.get_all(header).iter().filter_map(text))
            .collect();
        let mut user = UserInfo::new(name, groups);
        user.uid = first(&self.config.uid_headers).unwrap_or_default();
        for (header, value) in headers {
            let prefixes = &self.config.extra_prefixes;
            let key = prefixes
                .iter()
                .find_map(|prefix| header.as_str().strip_prefix(&**prefix));
            if let (Some(key), Some(value)) = (key.filter(|key| !key.is_empty()), text(value)) {
                user.extra.entry(decode_percent(key)).or_default().push(value);
            }
        }
        Some(user)
    }
}
