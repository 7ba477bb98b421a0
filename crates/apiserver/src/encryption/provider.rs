//! One way to seal values. The forms are upstream's.
//!
//! | provider | stored value |
//! |---|---|
//! | `aescbc` | `k8s:enc:aescbc:v1:KEY:`, 16 bytes of initialisation vector, AES-CBC with PKCS #7 padding |
//! | `aesgcm` | `k8s:enc:aesgcm:v1:KEY:`, 12 bytes of nonce, AES-GCM that authenticates the object's key in the store too |
//! | `secretbox` | `k8s:enc:secretbox:v1:KEY:`, 24 bytes of nonce, NaCl's secretbox |
//! | `kms` | `k8s:enc:kms:v2:NAME:`, a message with the value and what a plugin needs to open its key (see [`super::kms`]) |
//! | `identity` | the value itself |
use super::kms::Kms;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use crypto_secretbox::XSalsa20Poly1305;
use rand::RngCore;
use std::sync::Arc;

/// What every sealed value begins with.
pub const SEALED: &[u8] = b"k8s:enc:";
const CBC_VECTOR_BYTES: usize = 16;
const GCM_NONCE_BYTES: usize = 12;
const SECRETBOX_NONCE_BYTES: usize = 24;

/// A value that cannot be opened, in upstream's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    #[error("no matching prefix found")]
    Foreign,
    #[error("identity transformer tried to read encrypted data")]
    Sealed,
    #[error("no matching key was found for the provided {0} transformer")]
    Key(&'static str),
}

/// A named key.
pub struct Key {
    name: String,
    cipher: Cipher,
}

enum Cipher {
    Cbc(CbcKey),
    Gcm(GcmKey),
    Secretbox(Box<XSalsa20Poly1305>),
}

enum CbcKey {
    Short([u8; 16]),
    Middle([u8; 24]),
    Long([u8; 32]),
}

enum GcmKey {
    Short(Box<Aes128Gcm>),
    Middle(Box<AesGcm<Aes192, U12>>),
    Long(Box<Aes256Gcm>),
}

/// See the module's documentation. The first key seals, all of them open.
pub enum Provider {
    Identity,
    Keys { kind: &'static str, keys: Vec<Key> },
    Kms(Arc<Kms>),
}

impl Key {
    /// `None`: no key of this kind has so many bytes.
    pub fn new(kind: &str, name: &str, secret: &[u8]) -> Option<Self> {
        let cipher = match (kind, secret.len()) {
            ("aescbc", 16) => Cipher::Cbc(CbcKey::Short(secret.try_into().ok()?)),
            ("aescbc", 24) => Cipher::Cbc(CbcKey::Middle(secret.try_into().ok()?)),
            ("aescbc", 32) => Cipher::Cbc(CbcKey::Long(secret.try_into().ok()?)),
            ("aesgcm", 16) => Cipher::Gcm(GcmKey::Short(Box::new(KeyInit::new_from_slice(secret).ok()?))),
            ("aesgcm", 24) => Cipher::Gcm(GcmKey::Middle(Box::new(KeyInit::new_from_slice(secret).ok()?))),
            ("aesgcm", 32) => Cipher::Gcm(GcmKey::Long(Box::new(KeyInit::new_from_slice(secret).ok()?))),
            ("secretbox", 32) => Cipher::Secretbox(Box::new(KeyInit::new_from_slice(secret).ok()?)),
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            cipher,
        })
    }

    /// `place`: the object's key in the store.
    fn seal(&self, value: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        match &self.cipher {
            Cipher::Cbc(key) => {
                let vector: [u8; CBC_VECTOR_BYTES] = random();
                let sealed = match key {
                    CbcKey::Short(key) => cbc_seal::<Aes128>(key, &vector, value),
                    CbcKey::Middle(key) => cbc_seal::<Aes192>(key, &vector, value),
                    CbcKey::Long(key) => cbc_seal::<Aes256>(key, &vector, value),
                };
                Some([vector.as_slice(), &sealed?].concat())
            }
            Cipher::Gcm(key) => {
                let nonce: [u8; GCM_NONCE_BYTES] = random();
                let payload = Payload {
                    msg: value,
                    aad: place,
                };
                let sealed = match key {
                    GcmKey::Short(key) => key.encrypt(&nonce.into(), payload),
                    GcmKey::Middle(key) => key.encrypt(&nonce.into(), payload),
                    GcmKey::Long(key) => key.encrypt(&nonce.into(), payload),
                };
                Some([nonce.as_slice(), &sealed.ok()?].concat())
            }
            Cipher::Secretbox(key) => {
                let nonce: [u8; SECRETBOX_NONCE_BYTES] = random();
                let sealed = key.encrypt(&nonce.into(), value).ok()?;
                Some([nonce.as_slice(), &sealed].concat())
            }
        }
    }

