//! Service account tokens: JSON Web Tokens in compact form, signed with the cluster's `sa.key` and
//! checked with public keys. ES256 and RS256, by the primitives that TLS uses here anyway; a token's own
//! word about its algorithm counts only as far as the key that it names agrees.
use crate::files::{self, Secrecy};
use crate::{PkiError, error, private_key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pem::Pem;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use std::path::Path;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// An uncompressed point.
const P256_POINT_BYTES: usize = 65;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Es256,
    Rs256,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A key that tokens are checked with.
#[derive(Clone, Debug)]
pub struct TokenPublicKey {
    id: String,
    algorithm: Algorithm,
    /// An uncompressed point, or a PKCS#1 public key.
    key: Vec<u8>,
}

enum Private {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

/// Encodes the public key; what the certificate library reads itself leaves out PKCS#1.
impl PublicKeyData for Private {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Es256(key) => key.public_key().as_ref(),
            Self::Rs256(key) => key.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Es256(_) => &PKCS_ECDSA_P256_SHA256,
            Self::Rs256(_) => &PKCS_RSA_SHA256,
        }
    }
}

/// The key that tokens are signed with.
pub struct TokenSigner {
    private: Private,
    public: TokenPublicKey,
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSigner")
            .field("id", &self.public.id)
            .finish_non_exhaustive()
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl TokenPublicKey {
    /// A `PUBLIC KEY` in PEM, as `sa.pub` is, or a `CERTIFICATE`, whose key it is then.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        if let Ok(certificate) = CertificateDer::from_pem_slice(pem.as_bytes()) {
            let (_, certificate) = X509Certificate::from_der(&certificate)
                .map_err(|error| error::token_key(format!("it is no certificate ({error})")))?;
            return Self::from_der(certificate.public_key().raw);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| error::token_key(format!("it is no PEM public key ({error})")))?;
        Self::from_der(&der)
    }

    /// All keys of a PEM text, of which there has to be one: public ones, certificates', and those of private keys.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>, PkiError> {
        let blocks =
            pem::parse_many(pem).map_err(|error| error::token_key(format!("it is no PEM text ({error})")))?;
        let mut keys = Vec::new();
        for block in blocks {
            let tag = block.tag().to_owned();
            if tag.ends_with("PRIVATE KEY") {
                keys.push(TokenSigner::from_pem(&pem::encode(&block))?.public);
            } else if matches!(&*tag, "PUBLIC KEY" | "CERTIFICATE") {
                keys.push(Self::from_pem(&pem::encode(&block))?);
            }
        }
        if keys.is_empty() {
            return Err(error::token_key("there is no key in it"));
        }
        Ok(keys)
    }

    fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der)
            .map_err(|error| error::token_key(format!("it is no public key ({error})")))?;
        let algorithm = match info.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.10045.2.1" => Algorithm::Es256,
            "1.2.840.113549.1.1.1" => Algorithm::Rs256,
            other => {
                return Err(error::token_key(format!(
                    "algorithm {other} is neither ECDSA P-256 nor RSA"
                )));
            }
        };
        if algorithm == Algorithm::Es256 && info.subject_public_key.data.len() != P256_POINT_BYTES {
            return Err(error::token_key("of elliptic curves only P-256 can be used"));
        }
        Ok(Self {
            id: encode(digest(&SHA256, der)),
            algorithm,
            key: info.subject_public_key.data.to_vec(),
        })
    }

    /// The key as an entry of a JSON Web Key Set.
    pub fn jwk(&self) -> Option<Value> {
        let mut jwk = json!({"use": "sig", "kid": self.id, "alg": self.algorithm.name()});
        match self.algorithm {
            Algorithm::Es256 => {
                let point = self.key.get(1..).filter(|point| point.len() == 64)?;
                jwk["kty"] = json!("EC");
                jwk["crv"] = json!("P-256");
                jwk["x"] = json!(encode(&point[..32]));
                jwk["y"] = json!(encode(&point[32..]));
            }
            Algorithm::Rs256 => {
                let info = x509_parser::public_key::RSAPublicKey::from_der(&self.key).ok()?.1;
                let unsigned = |bytes: &[u8]| {
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    encode(&bytes[zeros..])
                };
                jwk["kty"] = json!("RSA");
                jwk["n"] = json!(unsigned(info.modulus));
                jwk["e"] = json!(unsigned(info.exponent));
            }
        }
        Some(jwk)
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.key)
            .verify(message, signature)
            .is_ok()
    }
}

