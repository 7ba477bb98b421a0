//! An authority whose key is kept elsewhere: nothing can be signed here, but whether it has signed what is here can be told.
use crate::leaf::{Leaf, LeafRequest, Usage};
use crate::{PkiError, Validity, files, private_key};
use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::path::Path;
use x509_parser::certificate::X509Certificate;

/// The certificates of such an authority.
pub struct KeylessAuthority {
    text: String,
    /// DER; one at least.
    certificates: Vec<Vec<u8>>,
}

/// Why a certificate does not do in the place of one that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is no certificate")]
    NoCertificate,
    #[error("its key cannot be read: {0}")]
    NoKey(String),
    #[error("its key is that of another one")]
    OtherKey,
    #[error("this authority has not signed it")]
    OtherAuthority,
    #[error("the certificate of the authority that has signed it is not valid now")]
    AuthorityNotNow,
    #[error("it is valid from {0} on only")]
    Early(Timestamp),
    #[error("it has ended at {0}")]
    Ended(Timestamp),
    #[error("it is none for {0}")]
    Usage(&'static str),
    #[error("it is not for {0}")]
    Name(String),
}

impl KeylessAuthority {
    /// Reads its certificate, which others may follow that are trusted as well.
    ///
    /// # Errors
    /// The file holds no certificate of an authority.
    pub fn open(path: &Path) -> Result<Self, PkiError> {
        let text = files::read(path)?;
        let certificates = ders(&text);
        let first = certificates.first();
        let is_one = first.is_some_and(|der| parsed(der).is_some_and(|first| first.is_ca()));
        match is_one {
            true => Ok(Self { text, certificates }),
            false => Err(PkiError::Unusable {
                path: path.to_path_buf(),
                reason: "it holds no certificate of an authority".to_owned(),
            }),
        }
    }

    /// PEM.
    pub fn certificate(&self) -> &str {
        &self.text
    }

    /// Whether a certificate, which those between it and this authority may follow, does for what `request` asks for, but for
    /// whom it names.
    pub fn judge(&self, leaf: &Leaf, request: &LeafRequest, now: Timestamp) -> Result<(), Unfit> {
        let chain = ders(&leaf.certificate);
        let chain: Option<Vec<X509Certificate<'_>>> = chain.iter().map(|der| parsed(der)).collect();
        let chain = chain.ok_or(Unfit::NoCertificate)?;
        let (own, between) = chain.split_first().ok_or(Unfit::NoCertificate)?;
        let key = private_key::pkcs8(&leaf.key).map_err(Unfit::NoKey)?;
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key))
            .map_err(|error| Unfit::NoKey(error.to_string()))?;
        if own.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(Unfit::OtherKey);
        }
        let validity = Validity::of_pem(&leaf.certificate).ok_or(Unfit::NoCertificate)?;
        if validity.from > now {
            return Err(Unfit::Early(validity.from));
        }
        if validity.has_ended(now) {
            return Err(Unfit::Ended(validity.until));
        }
        self.vouches(own, between, now)?;
        if let Some(who) = no_use(own, request.usage) {
            return Err(Unfit::Usage(who));
        }
        match lacking(&leaf.certificate, request) {
            Some(name) => Err(Unfit::Name(name)),
            None => Ok(()),
        }
    }

    /// A certificate counts that is signed by the authority, or by one of those between, each of which the next has signed.
    fn vouches<'c>(
        &self,
        own: &X509Certificate<'c>,
        between: &[X509Certificate<'c>],
        now: Timestamp,
    ) -> Result<(), Unfit> {
        let mut last = own;
        let mut between = between.iter();
        loop {
            match self.has_signed(last, now) {
                Some(true) => return Ok(()),
                Some(false) => return Err(Unfit::AuthorityNotNow),
                None => {}
            }
            let next = between.next().filter(|next| is_signed_by(last, next));
            last = next.ok_or(Unfit::OtherAuthority)?;
            if !is_valid(last, now) {
                return Err(Unfit::AuthorityNotNow);
            }
        }
    }

    /// Whether one of its certificates that has signed another is valid; `None` if none has.
    fn has_signed(&self, certificate: &X509Certificate<'_>, now: Timestamp) -> Option<bool> {
        let all = self.certificates.iter().filter_map(|der| parsed(der));
        let signers = all.filter(|one| is_signed_by(certificate, one));
        signers
            .map(|one| is_valid(&one, now))
            .reduce(|any, one| any || one)
    }
}

