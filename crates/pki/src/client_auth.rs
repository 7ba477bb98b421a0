//! Client certificates that are judged after the handshake, so that a wrong one is answered (401) rather than the
//! connection broken, and so that a server can tell which of its authorities has signed one.
use crate::times::{Span, next_change, valid};
use crate::{PkiError, version_one};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime, pem::PemObject};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};
use std::sync::Arc;

/// Authorities whose client certificates count.
#[derive(Clone, Debug)]
pub struct ClientAuthorities {
    /// Of all of them.
    verifier: Arc<dyn ClientCertVerifier>,
    certificates: Vec<CertificateDer<'static>>,
    /// When each of them is valid: the TLS library doesn't ask that of an authority.
    spans: Vec<Span>,
}

impl ClientAuthorities {
    /// Authorities from PEM; `what` names them in errors.
    pub fn from_pem(pem: &str, what: &'static str) -> Result<Self, PkiError> {
        let verifier = verifier(roots(pem.as_bytes(), what)?).map_err(|error| PkiError::Tls {
            what,
            reason: error.to_string(),
        })?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .map_while(Result::ok)
            .collect();
        let spans = certificates.iter().map(Span::of).collect();
        Ok(Self {
            verifier,
            certificates,
            spans,
        })
    }

    /// Whether they have signed this chain (the client's own certificate first), and all of it is valid now.
    pub fn signed(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.signed_at(chain, UnixTime::now())
    }

    /// The same at a moment.
    pub fn signed_at(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return false;
        };
        if version_one::is(leaf) {
            let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
            return version_one::signed(&self.certificates, leaf, intermediates, &algorithms, now);
        }
        let verified =
            |verifier: &dyn ClientCertVerifier| verifier.verify_client_cert(leaf, intermediates, now).is_ok();
        match valid(&self.certificates, &self.spans, now) {
            None => verified(&*self.verifier),
            Some(valid) => verifier(valid).is_ok_and(|verifier| verified(&*verifier)),
        }
    }

    /// The next moment, in seconds since 1970, at which [`Self::signed_at`] may say something else of this chain.
    pub fn next_change(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<u64> {
        let presented = chain.iter().map(Span::of);
        next_change(presented.chain(self.spans.iter().copied()), now)
    }
}

fn verifier(roots: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()
}

/// The authorities of a PEM file; `what` names them in errors.
pub fn roots(pem: &[u8], what: &'static str) -> Result<RootCertStore, PkiError> {
    let bad = |reason: String| PkiError::Tls { what, reason };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
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

    fn chain(authority: &Authority, usage: Usage) -> Vec<CertificateDer<'static>> {
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
    }

    #[test]
    fn a_certificate_counts_for_the_authority_that_signed_it_and_for_its_usage_only() {
        let own = Authority::ephemeral("own").unwrap();
        let other = Authority::ephemeral("other").unwrap();
        let authorities = ClientAuthorities::from_pem(own.certificate(), "the client CA").unwrap();
        assert!(authorities.signed(&chain(&own, Usage::Client)));
        assert!(!authorities.signed(&chain(&own, Usage::Server)));
        assert!(!authorities.signed(&chain(&other, Usage::Client)));
        assert!(!authorities.signed(&[]));
    }

    /// An authority, and what it has signed for as long as it is valid and longer.
    fn ended_authority() -> (String, Vec<CertificateDer<'static>>) {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ended");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&pem, key).unwrap();
        let mut leaf = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        leaf.distinguished_name.push(rcgen::DnType::CommonName, "alice");
        leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = leaf
            .signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        (pem, vec![leaf.der().clone()])
    }

    /// As upstream's rule is: a chain ends with its authority.
    #[test]
    fn an_authority_that_has_ended_vouches_for_nobody_and_others_beside_it_still_do() {
        let (ended, of_ended) = ended_authority();
        let own = Authority::ephemeral("own").unwrap();
        let of_own = chain(&own, Usage::Client);
        let alone = ClientAuthorities::from_pem(&ended, "the client CA").unwrap();
        assert!(!alone.signed(&of_ended));
        let in_2001 = UnixTime::since_unix_epoch(std::time::Duration::from_secs(980_000_000));
        assert!(alone.signed_at(&of_ended, in_2001), "it was one");
        let both = format!("{ended}\n{}", own.certificate());
        let both = ClientAuthorities::from_pem(&both, "the client CA").unwrap();
        assert!(!both.signed(&of_ended));
        assert!(both.signed(&of_own));
    }

    #[test]
    fn a_chain_is_to_be_judged_again_when_its_first_certificate_ends() {
        let own = Authority::ephemeral("own").unwrap();
        let authorities = ClientAuthorities::from_pem(own.certificate(), "the client CA").unwrap();
        let chain = chain(&own, Usage::Client);
        let end = authorities.next_change(&chain, UnixTime::now()).unwrap();
        let at = |second| UnixTime::since_unix_epoch(std::time::Duration::from_secs(second));
        assert!(authorities.signed_at(&chain, at(end - 1)));
        assert!(!authorities.signed_at(&chain, at(end)));
        assert!(
            authorities.next_change(&chain, at(end)) > Some(end),
            "the authority's"
        );
    }
}
