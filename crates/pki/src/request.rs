//! Requests for certificates that others make: read, judged by what they ask for, and signed.
use crate::authority::Authority;
use crate::leaf::Identity;
use crate::subject::{self, Signed};
use crate::{PkiError, Usage};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    SubjectPublicKeyInfo,
};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Clocks that are a little behind must not find a new certificate not valid yet.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

const LABEL: &str = "CERTIFICATE REQUEST";

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
    der: Vec<u8>,
}

impl CertificateRequest {
    /// Reads a PEM request; `None` if it isn't one, isn't signed with its own key, or names somebody in a way that cannot
    /// be read. Of several the first counts whose head begins a line, as for the API server's admission and whoever approves.
    pub fn parse(pem: &str) -> Option<Self> {
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
        let der = (block.label == LABEL).then_some(block.contents)?;
        let Contents { asked, .. } = Contents::read(&der)?;
        Some(Self { asked, der })
    }
}

/// What of a request goes into a certificate.
struct Contents {
    asked: Asked,
    key: SubjectPublicKeyInfo,
    names: Vec<SanType>,
    /// DER.
    subject: Vec<u8>,
}

impl Contents {
    /// Subjects of several values in one part, as Go writes organisations, are no less than those of as many parts.
    fn read(der: &[u8]) -> Option<Self> {
        let (_, request) = X509CertificationRequest::from_der(der).ok()?;
        request.verify_signature().ok()?;
        let info = &request.certification_request_info;
        let mut names = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(extension) => {
                    for name in &extension.general_names {
                        names.push(alternative(name)?);
                    }
                }
                // Whoever signs says what for.
                ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::BasicConstraints(_) => {}
                _ => return None,
            }
        }
        let count = |kind: fn(&SanType) -> bool| names.iter().filter(|name| kind(name)).count();
        let dns_names = count(|name| matches!(name, SanType::DnsName(_)));
        let addresses = count(|name| matches!(name, SanType::IpAddress(_)));
        let asked = Asked {
            identity: crate::tls::named(&info.subject)?,
            other_names: names.len() - dns_names - addresses,
            dns_names,
            addresses,
        };
        Some(Self {
            asked,
            key: SubjectPublicKeyInfo::from_der(info.subject_pki.raw).ok()?,
            names,
            subject: subject::copied(&info.subject)?,
        })
    }
}

/// `None` if it is of a kind that is for nobody here.
fn alternative(name: &GeneralName<'_>) -> Option<SanType> {
    Some(match name {
        GeneralName::DNSName(name) => SanType::DnsName((*name).try_into().ok()?),
        GeneralName::RFC822Name(name) => SanType::Rfc822Name((*name).try_into().ok()?),
        GeneralName::URI(name) => SanType::URI((*name).try_into().ok()?),
        GeneralName::IPAddress(bytes) => SanType::IpAddress(match bytes.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
        }),
        _ => return None,
    })
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
        let contents = Contents::read(&request.der).ok_or_else(|| fail("it cannot be read".to_owned()))?;
        let mut params = CertificateParams::default();
        // For a while: beside one, other names are not critical.
        params.distinguished_name = DistinguishedName::new();
        let identity = &request.asked.identity;
        params
            .distinguished_name
            .push(DnType::CommonName, identity.user.as_str());
        params.subject_alt_names = contents.names;
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
        let certificate = params
            .signed_by(&contents.key, self.issuer())
            .map_err(|error| fail(error.to_string()))?;
        let signer = self.issuer().key();
        let signed = subject::renamed(Signed::Certificate, certificate.der(), &contents.subject, signer);
        // What was judged is what is signed, however a request is put together.
        signed
            .filter(|signed| is_of(signed, identity))
            .ok_or_else(|| fail("its subject cannot be put into a certificate as it is".to_owned()))
    }
}

