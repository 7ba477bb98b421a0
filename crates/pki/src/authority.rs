//! The certificate authority of a cluster, which signs leaves.
use crate::files::{self, Secrecy};
use crate::leaf::{Leaf, LeafRequest};
use crate::{AUTHORITY_VALIDITY_YEARS, PkiError, RENEW_BEFORE_DAYS, error, private_key};
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A certificate authority: `<name>.crt` and `<name>.key` of a PKI directory.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    directory: PathBuf,
}

impl std::fmt::Debug for Authority {
    // The key is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads the authority from `directory`, or makes it there if neither file exists.
    ///
    /// # Errors
    /// A certificate without its key (or the reverse) is never replaced: everything that trusts it
    /// would stop working. Only a key whose certificate this made as well, and was kept from putting
    /// in its place, gets that.
    pub fn ensure(directory: &Path, name: &str, common_name: &str) -> Result<Self, PkiError> {
        let certificate_path = directory.join(format!("{name}.crt"));
        let key_path = directory.join(format!("{name}.key"));
        let stored = (
            files::read_optional(&certificate_path)?,
            files::read_optional(&key_path)?,
        );
        let (certificate, key) = match stored {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => {
                let (certificate, key) = create(common_name)?;
                // Whole before there is a key: by it the next start knows the key for its own, if this one is killed.
                files::write_beside(&certificate_path, certificate.as_bytes(), Secrecy::Public)?;
                files::write(&key_path, key.as_bytes(), Secrecy::Private)?;
                files::put_in_place(&certificate_path)?;
                (certificate, key)
            }
            (Some(_), None) => return Err(error::half(&key_path, &certificate_path)),
            (None, Some(key)) => {
                let certificate = Self::begun(&certificate_path, &key, &key_path)?;
                files::put_in_place(&certificate_path)?;
                (certificate, key)
            }
        };
        let mut authority = Self::from_pem(certificate, &certificate_path, &key, &key_path)?;
        authority.directory = directory.to_path_buf();
        Ok(authority)
    }

    /// Reads the authority from its two files.
    pub fn open(certificate_path: &Path, key_path: &Path) -> Result<Self, PkiError> {
        let read = |path: &Path| {
            files::read_optional(path)?.ok_or_else(|| PkiError::Unusable {
                path: path.to_path_buf(),
                reason: "there is no such file".to_owned(),
            })
        };
        Self::from_pem(
            read(certificate_path)?,
            certificate_path,
            &read(key_path)?,
            key_path,
        )
    }