impl TokenSigner {
    /// `sa.key` and `sa.pub` of a PKI directory, made (ECDSA P-256) if they are missing.
    ///
    /// # Errors
    /// A public key whose private one is elsewhere, or lost, stands alone: tokens signed with another would count for
    /// nobody who has it.
    pub fn ensure(directory: &Path) -> Result<Self, PkiError> {
        let path = directory.join("sa.key");
        let public = directory.join("sa.pub");
        let pem = match files::read_optional(&path)? {
            Some(pem) => pem,
            None if files::read_optional(&public)?.is_some() => return Err(error::half(&path, &public)),
            None => {
                let key = KeyPair::generate().map_err(|error| error::token_key(error.to_string()))?;
                let pem = key.serialize_pem();
                files::write(&path, pem.as_bytes(), Secrecy::Private)?;
                pem
            }
        };
        let signer = Self::from_pem(&pem)?;
        if files::read_optional(&public)?.is_none() {
            let pem = pem::encode(&Pem::new("PUBLIC KEY", signer.private.subject_public_key_info()));
            files::write(&public, pem.as_bytes(), Secrecy::Public)?;
        }
        Ok(signer)
    }

    /// A private key in PEM, ECDSA P-256 or RSA; also in the forms that kubeadm writes.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let unusable = |error: &dyn std::fmt::Display| error::token_key(error.to_string());
        let key = private_key::pkcs8(pem).map_err(error::token_key)?;
        let random = SystemRandom::new();
        let private = match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random) {
            Ok(key) => Private::Es256(key),
            Err(_) => Private::Rs256(RsaKeyPair::from_pkcs8(&key).map_err(|error| unusable(&error))?),
        };
        let public = TokenPublicKey::from_der(&private.subject_public_key_info())?;
        Ok(Self { private, public })
    }

    pub fn public(&self) -> &TokenPublicKey {
        &self.public
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> Result<String, PkiError> {
        let header = json!({"alg": self.public.algorithm.name(), "kid": self.public.id});
        let mut token = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let random = SystemRandom::new();
        let failed = |_| error::token_key("signing failed");
        let signature = match &self.private {
            Private::Es256(key) => key
                .sign(&random, token.as_bytes())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Private::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)
                    .map_err(failed)?;
                signature
            }
        };
        token.push('.');
        token.push_str(&encode(signature));
        Ok(token)
    }
}

