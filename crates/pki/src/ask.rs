//! Requests for certificates that somebody else signs: the key is made here and stays here.
use crate::leaf::holder;
use crate::subject::{self, Signed};
use crate::{Leaf, LeafRequest, PkiError};
use rcgen::KeyPair;

/// Enough that no two keys of a cluster share a name.
const FINGERPRINT_BYTES: usize = 16;

/// A key, and the request for a certificate of it.
pub struct Asking {
    name: String,
    key: KeyPair,
    request: String,
}

impl Asking {
    /// Asks for what `request` describes; `key` (PEM) is one that an earlier attempt was made with.
    pub fn new(request: &LeafRequest, key: Option<&str>) -> Result<Self, PkiError> {
        let name = request.identity.user.clone();
        let fail = |reason: rcgen::Error| PkiError::Signing {
            name: name.clone(),
            reason: reason.to_string(),
        };
        let key = match key {
            Some(pem) => KeyPair::from_pem(pem).map_err(fail)?,
            None => KeyPair::generate().map_err(fail)?,
        };
        let params = holder(request).map_err(fail)?;
        let asked = params.serialize_request(&key).map_err(fail)?;
        let request = match request.identity.groups.len() {
            0 | 1 => asked.pem().map_err(fail)?,
            _ => {
                let subject = subject::of(&request.identity);
                let whole = subject::renamed(Signed::Request, asked.der(), &subject, &key);
                whole.ok_or_else(|| PkiError::Signing {
                    name: name.clone(),
                    reason: "its groups cannot be put into it".to_owned(),
                })?
            }
        };
        Ok(Self { name, key, request })
    }

    /// The request, PEM.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// The key, PEM.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// Names the key, in letters that go into an object's name.
    pub fn fingerprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.key.public_key_raw());
        digest.as_ref()[..FINGERPRINT_BYTES]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The certificate that came, with its key.
    ///
    /// # Errors
    /// One that is for another key is refused: nothing could be done with it.
    pub fn complete(self, certificate: String) -> Result<Leaf, PkiError> {
        let fail = |reason: String| PkiError::Signing {
            name: self.name.clone(),
            reason,
        };
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())
            .map_err(|error| fail(format!("what came is no certificate: {error}")))?;
        let parsed = pem
            .parse_x509()
            .map_err(|error| fail(format!("what came is no certificate: {error}")))?;
        if parsed.public_key().subject_public_key.data.as_ref() != self.key.public_key_raw() {
            return Err(fail("the certificate that came is for another key".to_owned()));
        }
        Ok(Leaf {
            certificate,
            key: self.key(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, CertificateRequest, Identity, Usage, Validity};
    use std::time::Duration;

    fn request() -> LeafRequest {
        LeafRequest {
            identity: Identity::new("system:node:n1", &["system:nodes"]),
            usage: Usage::Client,
            dns_names: vec!["n1".into()],
            addresses: vec![[10, 0, 0, 1].into()],
        }
    }

    #[test]
    fn all_groups_are_asked_for() {
        let mut wanted = request();
        wanted.identity.groups.push("ops".to_owned());
        let asking = Asking::new(&wanted, None).unwrap();
        let read = CertificateRequest::parse(asking.request()).unwrap();
        assert_eq!(read.asked.identity, wanted.identity);
        assert_eq!((read.asked.dns_names, read.asked.addresses), (1, 1));
    }

    #[test]
    fn what_is_asked_for_comes_back_with_its_key() {
        let asking = Asking::new(&request(), None).unwrap();
        let read = CertificateRequest::parse(asking.request()).unwrap();
        assert_eq!(read.asked.identity, request().identity);
        assert_eq!((read.asked.dns_names, read.asked.addresses), (1, 1));
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let signed = authority
            .sign_request(&read, Usage::Client, Duration::from_secs(3600))
            .unwrap();
        let again = Asking::new(&request(), Some(&asking.key())).unwrap();
        assert_eq!(again.fingerprint(), asking.fingerprint());
        let leaf = again.complete(signed.clone()).unwrap();
        assert!(authority.has_signed(&leaf.certificate));
        let validity = Validity::of_pem(&signed).unwrap();
        assert_eq!(validity.lifetime().as_secs(), 3600 + 300);
        let other = Asking::new(&request(), None).unwrap();
        let refused = other.complete(signed).err().unwrap().to_string();
        assert!(refused.contains("another key"), "{refused}");
    }
}
