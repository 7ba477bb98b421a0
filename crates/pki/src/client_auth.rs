//! Client certificates that are judged after the handshake, so that a wrong one is answered (401) rather than the
//! connection broken, and so that a server can tell which of its authorities has signed one.
use crate::{PkiError, version_one};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};
use std::sync::Arc;

/// Authorities whose client certificates count.
#[derive(Clone, Debug)]
pub struct ClientAuthorities {
    verifier: Arc<dyn ClientCertVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl ClientAuthorities {
    /// Authorities from PEM; `what` names them in errors.
    pub fn from_pem(pem: &str, what: &'static str) -> Result<Self, PkiError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem, what)?), provider)
            .build()
            .map_err(|error| PkiError::Tls {
                what,
                reason: error.to_string(),
            })?;
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .filter_map(Result::ok)
            .collect();
        Ok(Self {
            verifier,
            certificates,
        })
    }

    /// Whether they have signed this chain (the client's own certificate first), and it is valid now.
    pub fn signed(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return false;
        };
        let now = UnixTime::now();
        if version_one::is(leaf) {
            let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
            return version_one::signed(&self.certificates, leaf, intermediates, &algorithms, now);
        }
        self.verifier.verify_client_cert(leaf, intermediates, now).is_ok()
    }
}

/// The authorities of a PEM file.
pub(crate) fn roots(pem: &str, what: &'static str) -> Result<RootCertStore, PkiError> {
    let bad = |reason: String| PkiError::Tls { what, reason };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots
            .add(root.map_err(|e| bad(e.to_string()))?)
            .map_err(|e| bad(e.to_string()))?;
    }
    Ok(roots)
}

/// Schemes that nothing may be signed with since TLS 1.3.
const OF_TLS12_ONLY: [SignatureScheme; 4] = [
    SignatureScheme::RSA_PKCS1_SHA1,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// Asks for a certificate and takes any whose holder has its key.
#[derive(Debug)]
pub(crate) struct AnyClient {
    provider: Arc<CryptoProvider>,
    hints: Vec<DistinguishedName>,
}

impl AnyClient {
    pub fn new(provider: Arc<CryptoProvider>, roots: &RootCertStore) -> Self {
        Self {
            provider,
            hints: roots.subjects(),
        }
    }

    /// The algorithms that a signature's scheme stands for.
    fn of(
        &self,
        signature: &DigitallySignedStruct,
    ) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
        let mapping = self.provider.signature_verification_algorithms.mapping;
        let found = mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
        found.map_or(&[], |(_, algorithms)| algorithms)
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if version_one::is(certificate) {
            let verified = version_one::verify_handshake(message, certificate, signature, self.of(signature));
            return verified.map(|()| HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if version_one::is(certificate) {
            // A scheme of this version means one algorithm, which comes first.
            let one = self.of(signature).get(..1).unwrap_or_default();
            let one = if OF_TLS12_ONLY.contains(&signature.scheme) {
                &[]
            } else {
                one
            };
            let verified = version_one::verify_handshake(message, certificate, signature, one);
            return verified.map(|()| HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, LeafRequest, Usage};

    #[test]
    fn a_certificate_counts_for_the_authority_that_signed_it_and_for_its_usage_only() {
        let own = Authority::ephemeral("own").unwrap();
        let other = Authority::ephemeral("other").unwrap();
        let chain = |authority: &Authority, usage| {
            let leaf = authority
                .sign(&LeafRequest {
                    identity: Identity::new("alice", &[]),
                    usage,
                    dns_names: Vec::new(),
                    addresses: Vec::new(),
                })
                .unwrap();
            CertificateDer::pem_slice_iter(leaf.certificate.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .unwrap()
        };
        let authorities = ClientAuthorities::from_pem(own.certificate(), "the client CA").unwrap();
        assert!(authorities.signed(&chain(&own, Usage::Client)));
        assert!(!authorities.signed(&chain(&own, Usage::Server)));
        assert!(!authorities.signed(&chain(&other, Usage::Client)));
        assert!(!authorities.signed(&[]));
    }
}