    fn open(&self, sealed: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        match &self.cipher {
            Cipher::Cbc(key) => {
                let (vector, sealed) = sealed.split_at_checked(CBC_VECTOR_BYTES)?;
                match key {
                    CbcKey::Short(key) => cbc_open::<Aes128>(key, vector, sealed),
                    CbcKey::Middle(key) => cbc_open::<Aes192>(key, vector, sealed),
                    CbcKey::Long(key) => cbc_open::<Aes256>(key, vector, sealed),
                }
            }
            Cipher::Gcm(key) => {
                let (nonce, sealed) = sealed.split_at_checked(GCM_NONCE_BYTES)?;
                let nonce: [u8; GCM_NONCE_BYTES] = nonce.try_into().ok()?;
                let payload = Payload {
                    msg: sealed,
                    aad: place,
                };
                match key {
                    GcmKey::Short(key) => key.decrypt(&nonce.into(), payload),
                    GcmKey::Middle(key) => key.decrypt(&nonce.into(), payload),
                    GcmKey::Long(key) => key.decrypt(&nonce.into(), payload),
                }
                .ok()
            }
            Cipher::Secretbox(key) => {
                let (nonce, sealed) = sealed.split_at_checked(SECRETBOX_NONCE_BYTES)?;
                let nonce: [u8; SECRETBOX_NONCE_BYTES] = nonce.try_into().ok()?;
                key.decrypt(&nonce.into(), sealed).ok()
            }
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn cbc_seal<C>(key: &[u8], vector: &[u8], value: &[u8]) -> Option<Vec<u8>>
where
    C: aes::cipher::BlockCipher + aes::cipher::BlockEncryptMut + aes::cipher::KeyInit,
{
    let cipher = cbc::Encryptor::<C>::new_from_slices(key, vector).ok()?;
    Some(cipher.encrypt_padded_vec_mut::<Pkcs7>(value))
}

fn cbc_open<C>(key: &[u8], vector: &[u8], sealed: &[u8]) -> Option<Vec<u8>>
where
    C: aes::cipher::BlockCipher + aes::cipher::BlockDecryptMut + aes::cipher::KeyInit,
{
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, vector).ok()?;
    cipher.decrypt_padded_vec_mut::<Pkcs7>(sealed).ok()
}

impl Provider {
    fn prefix(&self) -> String {
        match self {
            Self::Identity => String::new(),
            Self::Keys { kind, .. } => format!("k8s:enc:{kind}:v1:"),
            Self::Kms(kms) => kms.prefix().to_owned(),
        }
    }

    /// A value as it is to be stored at `place`.
    fn seal(&self, value: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Identity => Some(value.to_vec()),
            Self::Keys { keys, .. } => {
                let key = keys.first()?;
                let mut sealed = format!("{}{}:", self.prefix(), key.name).into_bytes();
                sealed.extend_from_slice(&key.seal(value, place)?);
                Some(sealed)
            }
            Self::Kms(kms) => kms.seal(value, place),
        }
    }

    /// A stored value, and whether it would be stored otherwise now. `None`: it is none of this provider's.
    fn open(&self, stored: &[u8], place: &[u8]) -> Option<Result<(Vec<u8>, bool), Unopened>> {
        match self {
            Self::Identity => (!stored.starts_with(SEALED)).then(|| Ok((stored.to_vec(), false))),
            Self::Keys { kind, keys } => {
                let rest = stored.strip_prefix(self.prefix().as_bytes())?;
                let opened = keys.iter().enumerate().find_map(|(number, key)| {
                    let sealed = rest.strip_prefix(key.name.as_bytes())?.strip_prefix(b":")?;
                    Some((key.open(sealed, place)?, number > 0))
                });
                Some(opened.ok_or(Unopened::Key(kind)))
            }
            Self::Kms(kms) => {
                let rest = stored.strip_prefix(kms.prefix().as_bytes())?;
                Some(kms.open(rest, place))
            }
        }
    }
}

/// Providers of one resource: the first seals, all of them open.
pub struct Providers(pub Vec<Provider>);

impl Providers {
    /// A value as it is to be stored at `place`; `None` if the first provider has no key that works.
    pub fn seal(&self, value: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        self.0.first()?.seal(value, place)
    }

    /// The plugin that has to have told the key of a stored value, and what it needs for that.
    pub fn asked<'v>(&self, stored: &'v [u8]) -> Option<(&Arc<Kms>, &'v [u8])> {
        self.0.iter().find_map(|provider| match provider {
            Provider::Kms(kms) => Some((kms, stored.strip_prefix(kms.prefix().as_bytes())?)),
            _ => None,
        })
    }

