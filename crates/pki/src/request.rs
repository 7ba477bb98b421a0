//! Requests for certificates that others make: read, judged by what they ask for, and signed.
use crate::authority::Authority;
use crate::leaf::Identity;
use crate::{PkiError, Usage};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use std::time::{Duration, SystemTime};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// Clocks that are a little behind must not find a new certificate not valid yet.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub identity: Identity,
    pub dns_names: usize,
    pub addresses: usize,
    /// Names of other kinds: mail addresses, URIs.
    pub other_names: usize,
}

/// A request that can be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    pub asked: Asked,
    pem: String,
}

impl CertificateRequest {
    /// Reads a PEM request; `None` if it isn't one, isn't signed with its own key, or names somebody in a way that cannot
    /// be read.
    pub fn parse(pem: &str) -> Option<Self> {
        let parsed = CertificateSigningRequestParams::from_pem(pem).ok()?;
        let der = pem::parse(pem).ok()?;
        let (_, request) = X509CertificationRequest::from_der(der.contents()).ok()?;
        let identity = crate::tls::named(&request.certification_request_info.subject)?;
        let names = &parsed.params.subject_alt_names;
        let count = |kind: fn(&SanType) -> bool| names.iter().filter(|name| kind(name)).count();
        let dns_names = count(|name| matches!(name, SanType::DnsName(_)));
        let addresses = count(|name| matches!(name, SanType::IpAddress(_)));
        Some(Self {
            asked: Asked {
                identity,
                other_names: names.len() - dns_names - addresses,
                dns_names,
                addresses,
            },
            pem: pem.to_owned(),
        })
    }
}

impl Authority {
    /// From when until when something is valid that is signed now: what outlives its authority counts no longer than that.
    ///
    /// # Errors
    /// The authority has ended.
    pub(crate) fn period(&self, lifetime: Duration) -> Result<(SystemTime, SystemTime), String> {
        let now = SystemTime::now();
        let end = self.end().ok_or("the authority cannot be read")?;
        if end <= now {
            return Err("the authority's own certificate has ended".to_owned());
        }
        Ok((now - BACKDATED, (now + lifetime).min(end)))
    }

    /// Signs what a request asks for, for `usage` and as long as `lifetime`; the certificate, PEM.
    pub fn sign_request(
        &self,
        request: &CertificateRequest,
        usage: Usage,
        lifetime: Duration,
    ) -> Result<String, PkiError> {
        let fail = |reason: String| PkiError::Signing {
            name: request.asked.identity.user.clone(),
            reason,
        };
        if request.asked.identity.groups.len() > 1 {
            // As for own leaves: a dropped group would give too few rights without a word.
            return Err(fail("at most one group can be put into a certificate".to_owned()));
        }
        let mut parsed = CertificateSigningRequestParams::from_pem(&request.pem)
            .map_err(|error| fail(error.to_string()))?;
        let params = &mut parsed.params;
        // Whatever was asked for: nobody becomes an authority by this.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = match usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::ServerAndClient => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        params.use_authority_key_identifier_extension = true;
        let (from, until) = self.period(lifetime).map_err(fail)?;
        params.not_before = from.into();
        params.not_after = until.into();
        let certificate = parsed
            .signed_by(self.issuer())
            .map_err(|error| fail(error.to_string()))?;
        // What was judged is what is signed, however a request is put together.
        let (_, made) = x509_parser::parse_x509_certificate(certificate.der())
            .map_err(|error| fail(error.to_string()))?;
        if crate::tls::named(made.subject()).as_ref() != Some(&request.asked.identity) {
            return Err(fail(
                "its subject cannot be put into a certificate as it is".to_owned(),
            ));
        }
        Ok(certificate.pem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn request(user: &str, groups: &[&str], names: &[&str]) -> String {
        let mut params =
            CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_is_read_and_signed_for_what_it_may_be_used_for() {
        let pem = request("system:node:n1", &["system:nodes"], &["n1", "10.0.0.1"]);
        let request = CertificateRequest::parse(&pem).unwrap();
        let asked = request.asked.clone();
        assert_eq!(asked.identity, Identity::new("system:node:n1", &["system:nodes"]));
        assert_eq!((asked.dns_names, asked.addresses, asked.other_names), (1, 1, 0));
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let signed = authority
            .sign_request(&request, Usage::Client, Duration::from_secs(3600))
            .unwrap();
        assert!(authority.has_signed(&signed));
        let (_, pem) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let lasts =
            certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
        assert_eq!(lasts, 3600 + 300);
        let usages = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usages.client_auth && !usages.server_auth);
        assert_eq!(crate::subject_of(&pem.contents), Some(asked.identity));
    }

    /// Whoever judges a request and whoever reads the certificate see the same name, though there are two.
    #[test]
    fn a_request_with_two_common_names_is_judged_by_the_one_that_is_signed() {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let names = &mut params.distinguished_name;
        names.push(DnType::CommonName, "system:node:n1");
        names.push(DnType::OrganizationName, "system:nodes");
        // The same type by its number.
        names.push(
            DnType::CustomDnType(vec![2, 5, 4, 3]),
            "system:kube-controller-manager",
        );
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = CertificateRequest::parse(&pem).unwrap();
        let asked = Identity::new("system:kube-controller-manager", &["system:nodes"]);
        assert_eq!(request.asked.identity, asked);
        let signed = Authority::ephemeral("kubernetes")
            .unwrap()
            .sign_request(&request, Usage::Client, Duration::from_secs(3600))
            .unwrap();
        assert_eq!(crate::identity_of(&signed), Some(asked));
        // And so does who reads a certificate that has both.
        let both = params.self_signed(&key).unwrap();
        let read = crate::subject_of(both.der()).unwrap();
        assert_eq!(read.user, "system:kube-controller-manager");
    }

    #[test]
    fn a_request_whose_names_are_no_text_is_none() {
        for names in [
            [DnType::CommonName, DnType::OrganizationName],
            [DnType::OrganizationName, DnType::CommonName],
        ] {
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            let [text, wide] = names;
            params.distinguished_name.push(text, "a");
            let masters = rcgen::string::BmpString::try_from("system:masters").unwrap();
            params
                .distinguished_name
                .push(wide, rcgen::DnValue::BmpString(masters));
            let key = KeyPair::generate().unwrap();
            let pem = params.serialize_request(&key).unwrap().pem().unwrap();
            assert_eq!(CertificateRequest::parse(&pem), None);
        }
    }

    #[test]
    fn no_certificate_outlives_its_authority() {
        let pem = request("alice", &[], &[]);
        let request = CertificateRequest::parse(&pem).unwrap();
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let long = Duration::from_secs(100 * 365 * 24 * 3600);
        let signed = authority.sign_request(&request, Usage::Client, long).unwrap();
        assert_eq!(crate::expires(&signed), crate::expires(authority.certificate()));
    }

    #[test]
    fn what_is_no_request_is_none() {
        assert_eq!(CertificateRequest::parse("nonsense"), None);
        let pem = request("a", &[], &[]);
        let damaged: String = pem.replace("\nMI", "\nMJ");
        assert_eq!(CertificateRequest::parse(&damaged), None);
    }
}
