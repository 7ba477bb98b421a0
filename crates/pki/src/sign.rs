//! Signing certificates of keys that are made here.
use crate::authority::{Authority, set_validity, today};
use crate::leaf::{Leaf, LeafRequest, Usage, holder};
use crate::subject::{self, Signed};
use crate::{LEAF_VALIDITY_DAYS, PkiError};
use jiff::ToSpan;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use std::time::Duration;

impl Authority {
    /// Signs a leaf without storing it.
    pub fn sign(&self, request: &LeafRequest) -> Result<Leaf, PkiError> {
        self.sign_within(request, |params| {
            let today = today();
            set_validity(params, today, today.saturating_add(LEAF_VALIDITY_DAYS.days()));
        })
    }

    /// The same for so long from now on, but no longer than this authority lasts.
    pub fn sign_for(&self, request: &LeafRequest, lifetime: Duration) -> Result<Leaf, PkiError> {
        let (from, until) = self.period(lifetime).map_err(|reason| failed(request, reason))?;
        self.sign_within(request, |params| {
            params.not_before = from.into();
            params.not_after = until.into();
        })
    }

    fn sign_within(
        &self,
        request: &LeafRequest,
        set_period: impl FnOnce(&mut CertificateParams),
    ) -> Result<Leaf, PkiError> {
        let fail = |error: rcgen::Error| failed(request, error.to_string());
        let mut params = holder(request).map_err(fail)?;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = match request.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::ServerAndClient => {
                vec![
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ]
            }
        };
        params.use_authority_key_identifier_extension = true;
        set_period(&mut params);
        let key = KeyPair::generate().map_err(fail)?;
        let certificate = params.signed_by(&key, self.issuer()).map_err(fail)?;
        let identity = &request.identity;
        let certificate = match identity.groups.len() {
            0 | 1 => certificate.pem(),
            _ => {
                let (subject, signer) = (subject::of(identity), self.issuer().key());
                subject::renamed(Signed::Certificate, certificate.der(), &subject, signer)
                    .ok_or_else(|| failed(request, "its groups cannot be put into it".to_owned()))?
            }
        };
        Ok(Leaf {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

fn failed(request: &LeafRequest, reason: String) -> PkiError {
    PkiError::Signing {
        name: request.identity.user.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, Validity};

    fn request(groups: &[&str]) -> LeafRequest {
        LeafRequest {
            identity: Identity::new("alice", groups),
            usage: Usage::Client,
            dns_names: vec!["a.example".to_owned()],
            addresses: Vec::new(),
        }
    }

    /// The certificate library would keep the last group alone.
    #[test]
    fn a_certificate_has_all_groups_that_are_asked_for() {
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let long = "g".repeat(300);
        let none: &[&str] = &[];
        for groups in [
            none,
            &["devs"],
            &["devs", "ops"],
            &["ops", "devs", "ops", "é", long.as_str()],
        ] {
            let request = request(groups);
            let leaf = authority.sign(&request).unwrap();
            let named = crate::identity_of(&leaf.certificate);
            assert_eq!(named.as_ref(), Some(&request.identity));
            assert!(authority.has_signed(&leaf.certificate), "{groups:?}");
            assert!(
                authority.still_good(&leaf.certificate, &leaf.key, &request),
                "{groups:?}"
            );
        }
    }

    #[test]
    fn a_certificate_lasts_as_long_as_is_asked_but_not_longer_than_its_authority() {
        let authority = Authority::ephemeral("kubernetes").unwrap();
        let lasts = |hours: u64| {
            let lifetime = Duration::from_secs(hours * 3600);
            let leaf = authority.sign_for(&request(&[]), lifetime).unwrap();
            Validity::of_pem(&leaf.certificate).unwrap()
        };
        assert_eq!(lasts(1).lifetime().as_secs(), 3600 + 300);
        let end = Validity::of_pem(authority.certificate()).unwrap().until;
        assert_eq!(lasts(50 * 365 * 24).until, end);
    }
}
