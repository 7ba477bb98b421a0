//! The authorities and keys that all masters share, left in the API for the next master: encrypted with a key that only
//! people pass on, as kubeadm does (AES-256-GCM, the nonce in front).
use crate::certificates::Signer;
use crate::layout::Layout;
use crate::{ClusterError, files};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Duration;

const KEY_BYTES: usize = 32;
/// The Secret's name.
pub const SECRET: &str = "kubeadm-certs";
/// How long it lasts.
pub const TTL: Duration = Duration::from_secs(2 * 3600);

/// What people pass on: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateKey([u8; KEY_BYTES]);

impl std::fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CertificateKey")
    }
}

impl std::fmt::Display for CertificateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for CertificateKey {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        let bad = || {
            ClusterError::Configuration(format!(
                "the certificate key must be {} hexadecimal digits, as `orlop certs certificate-key` prints them",
                2 * KEY_BYTES
            ))
        };
        if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
            return Err(bad());
        }
        let mut key = [0; KEY_BYTES];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Self(key))
    }
}

impl CertificateKey {
    pub fn generate() -> Result<Self, ClusterError> {
        let mut key = [0; KEY_BYTES];
        random(&mut key)?;
        Ok(Self(key))
    }

    fn cipher(&self) -> Result<LessSafeKey, ClusterError> {
        let key = UnboundKey::new(&AES_256_GCM, &self.0)
            .map_err(|_| ClusterError::Configuration("the certificate key is no AES key".to_owned()))?;
        Ok(LessSafeKey::new(key))
    }

