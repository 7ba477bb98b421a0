//! TLS towards servers whose authorities were given, as the `caBundle` of a webhook: a certificate that is itself among
//! them counts, also if it calls itself an authority, as what `openssl req -x509` makes does. The TLS library takes no
//! authority for a server, and doesn't ask whether an authority is still valid.
use crate::PkiError;
use crate::client_auth::roots;
use crate::times::{Span, valid};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use x509_parser::asn1_rs::FromDer;
use x509_parser::prelude::{ASN1Time, X509Certificate};

/// Takes what these authorities (PEM) have signed while they are valid, and themselves; `what` names them in errors.
///
/// # Errors
/// They are none.
pub fn given_authorities(pem: &str, what: &'static str) -> Result<Arc<dyn ServerCertVerifier>, PkiError> {
    let signed = verifier(roots(pem.as_bytes(), what)?).map_err(|error| PkiError::Tls {
        what,
        reason: error.to_string(),
    })?;
    // All of them can be read, as was seen just now.
    let given: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map_while(Result::ok)
        .collect();
    let spans = given.iter().map(Span::of).collect();
    Ok(Arc::new(GivenAuthorities { signed, given, spans }))
}

fn verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
}

#[derive(Debug)]
struct GivenAuthorities {
    /// By any of them.
    signed: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
    /// When each of them is valid.
    spans: Vec<Span>,
}

impl GivenAuthorities {
    /// What is wrong with authorities that have signed a certificate and are not valid.
    fn not_valid(&self, now: UnixTime) -> Error {
        let is_early = !self.spans.iter().any(|span| span.has_ended(now));
        Error::InvalidCertificate(match is_early {
            true => CertificateError::NotValidYet,
            false => CertificateError::Expired,
        })
    }
}

impl ServerCertVerifier for GivenAuthorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.given.contains(end_entity) {
            let verified = |verifier: &WebPkiServerVerifier| {
                verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
            };
            // First by all of them: whatever else is wrong is to be told.
            let by_any = verified(&self.signed)?;
            let Some(valid) = valid(&self.given, &self.spans, now) else {
                return Ok(by_any);
            };
            // Without any that is valid there is no verifier.
            let by_valid = verifier(valid).ok().and_then(|valid| verified(&valid).ok());
            return by_valid.ok_or_else(|| self.not_valid(now));
        }
        usable(end_entity, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// Whether a trusted certificate may be a server's now.
fn usable(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let bad = |why: CertificateError| Error::InvalidCertificate(why);
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| bad(CertificateError::BadEncoding))?;
    let now = ASN1Time::from_timestamp(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
        .map_err(|_| bad(CertificateError::Expired))?;
    let validity = parsed.validity();
    if now < validity.not_before {
        return Err(bad(CertificateError::NotValidYet));
    }
    if now > validity.not_after {
        return Err(bad(CertificateError::Expired));
    }
    match parsed.extended_key_usage() {
        Ok(Some(usage)) if !usage.value.any && !usage.value.server_auth => {
            Err(bad(CertificateError::InvalidPurpose))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        date_time_ymd,
    };

    /// A certificate that signed itself.
    fn own(change: impl FnOnce(&mut CertificateParams)) -> (String, CertificateDer<'static>) {
        let mut params = CertificateParams::new(vec!["hook.default.svc".to_owned()]).unwrap();
        change(&mut params);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (made.pem(), made.der().clone())
    }

    fn verified(pem: &str, presented: &CertificateDer<'_>, name: &str) -> Result<(), Error> {
        let verifier = given_authorities(pem, "CA").unwrap();
        let name = ServerName::try_from(name).unwrap();
        let verified = verifier.verify_server_cert(presented, &[], &name, &[], UnixTime::now());
        verified.map(|_| ())
    }

    /// An authority that is valid from one year to another, and what it has signed for longer.
    fn authority(name: &str, from: i32, until: i32) -> (String, CertificateDer<'static>) {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::from_ca_cert_pem(&pem, key).unwrap();
        let leaf = CertificateParams::new(vec!["hook.default.svc".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        (pem, leaf.der().clone())
    }

    /// As upstream's rule is: a chain ends with its authority, whenever that was given.
    #[test]
    fn an_authority_that_has_ended_vouches_for_no_server_and_others_beside_it_still_do() {
        let (ended, of_ended) = authority("ended", 2001, 2002);
        let (valid, of_valid) = authority("valid", 2001, 2999);
        let (early, of_early) = authority("early", 2998, 2999);
        let invalid = |why| -> Result<(), Error> { Err(Error::InvalidCertificate(why)) };
        let at = |pem: &str, presented: &CertificateDer<'_>| verified(pem, presented, "hook.default.svc");
        assert_eq!(at(&ended, &of_ended), invalid(CertificateError::Expired));
        assert_eq!(at(&early, &of_early), invalid(CertificateError::NotValidYet));
        let both = format!("{ended}{valid}");
        assert_eq!(at(&both, &of_ended), invalid(CertificateError::Expired));
        assert_eq!(at(&both, &of_valid), Ok(()));
        assert!(verified(&both, &of_valid, "other.default.svc").is_err());
        let name = ServerName::try_from("hook.default.svc").unwrap();
        let in_2001 = UnixTime::since_unix_epoch(std::time::Duration::from_secs(980_000_000));
        let verifier = given_authorities(&ended, "CA").unwrap();
        let then = verifier.verify_server_cert(&of_ended, &[], &name, &[], in_2001);
        assert!(then.is_ok(), "it was one: {then:?}");
    }

    #[test]
    fn a_server_may_present_the_very_certificate_that_is_trusted() {
        let authority = |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        };
        for (pem, der) in [own(authority), own(|_| {})] {
            assert_eq!(verified(&pem, &der, "hook.default.svc"), Ok(()));
            assert!(verified(&pem, &der, "other.default.svc").is_err(), "another name");
        }
        let (pem, _) = own(authority);
        let (_, other) = own(authority);
        assert!(
            verified(&pem, &other, "hook.default.svc").is_err(),
            "another certificate"
        );
        let (pem, ended) = own(|params| params.not_after = date_time_ymd(2001, 1, 1));
        let error = verified(&pem, &ended, "hook.default.svc").unwrap_err();
        assert_eq!(error, Error::InvalidCertificate(CertificateError::Expired));
        let (pem, client) =
            own(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        let error = verified(&pem, &client, "hook.default.svc").unwrap_err();
        assert_eq!(error, Error::InvalidCertificate(CertificateError::InvalidPurpose));
    }
}