/// The certificates of a PEM text.
fn ders(text: &str) -> Vec<Vec<u8>> {
    let blocks = pem::parse_many(text).unwrap_or_default();
    let certificates = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE");
    certificates.map(pem::Pem::into_contents).collect()
}

fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(certificate)
}

/// By key and by name, as whoever verifies a connection looks for it.
fn is_signed_by(certificate: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    authority.is_ca()
        && certificate.issuer().as_raw() == authority.subject().as_raw()
        && certificate.verify_signature(Some(authority.public_key())).is_ok()
}

fn is_valid(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    let (validity, now) = (certificate.validity(), now.as_second());
    validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp()
}

/// Who would need a certificate and cannot use it. One that names no use is for all.
fn no_use(certificate: &X509Certificate<'_>, usage: Usage) -> Option<&'static str> {
    let Ok(Some(uses)) = certificate.extended_key_usage() else {
        return None;
    };
    let serves = uses.value.any || uses.value.server_auth;
    let calls = uses.value.any || uses.value.client_auth;
    match usage {
        Usage::Server | Usage::ServerAndClient if !serves => Some("servers"),
        Usage::Client | Usage::ServerAndClient if !calls => Some("clients"),
        _ => None,
    }
}

/// A name or address that is asked for and that a certificate is not for.
fn lacking(certificate: &str, request: &LeafRequest) -> Option<String> {
    let (names, addresses) = crate::tls::names_of(certificate).unwrap_or_default();
    let is_named = |wanted: &String| names.iter().any(|name| is_for(name, wanted));
    let name = request.dns_names.iter().find(|wanted| !is_named(wanted));
    let address = || {
        request
            .addresses
            .iter()
            .find(|wanted| !addresses.contains(wanted))
    };
    name.cloned().or_else(|| address().map(ToString::to_string))
}

/// Whether a certificate's name, which may stand for all names of a domain, is the one that is asked for.
fn is_for(name: &str, wanted: &str) -> bool {
    let is_below = |domain: &str| {
        let below = wanted.split_once('.');
        below.is_some_and(|(first, rest)| !first.is_empty() && rest.eq_ignore_ascii_case(domain))
    };
    name.eq_ignore_ascii_case(wanted) || name.strip_prefix("*.").is_some_and(is_below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, SanType};
    use std::net::IpAddr;

    fn server() -> LeafRequest {
        LeafRequest {
            identity: Identity::new("kube-apiserver", &[]),
            usage: Usage::Server,
            dns_names: vec!["m1".to_owned(), "kubernetes.default".to_owned()],
            addresses: vec![IpAddr::from([10, 0, 0, 1])],
        }
    }

    /// An authority of which only the certificate lies in a directory, and with its key.
    fn authority() -> (tempfile::TempDir, Authority, KeylessAuthority) {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        let keyless = KeylessAuthority::open(&dir.path().join("ca.crt")).unwrap();
        (dir, authority, keyless)
    }

    #[test]
    fn what_the_authority_would_sign_does_and_all_else_is_told() {
        let (_dir, authority, keyless) = authority();
        let leaf = authority.sign(&server()).unwrap();
        let now = Timestamp::now();
        assert_eq!(keyless.judge(&leaf, &server(), now), Ok(()));
        let other = authority.sign(&server()).unwrap();
        let foreign = Authority::ephemeral("kubernetes").unwrap().sign(&server());
        let with_key = |key: &str| Leaf {
            key: key.to_owned(),
            ..leaf.clone()
        };
        let validity = Validity::of_pem(&leaf.certificate).unwrap();
        let client = LeafRequest {
            usage: Usage::Client,
            ..server()
        };
        let mut wider = server();
        wider.dns_names.push("lb.example".to_owned());
        let mut elsewhere = server();
        elsewhere.addresses.push(IpAddr::from([10, 0, 0, 2]));
        let before = validity.from - jiff::SignedDuration::from_secs(1);
        for (leaf, request, moment, want) in [
            (&with_key(&other.key), server(), now, Unfit::OtherKey),
            (&foreign.unwrap(), server(), now, Unfit::OtherAuthority),
            (&leaf, server(), before, Unfit::Early(validity.from)),
            (&leaf, server(), validity.until, Unfit::Ended(validity.until)),
            (&leaf, client, now, Unfit::Usage("clients")),
            (&leaf, wider, now, Unfit::Name("lb.example".to_owned())),
            (&leaf, elsewhere, now, Unfit::Name("10.0.0.2".to_owned())),
        ] {
            assert_eq!(keyless.judge(leaf, &request, moment), Err(want));
        }
        let none = Leaf {
            certificate: "none".to_owned(),
            ..leaf.clone()
        };
        assert_eq!(keyless.judge(&none, &server(), now), Err(Unfit::NoCertificate));
        let judged = keyless.judge(&with_key("none"), &server(), now);
        assert!(matches!(judged, Err(Unfit::NoKey(_))), "{judged:?}");
    }

    #[test]
    fn an_authority_between_vouches_where_its_certificate_follows() {
        let (_dir, authority, keyless) = authority();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let between = params.signed_by(&key, authority.issuer()).unwrap().pem();
        let path = Path::new("between");
        let signer = Authority::from_pem(between.clone(), path, &key.serialize_pem(), path).unwrap();
        let leaf = signer.sign(&server()).unwrap();
        let now = Timestamp::now();
        assert_eq!(keyless.judge(&leaf, &server(), now), Err(Unfit::OtherAuthority));
        let chain = Leaf {
            certificate: format!("{}{between}", leaf.certificate),
            ..leaf
        };
        assert_eq!(keyless.judge(&chain, &server(), now), Ok(()));
    }

    /// What lies beside the authority's certificate counts if it is one of an authority, by its name, and while it lasts.
    #[test]
    fn only_authorities_vouch_and_under_their_names_and_while_they_last() {
        let (dir, authority, _) = authority();
        let key = KeyPair::generate().unwrap().serialize_pem();
        let key = || KeyPair::from_pem(&key).unwrap();
        let called = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let mut leaf = called("one");
        leaf.is_ca = IsCa::NoCa;
        let mut ended = called("one");
        ended.not_after = rcgen::date_time_ymd(2000, 1, 1);
        let signer = rcgen::Issuer::new(called("one"), key());
        let own = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let address = SanType::IpAddress(IpAddr::from([10, 0, 0, 1]));
        params.subject_alt_names.push(address);
        let signed = Leaf {
            certificate: params.signed_by(&own, &signer).unwrap().pem(),
            key: own.serialize_pem(),
        };
        let request = LeafRequest {
            dns_names: Vec::new(),
            ..server()
        };
        for (beside, want) in [
            (called("one"), Ok(())),
            (called("another"), Err(Unfit::OtherAuthority)),
            (leaf, Err(Unfit::OtherAuthority)),
            (ended, Err(Unfit::AuthorityNotNow)),
        ] {
            let beside = beside.self_signed(&key()).unwrap().pem();
            let path = dir.path().join("both");
            std::fs::write(&path, format!("{}{beside}", authority.certificate())).unwrap();
            let both = KeylessAuthority::open(&path).unwrap();
            assert_eq!(both.judge(&signed, &request, Timestamp::now()), want);
        }
    }

    #[test]
    fn a_certificate_of_no_authority_is_none() {
        let (dir, authority, _) = authority();
        let leaf = authority.sign(&server()).unwrap();
        for (text, name) in [(leaf.certificate.as_str(), "leaf"), ("none", "none")] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let error = KeylessAuthority::open(&path).err().unwrap().to_string();
            assert!(error.contains("no certificate of an authority"), "{error}");
        }
    }

    #[test]
    fn a_name_may_stand_for_those_of_a_domain() {
        for (name, wanted, want) in [
            ("a.b", "a.b", true),
            ("A.b", "a.B", true),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("*.b", ".b", false),
            ("*.b", "a.a.b", false),
            ("a.b", "b.b", false),
        ] {
            assert_eq!(is_for(name, wanted), want, "{name} {wanted}");
        }
    }
}