    pub fn encrypt(&self, text: &[u8]) -> Result<Vec<u8>, ClusterError> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let mut sealed = text.to_vec();
        self.cipher()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .map_err(|_| ClusterError::Configuration("a certificate cannot be encrypted".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>, ClusterError> {
        let wrong = || {
            ClusterError::Configuration(
                "the certificates cannot be decrypted with this --certificate-key: pass the one that was printed last"
                    .to_owned(),
            )
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut text = sealed.to_vec();
        let length = self
            .cipher()?
            .open_in_place(nonce, Aad::empty(), &mut text)
            .map_err(|_| wrong())?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

fn random(bytes: &mut [u8]) -> Result<(), ClusterError> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| ClusterError::Token(crate::token::TokenError::NoRandom))
}

/// Key in the Secret and file of everything that is shared; private ones second.
fn shared(layout: &Layout) -> Vec<(String, PathBuf)> {
    let mut files: Vec<(String, PathBuf)> = Signer::ALL
        .into_iter()
        .flat_map(|signer| {
            let label = signer.label();
            [
                (format!("{label}.crt"), signer.certificate(layout)),
                (format!("{label}.key"), signer.key(layout)),
            ]
        })
        .collect();
    for name in ["sa.key", "sa.pub"] {
        files.push((name.to_owned(), layout.pki().join(name)));
    }
    files
}

/// The Secret with everything shared, which goes when its owner, the token's Secret, does.
pub fn secret(layout: &Layout, key: &CertificateKey, owner: &Value) -> Result<Value, ClusterError> {
    let mut data = Map::new();
    for (name, path) in shared(layout) {
        let sealed = key.encrypt(files::read(&path)?.as_bytes())?;
        data.insert(name, json!(STANDARD.encode(sealed)));
    }
    Ok(json!({
        "apiVersion": "v1",
        "data": data,
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "namespace": "kube-system",
            "ownerReferences": [{
                "apiVersion": "v1",
                "blockOwnerDeletion": true,
                "controller": true,
                "kind": "Secret",
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
            }],
        },
        "type": "Opaque",
    }))
}

/// The files of a Secret, decrypted: where each goes.
pub fn open(
    layout: &Layout,
    key: &CertificateKey,
    secret: &Value,
) -> Result<Vec<(PathBuf, String)>, ClusterError> {
    shared(layout)
        .into_iter()
        .map(|(name, path)| {
            let missing = || {
                ClusterError::Configuration(format!(
                    "the Secret {SECRET} has no {name}: upload the certificates again on a master"
                ))
            };
            let sealed = secret["data"][&name].as_str().ok_or_else(missing)?;
            let sealed = STANDARD.decode(sealed).map_err(|_| missing())?;
            let text = String::from_utf8(key.decrypt(&sealed)?).map_err(|_| missing())?;
            Ok((path, text))
        })
        .collect()
}

/// The files where people have copied them to from another master: where each is. `authority`: the cluster's, PEM.
pub fn copied(layout: &Layout, authority: &str) -> Result<Vec<(PathBuf, String)>, ClusterError> {
    let mut files = Vec::new();
    let mut missing = Vec::new();
    for (_, path) in shared(layout) {
        match files::read_optional(&path)? {
            Some(text) => files.push((path, text)),
            None => missing.push(path.display().to_string()),
        }
    }
    if !missing.is_empty() {
        return Err(ClusterError::Configuration(format!(
            "give --certificate-key, or copy what masters share from one of them; missing are {}",
            missing.join(", ")
        )));
    }
    let own = Signer::Cluster.certificate(layout);
    let is_clusters = files.iter().any(|(path, text)| {
        *path == own && orlop_pki::public_key_hash(text) == orlop_pki::public_key_hash(authority)
    });
    match is_clusters {
        true => Ok(files),
        false => Err(ClusterError::Configuration(format!(
            "{} is not the authority of this cluster: copy what masters share from one of its masters",
            own.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_pki::TokenSigner;

    /// kubeadm's manual distribution.
    #[test]
    fn what_people_copied_is_taken_if_it_is_all_and_of_the_cluster() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (layout, other) = (Layout::new(here.path()), Layout::new(there.path()));
        for layout in [&layout, &other] {
            for signer in Signer::ALL {
                signer.ensure(layout).unwrap();
            }
            TokenSigner::ensure(&layout.pki()).unwrap();
        }
        let authority = |layout: &Layout| files::read(&Signer::Cluster.certificate(layout)).unwrap();
        assert_eq!(copied(&layout, &authority(&layout)).unwrap().len(), 8);
        let error = copied(&layout, &authority(&other)).unwrap_err().to_string();
        assert!(error.contains("is not the authority of this cluster"), "{error}");
        files::remove(&layout.pki().join("sa.key")).unwrap();
        let error = copied(&layout, &authority(&layout)).unwrap_err().to_string();
        assert!(
            error.contains("--certificate-key") && error.ends_with("pki/sa.key"),
            "{error}"
        );
    }

    #[test]
    fn what_is_shared_comes_back_with_the_same_key_only() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for signer in Signer::ALL {
            signer.ensure(&layout).unwrap();
        }
        TokenSigner::ensure(&layout.pki()).unwrap();
        let key = CertificateKey::generate().unwrap();
        let secret = secret(&layout, &key, &json!({"metadata": {"name": "x", "uid": "u"}})).unwrap();
        let clear = files::read(&layout.pki().join("ca.key")).unwrap();
        let sealed = STANDARD
            .decode(secret["data"]["ca.key"].as_str().unwrap())
            .unwrap();
        assert!(!String::from_utf8_lossy(&sealed).contains("PRIVATE"));
        let opened = open(&layout, &key, &secret).unwrap();
        assert_eq!(opened.len(), 8);
        assert!(opened.contains(&(layout.pki().join("ca.key"), clear)));
        let other = CertificateKey::generate().unwrap();
        let error = open(&layout, &other, &secret).unwrap_err().to_string();
        assert!(error.contains("--certificate-key"), "{error}");
    }

    #[test]
    fn keys_are_64_hexadecimal_digits() {
        let key = CertificateKey::generate().unwrap();
        assert_eq!(key.to_string().parse::<CertificateKey>().unwrap(), key);
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<CertificateKey>().is_err(), "{bad}");
        }
    }

    /// Test case 14 of the specification of GCM: zero key of 256 bits, zero nonce, a zero block.
    #[test]
    fn the_cipher_is_the_one_that_kubeadm_uses() {
        let key = CertificateKey([0; KEY_BYTES]);
        let sealed = [
            [0_u8; NONCE_LEN].as_slice(),
            &[
                0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e, 0xc5, 0xd3, 0xba, 0xf3, 0x9d,
                0x18,
            ],
            &[
                0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0, 0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9,
                0x19,
            ],
        ]
        .concat();
        assert_eq!(key.decrypt(&sealed).unwrap(), [0; 16]);
    }
}