/// The claims of a token that one of the keys has signed; what they say is still to be checked.
pub fn verified_claims(token: &str, keys: &[TokenPublicKey]) -> Option<Value> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
    let signature = decode(signature)?;
    keys.iter()
        // Tokens of keys without an id are tried with every key.
        .filter(|key| header["kid"].as_str().is_none_or(|id| id == key.id))
        .filter(|key| header["alg"] == key.algorithm.name())
        .find(|key| key.verifies(message.as_bytes(), &signature))?;
    serde_json::from_slice(&decode(claims)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_verified_by_its_key_only_and_unchanged_only() {
        let directory = tempfile::tempdir().unwrap();
        let signer = TokenSigner::ensure(directory.path()).unwrap();
        let claims = json!({"sub": "someone", "n": 1});
        let token = signer.sign(&claims).unwrap();
        let again = TokenSigner::ensure(directory.path()).unwrap();
        let stored = std::fs::read_to_string(directory.path().join("sa.pub")).unwrap();
        let stored = TokenPublicKey::from_pem(&stored).unwrap();
        assert_eq!(stored.id, again.public().id);
        assert_eq!(
            verified_claims(&token, std::slice::from_ref(&stored)),
            Some(claims)
        );
        assert_eq!(verified_claims(&token, &[]), None);
        let other = tempfile::tempdir().unwrap();
        let other = TokenSigner::ensure(other.path()).unwrap();
        assert_eq!(verified_claims(&token, &[other.public().clone()]), None);
        let parts: Vec<&str> = token.split('.').collect();
        let forged = encode(json!({"sub": "admin", "n": 1}).to_string());
        assert_eq!(
            verified_claims(
                &format!("{}.{forged}.{}", parts[0], parts[2]),
                std::slice::from_ref(&stored)
            ),
            None
        );
        let none = encode(json!({"alg": "none"}).to_string());
        assert_eq!(verified_claims(&format!("{none}.{}.", parts[1]), &[stored]), None);
        assert_eq!(verified_claims("", &[signer.public().clone()]), None);
    }

    /// Upstream's `--service-account-key-file` may hold several, as while they are rotated.
    #[test]
    fn all_keys_of_a_file_count() {
        let made = [(); 2].map(|()| {
            let directory = tempfile::tempdir().unwrap();
            TokenSigner::ensure(directory.path()).unwrap();
            let text = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
            (text("sa.key"), text("sa.pub"))
        });
        let [(old_key, old), (new_key, new)] = &made;
        for text in [
            format!("{old}{new}"),
            format!("{old_key}\n{new}"),
            format!("# keys\n{old}\n{new_key}"),
        ] {
            let keys = TokenPublicKey::all_from_pem(&text).unwrap();
            assert_eq!(keys.len(), 2, "{text}");
            for key in [old_key, new_key] {
                let token = TokenSigner::from_pem(key)
                    .unwrap()
                    .sign(&json!({"sub": "a"}))
                    .unwrap();
                assert!(verified_claims(&token, &keys).is_some());
            }
        }
        let of_p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        for unusable in ["", "nonsense", &of_p384.public_key_pem()] {
            TokenPublicKey::all_from_pem(unusable).unwrap_err();
        }
    }

    /// The first of them may have been written when `kill -9` came; the second alone is somebody's.
    #[test]
    fn a_public_key_is_made_of_its_private_one_and_not_the_reverse() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        TokenSigner::ensure(directory.path()).unwrap();
        let public = std::fs::read(at("sa.pub")).unwrap();
        std::fs::remove_file(at("sa.pub")).unwrap();
        TokenSigner::ensure(directory.path()).unwrap();
        assert_eq!(std::fs::read(at("sa.pub")).unwrap(), public);
        std::fs::remove_file(at("sa.key")).unwrap();
        let error = TokenSigner::ensure(directory.path()).unwrap_err();
        assert!(error.to_string().contains("sa.key is missing"), "{error}");
        assert!(!at("sa.key").exists());
    }

    /// kubeadm writes `sa.key` in PKCS#1.
    #[test]
    fn the_key_of_kubeadm_is_taken_and_its_public_one_written() {
        let directory = tempfile::tempdir().unwrap();
        let pem = include_str!("testdata/rsa-pkcs1.key");
        std::fs::write(directory.path().join("sa.key"), pem).unwrap();
        let signer = TokenSigner::ensure(directory.path()).unwrap();
        let stored = std::fs::read_to_string(directory.path().join("sa.pub")).unwrap();
        let stored = TokenPublicKey::from_pem(&stored).unwrap();
        let claims = json!({"sub": "someone"});
        let token = signer.sign(&claims).unwrap();
        let jwk = stored.jwk().unwrap();
        assert_eq!(
            (&jwk["kty"], &jwk["alg"], &jwk["e"]),
            (&json!("RSA"), &json!("RS256"), &json!("AQAB"))
        );
        assert_eq!(verified_claims(&token, &[stored]), Some(claims));
    }

    #[test]
    fn the_key_set_has_the_point() {
        let directory = tempfile::tempdir().unwrap();
        let jwk = TokenSigner::ensure(directory.path())
            .unwrap()
            .public()
            .jwk()
            .unwrap();
        assert_eq!((&jwk["kty"], &jwk["alg"]), (&json!("EC"), &json!("ES256")));
        assert_eq!(jwk["x"].as_str().unwrap().len(), 43);
    }
}