    pub(crate) fn from_pem(
        certificate: String,
        certificate_path: &Path,
        key: &str,
        key_path: &Path,
    ) -> Result<Self, PkiError> {
        let unusable = |path: &Path| {
            let path = path.to_path_buf();
            move |reason: rcgen::Error| PkiError::Unusable {
                path,
                reason: reason.to_string(),
            }
        };
        let key = private_key::pkcs8(key).map_err(|reason| PkiError::Unusable {
            path: key_path.to_path_buf(),
            reason,
        })?;
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)).map_err(unusable(key_path))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(unusable(certificate_path))?;
        let der = first_der(&certificate, certificate_path)?;
        // As while one of the two files is replaced: nobody would trust what is signed.
        let is_pair = x509_parser::parse_x509_certificate(&der).is_ok_and(|(_, parsed)| {
            parsed.public_key().subject_public_key.data.as_ref() == issuer.key().public_key_raw()
        });
        if !is_pair {
            return Err(PkiError::Unusable {
                path: key_path.to_path_buf(),
                reason: format!("it is not the key of {}", certificate_path.display()),
            });
        }
        Ok(Self {
            certificate,
            issuer,
            der,
            directory: PathBuf::new(),
        })
    }

    /// When its own certificate ends.
    pub(crate) fn end(&self) -> Option<SystemTime> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.der).ok()?;
        let second = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(second))
    }

    /// What signs.
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// An authority that lives in memory only.
    pub fn ephemeral(common_name: &str) -> Result<Self, PkiError> {
        let fail = |reason: rcgen::Error| PkiError::Signing {
            name: common_name.to_owned(),
            reason: reason.to_string(),
        };
        let (certificate, key) = create(common_name)?;
        let key = KeyPair::from_pem(&key).map_err(fail)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(fail)?;
        let der = first_der(&certificate, Path::new("(in memory)"))?;
        Ok(Self {
            certificate,
            issuer,
            der,
            directory: PathBuf::new(),
        })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The leaf `<name>.crt`/`<name>.key` of the authority's directory, signed anew if it is
    /// missing, was signed by another authority, ends soon, or doesn't cover the request.
    pub fn ensure_leaf(&self, name: &str, request: &LeafRequest) -> Result<Leaf, PkiError> {
        self.ensure_leaf_in(&self.directory, name, request)
    }

    /// As [`Self::ensure_leaf`], in another directory.
    pub fn ensure_leaf_in(
        &self,
        directory: &Path,
        name: &str,
        request: &LeafRequest,
    ) -> Result<Leaf, PkiError> {
        let certificate_path = directory.join(format!("{name}.crt"));
        let key_path = directory.join(format!("{name}.key"));
        if let (Some(certificate), Some(key)) = (
            files::read_optional(&certificate_path)?,
            files::read_optional(&key_path)?,
        ) && self.still_good(&certificate, &key, request)
        {
            return Ok(Leaf { certificate, key });
        }
        let leaf = self.sign(request)?;
        files::write(&key_path, leaf.key.as_bytes(), Secrecy::Private)?;
        files::write(&certificate_path, leaf.certificate.as_bytes(), Secrecy::Public)?;
        Ok(leaf)
    }

    /// Whether this authority signed a PEM certificate.
    pub fn has_signed(&self, certificate: &str) -> bool {
        let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else {
            return false;
        };
        let (Ok(leaf), Ok((_, authority))) =
            (pem.parse_x509(), x509_parser::parse_x509_certificate(&self.der))
        else {
            return false;
        };
        leaf.verify_signature(Some(authority.public_key())).is_ok()
    }

    /// Whether a stored leaf can go on being used for `request`.
    pub fn still_good(&self, certificate: &str, key: &str, request: &LeafRequest) -> bool {
        let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else {
            return false;
        };
        let Ok(parsed) = pem.parse_x509() else {
            return false;
        };
        let Ok(Ok(key)) =
            private_key::pkcs8(key).map(|key| KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)))
        else {
            return false;
        };
        let Ok((_, authority)) = x509_parser::parse_x509_certificate(&self.der) else {
            return false;
        };
        let now = jiff::Timestamp::now().as_second();
        let until = parsed.validity().not_after.timestamp();
        parsed.verify_signature(Some(authority.public_key())).is_ok()
            && parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
            && until - now > RENEW_BEFORE_DAYS * 86_400
            && crate::tls::subject_of(&pem.contents).as_ref() == Some(&request.identity)
            && covers(&parsed, request)
    }
}

/// Whether a PEM certificate is for these names and addresses, and for this identity.
pub fn covers_request(certificate: &str, request: &LeafRequest) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else {
        return false;
    };
    let is_covered = pem.parse_x509().is_ok_and(|parsed| covers(&parsed, request));
    is_covered && crate::tls::subject_of(&pem.contents).as_ref() == Some(&request.identity)
}

fn covers(certificate: &x509_parser::certificate::X509Certificate<'_>, request: &LeafRequest) -> bool {
    use x509_parser::extensions::GeneralName;
    let names = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.as_slice(),
        _ => &[],
    };
    let has_name = |wanted: &String| {
        names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(found) if found == wanted))
    };
    let has_address = |wanted: &IpAddr| {
        let octets = match wanted {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        names
            .iter()
            .any(|name| matches!(name, GeneralName::IPAddress(found) if *found == octets))
    };
    request.dns_names.iter().all(has_name) && request.addresses.iter().all(has_address)
}

fn first_der(certificate: &str, path: &Path) -> Result<Vec<u8>, PkiError> {
    match x509_parser::pem::parse_x509_pem(certificate.as_bytes()) {
        Ok((_, pem)) => Ok(pem.contents),
        Err(reason) => Err(PkiError::Unusable {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }),
    }
}

