//! Keys that somebody else keeps: a plugin of upstream's KMS protocol, version 2.
//!
//! Values are sealed here, by a seed that the plugin has sealed in turn: it is asked once when the server starts, once
//! whenever its key changes, and once for each seed of before that a stored value names. How it is is looked at every
//! minute ([`Kms::check`]).
mod client;
mod messages;
mod seed;
#[cfg(test)]
mod tests;

pub use client::KmsError;

use super::provider::Unopened;
use client::Client;
use messages::{DecryptRequest, EncryptRequest, EncryptedObject, SourceType};
use parking_lot::RwLock;
use prost::Message;
use seed::Seed;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A plugin that has not been well for so long is not relied on for writes (upstream's limit).
const TRUST_TIME: Duration = Duration::from_secs(3 * 60);
/// Upstream's limits on what a plugin answers.
const KEY_ID_BYTES_MAX: usize = 1024;
const SOURCE_BYTES_MAX: usize = 1024;
const ANNOTATIONS_BYTES_MAX: usize = 32 * 1024;
/// Seeds that are remembered. There is one for each start of a server and each key of the plugin.
const SEEDS_MAX: usize = 1024;

/// See the module's documentation.
pub struct Kms {
    name: String,
    prefix: String,
    client: Client,
    /// What values are sealed by now.
    current: RwLock<Option<Arc<Current>>>,
    /// What values were sealed by, by the hash of how that is stored.
    seeds: RwLock<HashMap<[u8; 32], Seed>>,
}

struct Current {
    seed: Seed,
    /// The seed as it is stored.
    source: Vec<u8>,
    key_id: String,
    annotations: BTreeMap<String, Vec<u8>>,
    /// Relied on until then.
    until: Instant,
}

impl Kms {
    pub fn new(name: &str, socket: &str, timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            prefix: format!("k8s:enc:kms:v2:{name}:"),
            client: Client::new(name, socket, timeout),
            current: RwLock::new(None),
            seeds: RwLock::default(),
        })
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether this is the same plugin.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.client.socket() == other.client.socket()
    }

    /// Goes on with what another has been told by the same plugin.
    pub fn succeed(&self, other: &Self) {
        *self.current.write() = other.current.read().clone();
        *self.seeds.write() = other.seeds.read().clone();
    }

    /// Whether values can be sealed now.
    pub fn is_well(&self) -> bool {
        self.trusted().is_some()
    }

    fn trusted(&self) -> Option<Arc<Current>> {
        let current = self.current.read().clone();
        current.filter(|current| current.until > Instant::now())
    }

    /// A value as it is to be stored at `place`; `None` while the plugin cannot be relied on.
    pub fn seal(&self, value: &[u8], place: &[u8]) -> Option<Vec<u8>> {
        let current = self.trusted()?;
        let object = EncryptedObject {
            data: current.seed.seal(value, place)?,
            key_id: current.key_id.clone(),
            source: current.source.clone(),
            annotations: current.annotations.clone(),
            source_type: SourceType::Seed as i32,
        };
        let mut sealed = self.prefix.clone().into_bytes();
        sealed.extend_from_slice(&object.encode_to_vec());
        Some(sealed)
    }

    /// What is stored behind the prefix, and whether it would be stored otherwise now.
    ///
    /// # Errors
    /// It is damaged, or its seed has not been asked for ([`Kms::learn`]).
    pub fn open(&self, stored: &[u8], place: &[u8]) -> Result<(Vec<u8>, bool), Unopened> {
        let object = EncryptedObject::decode(stored).map_err(|_| Unopened::Key("kms"))?;
        let seed = self.seeds.read().get(&digest(&object)).cloned();
        let seed = seed.ok_or(Unopened::Key("kms"))?;
        let value = seed.open(&object.data, place).ok_or(Unopened::Key("kms"))?;
        let current = self.current.read();
        let stale = current.as_ref().is_some_and(|now| now.key_id != object.key_id);
        Ok((value, stale))
    }

    /// Whether nothing has to be asked to open what is stored behind the prefix.
    pub fn knows(&self, stored: &[u8]) -> bool {
        // What is damaged nobody can say more about.
        EncryptedObject::decode(stored)
            .map_or(true, |object| self.seeds.read().contains_key(&digest(&object)))
    }

    /// Has the plugin open the seed of what is stored behind the prefix, if that is not known.
    ///
    /// # Errors
    /// The plugin doesn't.
    pub async fn learn(&self, stored: &[u8]) -> Result<(), KmsError> {
        let Ok(object) = EncryptedObject::decode(stored) else {
            // Opening it will say so.
            return Ok(());
        };
        let digest = digest(&object);
        if self.seeds.read().contains_key(&digest) {
            return Ok(());
        }
        let request = DecryptRequest {
            ciphertext: object.source.clone(),
            uid: uid(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let opened = self.client.decrypt(request).await?;
        let seed = Seed::of(opened.plaintext, object.source_type())
            .ok_or_else(|| self.answers("what it has decrypted is no key of 32 bytes"))?;
        self.remember(digest, seed);
        Ok(())
    }

    /// Asks the plugin how it is, and for another seed's seal if its key has changed.
    ///
    /// # Errors
    /// It is not well. It is relied on for some time nevertheless.
    pub async fn check(&self) -> Result<(), KmsError> {
        let status = self.client.status().await?;
        if status.version != "v2" {
            return Err(self.answers(&format!("its version is {:?} and not v2", status.version)));
        }
        if status.healthz != "ok" {
            return Err(KmsError::Unhealthy {
                name: self.name.clone(),
                reason: status.healthz,
            });
        }
        self.fits_key_id(&status.key_id)?;
        let until = Instant::now() + TRUST_TIME;
        let present = self.current.read().clone();
        let current = match present.filter(|present| present.key_id == status.key_id) {
            Some(present) => Current {
                seed: present.seed.clone(),
                source: present.source.clone(),
                key_id: present.key_id.clone(),
                annotations: present.annotations.clone(),
                until,
            },
            None => self.sealed_seed(until).await?,
        };
        *self.current.write() = Some(Arc::new(current));
        Ok(())
    }

    async fn sealed_seed(&self, until: Instant) -> Result<Current, KmsError> {
        let seed = Seed::new();
        let request = EncryptRequest {
            plaintext: seed.bytes().to_vec(),
            uid: uid(),
        };
        let answer = self.client.encrypt(request).await?;
        self.fits_key_id(&answer.key_id)?;
        if answer.ciphertext.is_empty() || answer.ciphertext.len() > SOURCE_BYTES_MAX {
            let bytes = answer.ciphertext.len();
            return Err(self.answers(&format!("a sealed seed of {bytes} bytes, up to 1024 are stored")));
        }
        let annotations = answer.annotations.iter();
        let bytes: usize = annotations.map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ANNOTATIONS_BYTES_MAX {
            return Err(self.answers(&format!("annotations of {bytes} bytes, up to 32768 are stored")));
        }
        let object = EncryptedObject {
            data: Vec::new(),
            key_id: answer.key_id.clone(),
            source: answer.ciphertext.clone(),
            annotations: answer.annotations.clone(),
            source_type: SourceType::Seed as i32,
        };
        self.remember(digest(&object), seed.clone());
        tracing::info!(plugin = self.name, "the KMS plugin has sealed another seed");
        Ok(Current {
            seed,
            source: answer.ciphertext,
            key_id: answer.key_id,
            annotations: answer.annotations,
            until,
        })
    }

    fn remember(&self, digest: [u8; 32], seed: Seed) {
        let mut seeds = self.seeds.write();
        if seeds.len() >= SEEDS_MAX
            && let Some(any) = seeds.keys().next().copied()
        {
            seeds.remove(&any);
        }
        seeds.insert(digest, seed);
    }

    fn fits_key_id(&self, key_id: &str) -> Result<(), KmsError> {
        match key_id.len() {
            1..=KEY_ID_BYTES_MAX => Ok(()),
            bytes => Err(self.answers(&format!("a key_id of {bytes} bytes, it has to be 1 to 1024"))),
        }
    }

    fn answers(&self, reason: &str) -> KmsError {
        KmsError::Answer {
            name: self.name.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// Names a question in the plugin's log and beyond.
fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Names a seed by all that the plugin is told to open it.
fn digest(object: &EncryptedObject) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(&object.source);
    part(object.key_id.as_bytes());
    part(&object.source_type.to_be_bytes());
    for (key, value) in &object.annotations {
        part(key.as_bytes());
        part(value);
    }
    digest.finalize().into()
}