    /// A stored value, and whether it would be stored otherwise now.
    ///
    /// # Errors
    /// No provider has its key.
    pub fn open(&self, stored: &[u8], place: &[u8]) -> Result<(Vec<u8>, bool), Unopened> {
        let mut failure = Unopened::Foreign;
        for (number, provider) in self.0.iter().enumerate() {
            match provider.open(stored, place) {
                Some(Ok((value, stale))) => return Ok((value, stale || number > 0)),
                Some(Err(error)) => failure = error,
                None => {}
            }
        }
        if matches!(self.0.as_slice(), [Provider::Identity]) {
            failure = Unopened::Sealed;
        }
        Err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &[u8] = b"/registry/secrets/default/s";

    fn keys(kind: &'static str, named: &[(&str, &[u8])]) -> Provider {
        let keys = named
            .iter()
            .map(|(name, secret)| Key::new(kind, name, secret).unwrap());
        Provider::Keys {
            kind,
            keys: keys.collect(),
        }
    }

    #[test]
    fn what_is_sealed_names_its_key_and_can_be_opened() {
        for kind in ["aescbc", "aesgcm", "secretbox"] {
            for size in [16, 24, 32] {
                if kind == "secretbox" && size != 32 {
                    assert!(Key::new(kind, "k", &vec![1; size]).is_none());
                    continue;
                }
                let providers = Providers(vec![keys(kind, &[("key1", &vec![7; size])]), Provider::Identity]);
                let sealed = providers.seal(b"hidden", PLACE).unwrap();
                let prefix = format!("k8s:enc:{kind}:v1:key1:");
                assert!(sealed.starts_with(prefix.as_bytes()));
                assert!(!sealed.windows(6).any(|w| w == b"hidden"));
                assert_eq!(providers.open(&sealed, PLACE), Ok((b"hidden".to_vec(), false)));
                // What was stored before is read, and is to be sealed.
                assert_eq!(providers.open(b"plain", PLACE), Ok((b"plain".to_vec(), true)));
                let mut broken = sealed.clone();
                *broken.last_mut().unwrap() ^= 1;
                if kind != "aescbc" {
                    assert_eq!(providers.open(&broken, PLACE), Err(Unopened::Key(kind)));
                }
            }
        }
    }

    #[test]
    fn older_keys_open_and_the_first_one_seals() {
        let old = Providers(vec![keys("aesgcm", &[("a", &[1; 32])])]);
        let sealed = old.seal(b"v", PLACE).unwrap();
        let both = Providers(vec![keys("aesgcm", &[("b", &[2; 32]), ("a", &[1; 32])])]);
        assert_eq!(both.open(&sealed, PLACE), Ok((b"v".to_vec(), true)));
        let new = both.seal(b"v", PLACE).unwrap();
        assert_eq!(both.open(&new, PLACE), Ok((b"v".to_vec(), false)));
        assert_eq!(old.open(&new, PLACE), Err(Unopened::Key("aesgcm")));
        // A value that was moved to another place is not taken for what belongs there.
        assert!(old.open(&sealed, b"/registry/secrets/default/other").is_err());
        let other = Providers(vec![keys("secretbox", &[("a", &[1; 32])])]);
        assert_eq!(other.open(&sealed, PLACE), Err(Unopened::Foreign));
        let plain = Providers(vec![Provider::Identity]);
        assert_eq!(plain.open(&sealed, PLACE), Err(Unopened::Sealed));
    }

    /// What another program has made of it: `openssl enc -aes-256-cbc` with this key and vector.
    #[test]
    fn aescbc_is_what_others_take_for_it() {
        let key: Vec<u8> = (0..32).collect();
        let vector: Vec<u8> = (16..32).collect();
        let sealed = [
            b"k8s:enc:aescbc:v1:key1:".as_slice(),
            &vector,
            &[
                0xf9, 0x32, 0x69, 0x55, 0x68, 0xab, 0xde, 0x1e, 0x64, 0x9a, 0xbd, 0xfe, 0xb1, 0x2f, 0x45,
                0xa1, 0x90, 0x8c, 0x6d, 0x3f, 0xa0, 0xf2, 0xd8, 0x5d, 0x66, 0x6c, 0xa7, 0x43, 0x55, 0xa4,
                0x0e, 0xf9,
            ],
        ]
        .concat();
        let providers = Providers(vec![keys("aescbc", &[("key1", &key)])]);
        assert_eq!(
            providers.open(&sealed, PLACE),
            Ok((b"a value of more than one block".to_vec(), false))
        );
    }
}
