//! From when until when certificates count, and when that changes next.
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};

/// Seconds since 1970, both of them valid ones. A certificate that cannot be read here counts always: who verifies it
/// reads it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    from: u64,
    until: u64,
}

impl Span {
    pub fn of(der: &CertificateDer<'_>) -> Self {
        let second = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
        match x509_parser::parse_x509_certificate(der) {
            Ok((_, certificate)) => Self {
                from: second(certificate.validity().not_before),
                until: second(certificate.validity().not_after),
            },
            Err(_) => Self {
                from: 0,
                until: u64::MAX,
            },
        }
    }

    pub fn contains(self, now: UnixTime) -> bool {
        (self.from..=self.until).contains(&now.as_secs())
    }

    pub fn has_ended(self, now: UnixTime) -> bool {
        self.until < now.as_secs()
    }
}

/// Of authorities, with when each of them is valid, those that are at a moment; `None` if all are.
pub fn valid(
    authorities: &[CertificateDer<'static>],
    spans: &[Span],
    now: UnixTime,
) -> Option<RootCertStore> {
    if spans.iter().all(|span| span.contains(now)) {
        return None;
    }
    let mut valid = RootCertStore::empty();
    let both = authorities.iter().zip(spans);
    for (certificate, _) in both.filter(|(_, span)| span.contains(now)) {
        // It could be read before.
        let _ = valid.add(certificate.clone());
    }
    Some(valid)
}

/// The next moment after `now` at which one of these begins to count or counts no more.
pub fn next_change(spans: impl Iterator<Item = Span>, now: UnixTime) -> Option<u64> {
    spans
        .flat_map(|span| [span.from, span.until.saturating_add(1)])
        .filter(|moment| *moment > now.as_secs())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_beginning_and_each_end_is_a_change() {
        let spans = [Span { from: 10, until: 19 }, Span { from: 15, until: 30 }];
        for (now, next) in [
            (0, Some(10)),
            (9, Some(10)),
            (10, Some(15)),
            (15, Some(20)),
            (19, Some(20)),
            (20, Some(31)),
            (31, None),
        ] {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
            assert_eq!(next_change(spans.into_iter(), at), next, "{now}");
        }
        let at = |second| UnixTime::since_unix_epoch(Duration::from_secs(second));
        let counts = [9, 10, 19, 20].map(|second| spans[0].contains(at(second)));
        assert_eq!(counts, [false, true, true, false]);
    }
}
