//! Several bundles of certificates as one.
use crate::times::Span;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};

/// The certificates of these texts (PEM), in their order, each once, but for those that have ended. What is none, and what
/// follows it in its text, is left out.
pub fn merged_certificates(texts: &[&str], now: UnixTime) -> String {
    let mut merged: Vec<CertificateDer<'static>> = Vec::new();
    for text in texts {
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()).map_while(Result::ok) {
            let is_certificate = x509_parser::parse_x509_certificate(&certificate).is_ok();
            if is_certificate && !Span::of(&certificate).has_ended(now) && !merged.contains(&certificate) {
                merged.push(certificate);
            }
        }
    }
    let encode = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let block = |certificate: &CertificateDer<'_>| {
        pem::encode_config(&pem::Pem::new("CERTIFICATE", certificate.to_vec()), encode)
    };
    merged.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn certificates_of_both_are_there_once_and_those_that_have_ended_are_not() {
        let [one, two] = ["one", "two"].map(|name| Authority::ephemeral(name).unwrap());
        let (one, two) = (one.certificate(), two.certificate());
        let ended = {
            let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().pem()
        };
        let count = |text: &str| text.matches("BEGIN CERTIFICATE").count();
        let now = UnixTime::now();
        let merged = merged_certificates(&[&format!("{one}{ended}"), two, one], now);
        assert_eq!(count(&merged), 2);
        assert_eq!(merged_certificates(&[&merged, one], now), merged, "nothing new");
        assert_eq!(merged_certificates(&[&merged, two], now), merged, "nothing new");
        let half = &two[..two.len() / 2];
        let no_certificate = pem::encode(&pem::Pem::new("CERTIFICATE", "nonsense"));
        for broken in ["", "nonsense", half, &no_certificate] {
            assert_eq!(merged_certificates(&[broken, &merged], now), merged, "{broken}");
        }
        assert_eq!(merged_certificates(&[&ended], now), "");
    }
}
