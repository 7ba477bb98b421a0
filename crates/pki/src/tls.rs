//! TLS server settings, and the identity behind a client certificate.
use crate::named::{AsServer, Named};
use crate::presented::Presented;
use crate::{Identity, PkiError, TlsLimits, client_auth};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Settings for a server with a PEM certificate and key that asks for, but doesn't require, client
/// certificates signed by `client_ca` (PEM). Speaks HTTP/2 and HTTP/1.1 by ALPN.
pub fn server_config(
    certificate: &str,
    key: &str,
    client_ca: &str,
) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    server_config_within(certificate, key, client_ca, &TlsLimits::default())
}

/// The same, within limits.
pub fn server_config_within(
    certificate: &str,
    key: &str,
    client_ca: &str,
    limits: &TlsLimits,
) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = client_auth::roots(client_ca.as_bytes(), "the client CA")?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|e| PkiError::Tls {
            what: "the client CA",
            reason: e.to_string(),
        })?;
    server_config_verifying(certificate.as_bytes(), key.as_bytes(), verifier, limits)
}

/// The same for a server that judges client certificates itself, with [`crate::ClientAuthorities`]: any is taken.
/// `client_cas` (PEM) are those that clients are told of.
pub fn server_config_for_any_client(
    certificate: &str,
    key: &str,
    client_cas: &str,
) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    let (certificate, key) = (certificate.as_bytes(), key.as_bytes());
    server_config_verifying(certificate, key, any_client(client_cas)?, &TlsLimits::default())
}

/// The same, presenting what is current whenever a connection begins, within limits: one of `named` to who asks for its
/// name, `usual` to all others.
pub fn server_config_presenting(
    usual: Presented,
    named: Vec<Named>,
    client_cas: &str,
    limits: &TlsLimits,
) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    let resolver = Arc::new(AsServer { usual, named });
    let config = begun(any_client(client_cas)?, limits)?.with_cert_resolver(resolver);
    Ok(with_alpn(config))
}

fn any_client(client_cas: &str) -> Result<Arc<client_auth::AnyClient>, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = client_auth::roots(client_cas.as_bytes(), "the client CA")?;
    Ok(Arc::new(client_auth::AnyClient::new(provider, &roots)))
}

/// Settings for a server whose `verifier` says which client certificates count. Certificate and key are PEM.
pub fn server_config_verifying(
    certificate: &[u8],
    key: &[u8],
    verifier: Arc<dyn ClientCertVerifier>,
    limits: &TlsLimits,
) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    let bad = |what: &'static str| move |reason: String| PkiError::Tls { what, reason };
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad("the serving certificate")(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| bad("the serving key")(e.to_string()))?;
    let config = begun(verifier, limits)?
        .with_single_cert(chain, key)
        .map_err(|e| bad("the serving certificate")(e.to_string()))?;
    Ok(with_alpn(config))
}

fn begun(
    verifier: Arc<dyn ClientCertVerifier>,
    limits: &TlsLimits,
) -> Result<rustls::ConfigBuilder<rustls::ServerConfig, WantsServerCert>, PkiError> {
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(limits.provider()))
        .with_protocol_versions(&limits.versions())
        .map_err(|error| PkiError::Tls {
            what: "the protocol versions",
            reason: error.to_string(),
        })?;
    Ok(builder.with_client_cert_verifier(verifier))
}

fn with_alpn(mut config: rustls::ServerConfig) -> Arc<rustls::ServerConfig> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The user (common name) and groups (organisations) of a DER certificate; `None` if it has no
/// common name or can't be read. The caller has verified the chain.
pub fn subject_of(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    subject.iter_common_name().next()?;
    named(subject)
}

/// Whom a subject names; nobody without a common name. Of several common names the last counts, as for upstream: all who
/// read a subject have to read the same. `None` if a part of it is no text that can be read.
pub(crate) fn named(subject: &X509Name<'_>) -> Option<Identity> {
    let text = |part: &AttributeTypeAndValue<'_>| part.as_str().ok().map(str::to_owned);
    let user = match subject.iter_common_name().last() {
        Some(name) => text(name)?,
        None => String::new(),
    };
    let groups = subject.iter_organization().map(text).collect::<Option<_>>()?;
    Some(Identity { user, groups })
}

/// The same of a PEM certificate.
pub fn identity_of(certificate: &str) -> Option<Identity> {
    subject_of(pem::parse(certificate).ok()?.contents())
}

/// How long a DER certificate is still valid, in seconds; negative when it has ended.
pub fn seconds_left(der: &[u8]) -> Option<f64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let end = certificate.validity().not_after.timestamp();
    Some((end - jiff::Timestamp::now().as_second()) as f64)
}

/// The DNS names and addresses that a PEM certificate is for.
pub fn names_of(certificate: &str) -> Option<(Vec<String>, Vec<std::net::IpAddr>)> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let parsed = pem.parse_x509().ok()?;
    let extension = parsed.subject_alternative_name().ok()?;
    let names = extension.map_or(&[][..], |extension| extension.value.general_names.as_slice());
    let (mut dns_names, mut addresses) = (Vec::new(), Vec::new());
    for name in names {
        match name {
            GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
                let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
                addresses.extend(address.ok());
            }
            _ => {}
        }
    }
    Some((dns_names, addresses))
}

/// When a PEM certificate ends.
pub fn expires(certificate: &str) -> Option<jiff::Timestamp> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let parsed = pem.parse_x509().ok()?;
    jiff::Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

/// `sha256:<hex>` of a PEM certificate's public key: how a node that joins knows the authority it was told of.
pub fn public_key_hash(certificate: &str) -> Option<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let parsed = pem.parse_x509().ok()?;
    let digest = ring::digest::digest(&ring::digest::SHA256, parsed.public_key().raw);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, LeafRequest, Usage};

    #[test]
    fn client_certificate_s01_names_user_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        let identity = Identity::new("alice", &["devs"]);
        let leaf = authority
            .sign(&LeafRequest {
                identity: identity.clone(),
                usage: Usage::Client,
                dns_names: vec![],
                addresses: vec![],
            })
            .unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(leaf.certificate.as_bytes()).unwrap();
        assert_eq!(subject_of(&pem.contents), Some(identity));
        server_config(&leaf.certificate, &leaf.key, authority.certificate()).unwrap();
    }
}
