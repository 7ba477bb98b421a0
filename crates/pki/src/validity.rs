//! From when until when a certificate is valid.
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Validity {
    /// Of the first certificate of a PEM text; `None` if there is none.
    pub fn of_pem(text: &str) -> Option<Self> {
        let pem = pem::parse_many(text).ok()?;
        let first = pem.iter().find(|block| block.tag() == "CERTIFICATE")?;
        let (_, certificate) = x509_parser::parse_x509_certificate(first.contents()).ok()?;
        let end = |time: i64| Timestamp::from_second(time).ok();
        Some(Self {
            from: end(certificate.validity().not_before.timestamp())?,
            until: end(certificate.validity().not_after.timestamp())?,
        })
    }

    /// The time between them.
    pub fn lifetime(self) -> Duration {
        Duration::try_from(self.until.duration_since(self.from)).unwrap_or_default()
    }

    /// Whether it has ended by `now`.
    pub fn has_ended(self, now: Timestamp) -> bool {
        self.until <= now
    }

    /// The moment at which `share` (from 0 to 1) of the lifetime is over.
    pub fn after(self, share: f64) -> Timestamp {
        let passed = SignedDuration::try_from(self.lifetime().mul_f64(share.clamp(0.0, 1.0)));
        self.from
            .checked_add(passed.unwrap_or_default())
            .unwrap_or(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_lifetime_are_moments_between_its_ends() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let validity = Validity {
            from: at(1000),
            until: at(2000),
        };
        assert_eq!(
            (validity.after(0.0), validity.after(0.7), validity.after(2.0)),
            (at(1000), at(1700), at(2000))
        );
        assert!(validity.has_ended(at(2000)) && !validity.has_ended(at(1999)));
        assert_eq!(Validity::of_pem("nonsense"), None);
    }
}
