//! Values sealed by keys that are derived from a seed, each by its own (upstream's extended nonce).
use super::messages::SourceType;
use rand::RngCore;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};

pub const SEED_BYTES: usize = 32;
/// What tells the keys of one seed apart; it lies before the nonce.
const INFO_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// What keys come from.
#[derive(Clone)]
pub struct Seed {
    bytes: Vec<u8>,
    source: SourceType,
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

impl Seed {
    pub fn new() -> Self {
        Self {
            bytes: random::<SEED_BYTES>().to_vec(),
            source: SourceType::Seed,
        }
    }

    /// One that a plugin has opened; `None` if no key comes of it.
    pub fn of(bytes: Vec<u8>, source: SourceType) -> Option<Self> {
        (bytes.len() == SEED_BYTES).then_some(Self { bytes, source })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Seals what is stored at `place`.
    pub fn seal(&self, value: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        let info: [u8; INFO_BYTES] = random();
        let nonce: [u8; NONCE_BYTES] = random();
        let mut sealed = value.to_vec();
        let key = self.derived(&info)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .ok()?;
        Some([info.as_slice(), &nonce, &sealed].concat())
    }

    pub fn open(&self, sealed: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        let (key, rest) = match self.source {
            SourceType::Seed => {
                let (info, rest) = sealed.split_at_checked(INFO_BYTES)?;
                (self.derived(info)?, rest)
            }
            SourceType::Key => (
                LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.bytes).ok()?),
                sealed,
            ),
        };
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut value = sealed.to_vec();
        let length = key.open_in_place(nonce, Aad::from(place), &mut value).ok()?.len();
        value.truncate(length);
        Some(value)
    }

    fn derived(&self, info: &[u8]) -> Option<LessSafeKey> {
        let info = [info];
        let seed = Prk::new_less_safe(HKDF_SHA256, &self.bytes);
        let okm = seed.expand(&info, &AES_256_GCM);
        Some(LessSafeKey::new(UnboundKey::from(okm.ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &[u8] = b"/registry/secrets/default/s";

    #[test]
    fn each_value_has_a_key_of_its_own_and_its_place() {
        let seed = Seed::new();
        let (one, other) = (seed.seal(b"v", PLACE).unwrap(), seed.seal(b"v", PLACE).unwrap());
        assert_ne!(one[..INFO_BYTES], other[..INFO_BYTES]);
        assert_eq!(seed.open(&one, PLACE).unwrap(), b"v");
        assert_eq!(seed.open(&one, b"/registry/secrets/default/other"), None);
        assert_eq!(Seed::new().open(&one, PLACE), None);
        assert_eq!(seed.open(&one[..20], PLACE), None);
    }

    /// Computed with Python's `cryptography`: HKDFExpand(SHA256, 32, info) and AESGCM.
    #[test]
    fn others_open_it_the_same_way() {
        let seed = Seed::of((0..32).collect(), SourceType::Seed).unwrap();
        let sealed = [
            (32..64).collect::<Vec<u8>>(),
            (64..76).collect(),
            SEALED_ELSEWHERE.to_vec(),
        ]
        .concat();
        assert_eq!(seed.open(&sealed, PLACE).unwrap(), b"swordfish");
        let key = Seed::of((0..32).collect(), SourceType::Key).unwrap();
        let sealed = [(64..76).collect::<Vec<u8>>(), SEALED_BY_KEY.to_vec()].concat();
        assert_eq!(key.open(&sealed, PLACE).unwrap(), b"swordfish");
    }

    const SEALED_ELSEWHERE: [u8; 25] = [
        0x74, 0x77, 0x44, 0xd3, 0xcb, 0x6d, 0x17, 0x1a, 0xc6, 0x9d, 0xb7, 0x5d, 0xd4, 0x48, 0xe9, 0xc4, 0xcf,
        0x07, 0x18, 0xd9, 0x35, 0x8d, 0x10, 0x0d, 0xc9,
    ];
    const SEALED_BY_KEY: [u8; 25] = [
        0x91, 0xce, 0xc1, 0x51, 0x42, 0x5a, 0xee, 0x70, 0xa5, 0xe4, 0x8f, 0x2d, 0xbb, 0x86, 0x9a, 0x2a, 0xf0,
        0x67, 0xdb, 0x67, 0x58, 0x92, 0x8b, 0xfa, 0x45,
    ];
}