fn create(common_name: &str) -> Result<(String, String), PkiError> {
    let fail = |reason: rcgen::Error| PkiError::Signing {
        name: common_name.to_owned(),
        reason: reason.to_string(),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    params.subject_alt_names = vec![SanType::DnsName(common_name.try_into().map_err(fail)?)];
    let today = today();
    set_validity(
        &mut params,
        today,
        today.saturating_add(i32::from(AUTHORITY_VALIDITY_YEARS).years()),
    );
    let key = KeyPair::generate().map_err(fail)?;
    let certificate = params.self_signed(&key).map_err(fail)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

pub(crate) fn today() -> Date {
    jiff::Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// Valid from the day before `from`: clocks of joining machines may lag a little.
pub(crate) fn set_validity(params: &mut CertificateParams, from: Date, until: Date) {
    let moment = |date: Date| {
        rcgen::date_time_ymd(
            i32::from(date.year()),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = moment(from.saturating_sub(1.day()));
    params.not_after = moment(until);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, Usage};

    fn server() -> LeafRequest {
        LeafRequest {
            identity: Identity::new("kube-apiserver", &[]),
            usage: Usage::Server,
            dns_names: vec!["localhost".into(), "kubernetes".into()],
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
        }
    }

    #[test]
    fn authority_and_leaf_survive_a_second_start() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        let leaf = first.ensure_leaf("apiserver", &server()).unwrap();
        let second = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        assert_eq!(first.certificate(), second.certificate());
        assert_eq!(
            leaf.certificate,
            second.ensure_leaf("apiserver", &server()).unwrap().certificate
        );
    }

    #[test]
    fn leaf_is_signed_anew_when_an_address_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        let old = authority.ensure_leaf("apiserver", &server()).unwrap();
        let mut wider = server();
        wider.addresses.push(IpAddr::from([10, 0, 0, 7]));
        let new = authority.ensure_leaf("apiserver", &wider).unwrap();
        assert_ne!(old.certificate, new.certificate);
        assert!(authority.still_good(&new.certificate, &new.key, &wider));
    }

    #[test]
    fn leaf_of_another_authority_is_not_good() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ours = Authority::ensure(here.path(), "ca", "kubernetes").unwrap();
        let theirs = Authority::ensure(there.path(), "ca", "kubernetes").unwrap();
        let leaf = theirs.sign(&server()).unwrap();
        assert!(!ours.still_good(&leaf.certificate, &leaf.key, &server()));
        assert!(theirs.has_signed(&leaf.certificate) && !ours.has_signed(&leaf.certificate));
    }

    #[test]
    fn authority_without_its_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        let error = Authority::ensure(dir.path(), "ca", "kubernetes")
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("ca.key is missing"), "{error}");
    }

    /// `kill -9` between the two files.
    #[test]
    fn an_authority_that_was_half_written_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // Before there was a key: nobody has seen the certificate.
        std::fs::write(at("ca.crt.new"), "half a certi").unwrap();
        let made = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        assert!(!at("ca.crt.new").exists());
        std::fs::rename(at("ca.crt"), at("ca.crt.new")).unwrap();
        let again = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        assert_eq!(again.certificate(), made.certificate());
        assert_eq!(std::fs::read_to_string(at("ca.crt")).unwrap(), made.certificate());
        assert!(!at("ca.crt.new").exists());
    }

    /// Its certificate may be kept elsewhere.
    #[test]
    fn a_key_that_was_not_made_here_gets_no_certificate() {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for dir in [&here, &there] {
            Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        }
        let at = |name: &str| here.path().join(name);
        std::fs::remove_file(at("ca.crt")).unwrap();
        let key = std::fs::read(at("ca.key")).unwrap();
        for beside in [None, Some(there.path().join("ca.crt"))] {
            if let Some(foreign) = beside {
                std::fs::copy(foreign, at("ca.crt.new")).unwrap();
            }
            let error = Authority::ensure(here.path(), "ca", "kubernetes").unwrap_err();
            assert!(error.to_string().contains("ca.crt is missing"), "{error}");
            assert_eq!(std::fs::read(at("ca.key")).unwrap(), key);
            assert!(!at("ca.crt").exists());
        }
    }

    #[test]
    fn authority_with_anothers_key_is_refused() {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for dir in [&here, &there] {
            Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        }
        std::fs::copy(there.path().join("ca.key"), here.path().join("ca.key")).unwrap();
        let error = Authority::ensure(here.path(), "ca", "kubernetes").unwrap_err();
        assert!(error.to_string().contains("it is not the key of"), "{error}");
    }

    #[test]
    fn keys_are_readable_by_the_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        let mode = std::fs::metadata(dir.path().join("ca.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
