//! Which versions and cipher suites of TLS a server offers.
use crate::PkiError;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// Versions by the names that flags have for them. Those before 1.2 are taken and never offered.
const VERSIONS: &[&str] = &["", "VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"];
/// Suites that may be named: those of TLS 1.3 are offered whatever is named, old ones never.
const SUITES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// What a server offers of what it could; by default all of it, which is TLS 1.2 and 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsLimits {
    newest_only: bool,
    older_only: bool,
    /// Suites of TLS 1.2; none for all.
    suites: Vec<String>,
}

impl TlsLimits {
    /// `version` is the oldest that is offered, such as `VersionTLS13`, or empty; `suites` have IANA's names.
    ///
    /// # Errors
    /// A name is nobody's.
    pub fn new(version: &str, suites: &[String]) -> Result<Self, PkiError> {
        let unknown = |what, reason: String| PkiError::Tls { what, reason };
        if !VERSIONS.contains(&version) {
            return Err(unknown(
                "the oldest version",
                format!("unknown tls version {version:?}"),
            ));
        }
        let suites = suites.iter().filter(|suite| !suite.is_empty());
        if let Some(suite) = suites.clone().find(|suite| !SUITES.contains(&suite.as_str())) {
            return Err(unknown(
                "the cipher suites",
                format!("Cipher suite {suite} not supported or doesn't exist"),
            ));
        }
        // Two have a shorter name as well.
        let full = |suite: &String| match suite.ends_with("_WITH_CHACHA20_POLY1305") {
            true => format!("{suite}_SHA256"),
            false => suite.clone(),
        };
        Ok(Self {
            newest_only: version == "VersionTLS13",
            older_only: false,
            suites: suites.map(full).collect(),
        })
    }

    /// The same without TLS 1.3.
    #[must_use]
    pub fn without_newest(self) -> Self {
        Self {
            older_only: true,
            ..self
        }
    }

    /// The cryptography of a server that offers no more.
    pub fn provider(&self) -> CryptoProvider {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.suites.is_empty() {
            provider.cipher_suites.retain(|suite| {
                let name = format!("{:?}", suite.suite());
                matches!(suite, SupportedCipherSuite::Tls13(_)) || self.suites.contains(&name)
            });
        }
        provider
    }

    /// The versions that such a server offers.
    pub fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        match (self.newest_only, self.older_only) {
            (true, _) => vec![&TLS13],
            (false, true) => vec![&TLS12],
            (false, false) => vec![&TLS13, &TLS12],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(version: &str, suites: &[&str]) -> Result<Vec<String>, String> {
        let suites: Vec<String> = suites.iter().map(|suite| (*suite).to_owned()).collect();
        let limits = TlsLimits::new(version, &suites).map_err(|error| error.to_string())?;
        let provider = limits.provider();
        let old = provider
            .cipher_suites
            .iter()
            .filter(|suite| matches!(suite, SupportedCipherSuite::Tls12(_)));
        Ok(old.map(|suite| format!("{:?}", suite.suite())).collect())
    }

    #[test]
    fn suites_of_the_older_version_are_those_that_are_named() {
        assert_eq!(offered("", &[]).unwrap().len(), 6);
        let named = [
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
        ];
        assert_eq!(offered("VersionTLS12", &named).unwrap(), [named[0]]);
        assert_eq!(
            offered("", &["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]).unwrap(),
            ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
        );
        assert!(
            offered("", &["TLS_BOGUS"])
                .unwrap_err()
                .contains("Cipher suite TLS_BOGUS not supported")
        );
        assert!(
            offered("VersionTLS14", &[])
                .unwrap_err()
                .contains("unknown tls version \"VersionTLS14\"")
        );
    }

    #[test]
    fn the_newest_version_may_be_the_only_one() {
        let of = |version: &str| TlsLimits::new(version, &[]).unwrap().versions().len();
        assert_eq!((of(""), of("VersionTLS12"), of("VersionTLS13")), (2, 2, 1));
    }
}
