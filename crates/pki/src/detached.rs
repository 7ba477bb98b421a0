//! Signatures by which a new node recognises what the cluster says of itself: everybody can read the
//! text, only who knows a bootstrap token can have signed it.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// `content` signed with a bootstrap token: a JSON Web Signature without the content itself.
pub fn detached_signature(content: &[u8], token_id: &str, token_secret: &str) -> String {
    // Compared as text by who reads it: these very members in this very order.
    let header = format!(r#"{{"alg":"HS256","kid":"{token_id}"}}"#);
    let header = URL_SAFE_NO_PAD.encode(header);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, token_secret.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a JSON Web Signature, the middle one left out (RFC 7515, appendix F).
    #[test]
    fn the_signature_has_no_content_and_depends_on_all_of_it() {
        let signature = detached_signature(b"content", "joshua", "my voice is my passcode");
        let (header, rest) = signature.split_once("..").unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.decode(header).unwrap(),
            br#"{"alg":"HS256","kid":"joshua"}"#
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"my voice is my passcode");
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode("content"));
        hmac::verify(&key, message.as_bytes(), &URL_SAFE_NO_PAD.decode(rest).unwrap()).unwrap();
        assert_ne!(
            signature,
            detached_signature(b"content.", "joshua", "my voice is my passcode")
        );
        assert_ne!(signature, detached_signature(b"content", "joshua", "another"));
    }
}