fn is_of(certificate: &str, identity: &Identity) -> bool {
    let der = pem::parse(certificate).map(pem::Pem::into_contents);
    der.is_ok_and(|der| {
        let made = x509_parser::parse_x509_certificate(&der);
        made.is_ok_and(|(_, made)| crate::tls::named(made.subject()).as_ref() == Some(identity))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private_key::{SEQUENCE, tagged};
    use rcgen::{KeyPair, PublicKeyData, SigningKey};

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

    /// A request of a subject (DER), PEM.
    fn request_of(subject: &[u8]) -> String {
        const VERSION: [u8; 3] = [0x02, 1, 0];
        const NO_ATTRIBUTES: [u8; 2] = [0xa0, 0];
        const ECDSA_WITH_SHA256: [u8; 10] = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
        const BIT_STRING: u8 = 0x03;
        let key = KeyPair::generate().unwrap();
        let of_key = key.subject_public_key_info();
        let fields = [&VERSION[..], subject, &of_key, &NO_ATTRIBUTES].concat();
        let fields = tagged(SEQUENCE, &fields);
        let signature = [vec![0], key.sign(&fields).unwrap()].concat();
        let algorithm = tagged(SEQUENCE, &ECDSA_WITH_SHA256);
        let parts = [fields, algorithm, tagged(BIT_STRING, &signature)].concat();
        pem::encode(&pem::Pem::new(LABEL, tagged(SEQUENCE, &parts)))
    }

    #[test]
    fn a_certificate_is_of_all_organizations_that_are_asked_for() {
        let authority = Authority::ephemeral("kubernetes").unwrap();
        for subject in subject::tests::of_several_organizations() {
            let request = CertificateRequest::parse(&request_of(&subject)).unwrap();
            let alice = Identity::new("alice", &["ops", "devs"]);
            assert_eq!(request.asked.identity, alice);
            let signed = authority
                .sign_request(&request, Usage::Client, Duration::from_secs(3600))
                .unwrap();
            assert!(authority.has_signed(&signed));
            assert_eq!(crate::identity_of(&signed), Some(alice));
            let signed = pem::parse(signed).unwrap();
            let (_, signed) = x509_parser::parse_x509_certificate(signed.contents()).unwrap();
            let mut units = signed.subject().iter_organizational_unit();
            assert_eq!(units.next().unwrap().as_str().unwrap(), "unit", "others stay");
        }
    }

    #[test]
    fn names_of_every_kind_are_counted_and_signed() {
        let mut params =
            CertificateParams::new(["n1".to_owned(), "10.0.0.1".to_owned(), "fd00::1".to_owned()]).unwrap();
        let [mail, uri] =
            ["a@b.c", "spiffe://a/b"].map(|name| rcgen::string::Ia5String::try_from(name).unwrap());
        params
            .subject_alt_names
            .extend([SanType::Rfc822Name(mail), SanType::URI(uri)]);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = CertificateRequest::parse(&pem).unwrap();
        let asked = &request.asked;
        assert_eq!((asked.dns_names, asked.addresses, asked.other_names), (1, 2, 2));
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let signed = authority
            .sign_request(&request, Usage::Server, Duration::from_secs(3600))
            .unwrap();
        let (names, addresses) = crate::names_of(&signed).unwrap();
        assert_eq!((names, addresses.len()), (vec!["n1".to_owned()], 2));
        let signed = pem::parse(signed).unwrap();
        let (_, signed) = x509_parser::parse_x509_certificate(signed.contents()).unwrap();
        assert!(!signed.is_ca());
        let names = signed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 5);
        assert!(!names.critical);
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

    /// Where others look past one, it must not be what is signed.
    #[test]
    fn a_request_whose_head_begins_no_line_is_passed_over() {
        let hidden = request("mallory", &["system:masters"], &[]);
        let shown = request("alice", &[], &[]);
        let read = CertificateRequest::parse(&format!("x{hidden}\n{shown}")).unwrap();
        assert_eq!(read.asked.identity, Identity::new("alice", &[]));
        assert_eq!(CertificateRequest::parse(&format!("x{hidden}")), None);
        let certificate = shown.replace(LABEL, "CERTIFICATE");
        assert_eq!(CertificateRequest::parse(&certificate), None);
    }

    #[test]
    fn what_is_no_request_is_none() {
        assert_eq!(CertificateRequest::parse("nonsense"), None);
        let pem = request("a", &[], &[]);
        let damaged: String = pem.replace("\nMI", "\nMJ");
        assert_eq!(CertificateRequest::parse(&damaged), None);
    }
}
