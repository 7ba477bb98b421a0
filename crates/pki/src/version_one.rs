//! Certificates of X.509's first version, which have no extensions: what plain `openssl x509 -req` makes. The TLS
//! library reads the third version only, so whether such a certificate counts is decided here.
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use std::cell::Cell;
use x509_parser::asn1_rs::{FromDer, Sequence};
use x509_parser::prelude::{ASN1Time, X509Certificate, X509Version};

/// Intermediate authorities between a client's certificate and one that is trusted.
const INTERMEDIATES_MAX: usize = 4;
/// Signatures that are looked at for one certificate (the TLS library's limit for others): of a chain whose authorities
/// could all have signed each other there are more ways than there is time.
const SIGNATURES_MAX: usize = 100;

/// Whether this certificate is of the first version.
pub fn is(der: &CertificateDer<'_>) -> bool {
    parse(der).is_some_and(|certificate| certificate.version() == X509Version::V1)
}

/// Whether one of `roots` has signed `leaf`, itself or through `intermediates`, and all of them are valid at `now`.
pub fn signed(
    roots: &[CertificateDer<'_>],
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> bool {
    let Ok(now) = ASN1Time::from_timestamp(i64::try_from(now.as_secs()).unwrap_or(i64::MAX)) else {
        return false;
    };
    let search = Search {
        roots: roots.iter().filter_map(parse).collect(),
        intermediates: intermediates.iter().filter_map(parse).collect(),
        algorithms,
        now,
        signatures_left: Cell::new(SIGNATURES_MAX),
    };
    parse(leaf).is_some_and(|leaf| search.is_valid(&leaf) && search.is_trusted(&leaf, INTERMEDIATES_MAX))
}

/// Whether the holder of a certificate has signed what the handshake has to be signed with.
///
/// # Errors
/// The certificate or the signature is none that can be verified.
pub fn verify_handshake(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), Error> {
    let certificate = parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let key = Key::of(&certificate).ok_or(CertificateError::BadEncoding)?;
    let verified = algorithms
        .iter()
        .any(|algorithm| key.verifies(*algorithm, message, signature.signature()));
    if verified {
        return Ok(());
    }
    Err(CertificateError::BadSignature.into())
}

fn parse<'c>(der: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    Some(X509Certificate::from_der(der).ok()?.1)
}

/// The way from a certificate to a trusted authority.
struct Search<'s> {
    roots: Vec<X509Certificate<'s>>,
    intermediates: Vec<X509Certificate<'s>>,
    algorithms: &'s WebPkiSupportedAlgorithms,
    now: ASN1Time,
    signatures_left: Cell<usize>,
}

impl Search<'_> {
    fn is_valid(&self, certificate: &X509Certificate<'_>) -> bool {
        certificate.validity().is_valid_at(self.now)
    }

    fn is_trusted(&self, certificate: &X509Certificate<'_>, intermediates_left: usize) -> bool {
        let by_root = self
            .roots
            .iter()
            .any(|root| self.is_valid(root) && self.has_signed(root, certificate));
        by_root
            || intermediates_left > 0
                && self.intermediates.iter().any(|between| {
                    self.is_valid(between)
                        && signs_clients(between)
                        && self.has_signed(between, certificate)
                        && self.is_trusted(between, intermediates_left - 1)
                })
    }

    /// Whether one more signature may be looked at.
    fn may_look(&self) -> bool {
        let left = self.signatures_left.get();
        self.signatures_left.set(left.saturating_sub(1));
        left > 0
    }

    fn has_signed(&self, issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
        let Some(key) = Key::of(issuer) else { return false };
        let names_it = issuer.subject().as_raw() == certificate.issuer().as_raw();
        let own = &certificate.signature_algorithm;
        names_it
            && self.algorithms.all.iter().any(|algorithm| {
                signs_with(*algorithm, own)
                    && self.may_look()
                    && key.verifies(
                        *algorithm,
                        certificate.tbs_certificate.as_ref(),
                        &certificate.signature_value.data,
                    )
            })
    }
}

/// Whether an intermediate authority may vouch for clients.
fn signs_clients(certificate: &X509Certificate<'_>) -> bool {
    let for_clients = match certificate.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.client_auth || usage.value.any,
        Err(_) => false,
    };
    certificate.is_ca() && for_clients
}

/// Whether a certificate says that it is signed in this way.
fn signs_with(
    algorithm: &dyn SignatureVerificationAlgorithm,
    said: &x509_parser::x509::AlgorithmIdentifier<'_>,
) -> bool {
    // The contents of the identifier's sequence begin with its object identifier.
    let id = algorithm.signature_alg_id();
    let oid = said.algorithm.as_bytes();
    id.get(1).is_some_and(|length| usize::from(*length) == oid.len()) && id.get(2..2 + oid.len()) == Some(oid)
}

/// A public key.
struct Key<'k> {
    /// The contents of its algorithm identifier, as algorithms name what they verify for.
    algorithm: Vec<u8>,
    bits: &'k [u8],
}

impl<'k> Key<'k> {
    fn of(certificate: &'k X509Certificate<'_>) -> Option<Self> {
        let info = certificate.public_key();
        let (_, whole) = Sequence::from_der(info.raw).ok()?;
        let (_, algorithm) = Sequence::from_der(&whole.content).ok()?;
        Some(Self {
            algorithm: algorithm.content.to_vec(),
            bits: &info.subject_public_key.data,
        })
    }

