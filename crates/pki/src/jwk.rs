//! Keys of a JSON Web Key Set, as identity providers publish theirs, and the signatures they make.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde_json::Value;

/// Names of the signature algorithms that can be checked.
pub const JWT_ALGORITHMS: &[&str] = &[
    "RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512",
];

/// A key of a set.
#[derive(Clone, Debug)]
pub struct JsonWebKey {
    id: Option<String>,
    key: Key,
}

#[derive(Clone, Debug)]
enum Key {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// A token taken apart. Nothing in it is to be believed before [`Self::signed_by`].
pub struct UnverifiedToken<'t> {
    pub header: Value,
    pub claims: Value,
    message: &'t str,
    signature: Vec<u8>,
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

impl JsonWebKey {
    /// One entry of `keys`; `None` for kinds of keys that cannot be used, and those that don't sign.
    pub fn parse(jwk: &Value) -> Option<Self> {
        if jwk["use"].as_str().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let member = |name: &str| decode(jwk[name].as_str()?);
        let point = |length: usize| {
            let (x, y) = (member("x")?, member("y")?);
            (x.len() == length && y.len() == length).then(|| [vec![4], x, y].concat())
        };
        let key = match (jwk["kty"].as_str()?, jwk["crv"].as_str()) {
            ("RSA", _) => Key::Rsa {
                n: member("n")?,
                e: member("e")?,
            },
            ("EC", Some("P-256")) => Key::P256(point(32)?),
            ("EC", Some("P-384")) => Key::P384(point(48)?),
            _ => return None,
        };
        Some(Self {
            id: jwk["kid"].as_str().map(str::to_owned),
            key,
        })
    }

    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let rsa = |n: &[u8], e: &[u8], parameters: &RsaParameters| {
            RsaPublicKeyComponents { n, e }
                .verify(parameters, message, signature)
                .is_ok()
        };
        let ec = |point: &[u8], algorithm: &'static EcdsaVerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, point)
                .verify(message, signature)
                .is_ok()
        };
        match (&self.key, algorithm) {
            (Key::Rsa { n, e }, "RS256") => rsa(n, e, &RSA_PKCS1_2048_8192_SHA256),
            (Key::Rsa { n, e }, "RS384") => rsa(n, e, &RSA_PKCS1_2048_8192_SHA384),
            (Key::Rsa { n, e }, "RS512") => rsa(n, e, &RSA_PKCS1_2048_8192_SHA512),
            (Key::Rsa { n, e }, "PS256") => rsa(n, e, &RSA_PSS_2048_8192_SHA256),
            (Key::Rsa { n, e }, "PS384") => rsa(n, e, &RSA_PSS_2048_8192_SHA384),
            (Key::Rsa { n, e }, "PS512") => rsa(n, e, &RSA_PSS_2048_8192_SHA512),
            (Key::P256(point), "ES256") => ec(point, &ECDSA_P256_SHA256_FIXED),
            (Key::P384(point), "ES384") => ec(point, &ECDSA_P384_SHA384_FIXED),
            _ => false,
        }
    }
}

impl<'t> UnverifiedToken<'t> {
    /// `None` when it is no JSON Web Token in compact form.
    pub fn parse(token: &'t str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let value = |part: &str| serde_json::from_slice(&decode(part)?).ok();
        Some(Self {
            header: value(header)?,
            claims: value(claims)?,
            message,
            signature: decode(signature)?,
        })
    }

    /// Whether one of the keys, that which the token names if it names one, has signed it.
    pub fn signed_by(&self, keys: &[JsonWebKey]) -> bool {
        let (id, algorithm) = (self.header["kid"].as_str(), &self.header["alg"]);
        let Some(algorithm) = algorithm.as_str() else {
            return false;
        };
        keys.iter()
            .filter(|key| id.is_none() || key.id() == id)
            .any(|key| key.verifies(algorithm, self.message.as_bytes(), &self.signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenSigner;
    use serde_json::json;

    #[test]
    fn tokens_are_recognised_by_the_published_key_of_either_kind() {
        let directory = tempfile::tempdir().unwrap();
        for signer in [
            TokenSigner::ensure(directory.path()).unwrap(),
            TokenSigner::from_pem(include_str!("testdata/rsa-pkcs1.key")).unwrap(),
        ] {
            let jwk = signer.public().jwk().unwrap();
            let token = signer.sign(&json!({"sub": "a"})).unwrap();
            let parsed = UnverifiedToken::parse(&token).unwrap();
            let key = JsonWebKey::parse(&jwk).unwrap();
            assert!(parsed.signed_by(std::slice::from_ref(&key)));
            assert_eq!(parsed.claims["sub"], "a");
            // Another key that claims the same id, and a changed token.
            let other = tempfile::tempdir().unwrap();
            let mut foreign = TokenSigner::ensure(other.path()).unwrap().public().jwk().unwrap();
            foreign["kid"] = jwk["kid"].clone();
            assert!(!parsed.signed_by(&[JsonWebKey::parse(&foreign).unwrap()]));
            let forged = format!("{}x.{}", parsed.message, token.rsplit_once('.').unwrap().1);
            assert!(UnverifiedToken::parse(&forged).is_none_or(|token| !token.signed_by(&[key])));
        }
        assert!(JsonWebKey::parse(&json!({"kty": "oct", "k": "AAAA"})).is_none());
        assert!(JsonWebKey::parse(&json!({"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"})).is_none());
        assert!(UnverifiedToken::parse("abc").is_none());
    }
}
