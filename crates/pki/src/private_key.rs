//! Private keys in the older forms, which Go's programs write (kubeadm's `ca.key` and `sa.key` are PKCS#1, or SEC1 with
//! its `encryptionAlgorithm: ECDSA-P256`), brought into the one that everything here reads.
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

const VERSION_ZERO: [u8; 3] = [0x02, 0x01, 0x00];
/// `rsaEncryption` with its NULL.
const RSA: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// `ecPublicKey` on `prime256v1`.
const P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07,
];
/// The same on `secp384r1`.
const P384: [u8; 18] = [
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22,
];
pub const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
/// A SEC1 key of P-256 with its public point is shorter than this, one of P-384 longer.
const P256_BYTES_MAX: usize = 140;

/// The key of a PEM text in PKCS#8, DER.
pub fn pkcs8(pem: &str) -> Result<Vec<u8>, String> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    Ok(match &key {
        PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
        PrivateKeyDer::Pkcs1(key) => wrapped(&RSA, key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => {
            let key = key.secret_sec1_der();
            match key.len() < P256_BYTES_MAX {
                true => wrapped(&P256, key),
                false => wrapped(&P384, key),
            }
        }
        _ => return Err("it is in none of the forms PKCS#8, PKCS#1 and SEC1".to_owned()),
    })
}

fn wrapped(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let inner = [&VERSION_ZERO[..], algorithm, &tagged(OCTET_STRING, key)].concat();
    tagged(SEQUENCE, &inner)
}

/// A DER element.
pub fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short @ ..=0x7f) => bytes.push(short),
        _ => {
            let digits: Vec<u8> = length
                .to_be_bytes()
                .into_iter()
                .skip_while(|byte| *byte == 0)
                .collect();
            bytes.push(0x80 | digits.len() as u8);
            bytes.extend(digits);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Identity, LeafRequest, TokenSigner, Usage};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;

    const RSA_KEY: &str = include_str!("testdata/rsa-pkcs1.key");
    const EC_KEY: &str = include_str!("testdata/ec-sec1.key");

    /// Issue 7, exchange of parts: what kubeadm made is signed with by our controllers.
    #[test]
    fn authorities_with_kubeadms_keys_sign() {
        for key in [RSA_KEY, EC_KEY] {
            let der = pkcs8(key).unwrap();
            let own = KeyPair::try_from(&PrivatePkcs8KeyDer::from(der)).unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, "kubernetes");
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            std::fs::write(at("ca.crt"), params.self_signed(&own).unwrap().pem()).unwrap();
            std::fs::write(at("ca.key"), key).unwrap();
            let authority = Authority::open(&at("ca.crt"), &at("ca.key")).unwrap();
            let leaf = authority
                .sign(&LeafRequest {
                    identity: Identity::new("system:node:n1", &["system:nodes"]),
                    usage: Usage::Client,
                    dns_names: vec![],
                    addresses: vec![],
                })
                .unwrap();
            assert!(authority.has_signed(&leaf.certificate));
        }
    }

    #[test]
    fn tokens_are_signed_with_either() {
        for key in [RSA_KEY, EC_KEY] {
            assert!(TokenSigner::from_pem(key).is_ok());
        }
        assert!(pkcs8("nonsense").is_err());
    }
}