    fn verifies(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        algorithm.public_key_alg_id().as_ref() == self.algorithm.as_slice()
            && algorithm.verify_signature(self.bits, message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Authority, ClientAuthorities, Identity, LeafRequest, Usage};
    use rustls::client::ResolvesClientCert;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::sign::CertifiedKey;
    use rustls::{
        ClientConfig, ClientConnection, ServerConnection, SignatureScheme, SupportedProtocolVersion,
    };
    use std::sync::Arc;

    const AUTHORITY: &str = include_str!("testdata/version_one/ca.crt");
    const CLIENTS: [(&str, &str); 2] = [
        (
            include_str!("testdata/version_one/client-ec.crt"),
            include_str!("testdata/version_one/client-ec.key"),
        ),
        (
            include_str!("testdata/version_one/client-rsa.crt"),
            include_str!("testdata/version_one/client-rsa.key"),
        ),
    ];
    const EXPIRED: &str = include_str!("testdata/version_one/expired.crt");

    fn certificate(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    /// A client that presents a certificate without looking at it, as programs do that use other libraries.
    #[derive(Debug)]
    struct Presents(Arc<CertifiedKey>);

    impl ResolvesClientCert for Presents {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    /// What the server has seen of its client after the handshake.
    fn handshake(
        pem: &str,
        key: &str,
        version: &'static SupportedProtocolVersion,
    ) -> Result<Vec<CertificateDer<'static>>, rustls::Error> {
        let own = Authority::ephemeral("kubernetes").unwrap();
        let serving = own
            .sign(&LeafRequest {
                identity: Identity::new("kube-apiserver", &[]),
                usage: Usage::Server,
                dns_names: vec!["localhost".to_owned()],
                addresses: Vec::new(),
            })
            .unwrap();
        let server =
            crate::server_config_for_any_client(&serving.certificate, &serving.key, AUTHORITY).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let presents = Presents(Arc::new(CertifiedKey::new(vec![certificate(pem)], key)));
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(crate::any_certificate())
            .with_client_cert_resolver(Arc::new(presents));
        let mut server = ServerConnection::new(server).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut sent = Vec::new();
            client.write_tls(&mut sent).unwrap();
            server.read_tls(&mut sent.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut sent = Vec::new();
            server.write_tls(&mut sent).unwrap();
            client.read_tls(&mut sent.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        let seen = server.peer_certificates().unwrap_or_default();
        Ok(seen.iter().map(|c| c.clone().into_owned()).collect())
    }

    #[test]
    fn what_plain_openssl_x509_req_makes_proves_who_its_holder_is() {
        let authorities = ClientAuthorities::from_pem(AUTHORITY, "the client CA").unwrap();
        for (pem, key) in CLIENTS {
            for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
                let seen = handshake(pem, key, version).unwrap();
                assert!(authorities.signed(&seen));
                assert_eq!(
                    crate::subject_of(&seen[0]),
                    Some(Identity::new("alice", &["devs"]))
                );
            }
        }
    }

    /// As upstream's rule is: a certificate may leave its usage open, but not be for something else.
    #[test]
    fn a_certificate_that_names_no_usage_counts_and_one_for_servers_does_not() {
        let own = ClientAuthorities::from_pem(AUTHORITY, "the client CA").unwrap();
        let open = include_str!("testdata/version_one/without-usage.crt");
        assert!(own.signed(&[certificate(open)]));
        let of_servers = include_str!("testdata/version_one/server-usage.crt");
        assert!(!own.signed(&[certificate(of_servers)]));
    }

    #[test]
    fn a_certificate_without_its_key_breaks_the_handshake() {
        let ((mine, _), (_, anothers)) = (CLIENTS[0], CLIENTS[1]);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            handshake(mine, anothers, version).unwrap_err();
        }
    }

    /// Anybody can present a chain: it must not cost more than a look at a few signatures.
    #[test]
    fn a_chain_of_authorities_that_could_all_have_signed_each_other_is_given_up() {
        use super::{ASN1Time, Cell, INTERMEDIATES_MAX, SIGNATURES_MAX, Search, parse};
        let key = rcgen::KeyPair::generate().unwrap();
        let made: Vec<CertificateDer<'static>> = (0..20_u64)
            .map(|serial| {
                let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
                params.serial_number = Some(serial.into());
                params.self_signed(&key).unwrap().der().clone()
            })
            .collect();
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let search = Search {
            roots: Vec::new(),
            intermediates: made.iter().filter_map(parse).collect(),
            algorithms: &algorithms,
            now: ASN1Time::now(),
            signatures_left: Cell::new(SIGNATURES_MAX),
        };
        assert!(!search.is_trusted(&parse(&made[0]).unwrap(), INTERMEDIATES_MAX));
        assert_eq!(search.signatures_left.get(), 0);
    }

    #[test]
    fn another_authoritys_and_an_expired_one_do_not_count() {
        let own = ClientAuthorities::from_pem(AUTHORITY, "the client CA").unwrap();
        assert!(own.signed(&[certificate(CLIENTS[0].0)]));
        assert!(!own.signed(&[certificate(EXPIRED)]));
        let other = Authority::ephemeral("test-ca").unwrap();
        let other = ClientAuthorities::from_pem(other.certificate(), "the client CA").unwrap();
        assert!(!other.signed(&[certificate(CLIENTS[0].0)]));
        // One that the client brings along is no authority.
        assert!(!other.signed(&[certificate(CLIENTS[0].0), certificate(AUTHORITY)]));
    }
}
