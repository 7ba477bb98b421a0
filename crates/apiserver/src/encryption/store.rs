//! A store whose values are sealed on their way in and opened on their way out.
use super::Encryption;
use super::config::Plan;
use super::kms::Kms;
use super::provider::SEALED;
use crate::resources::{self, ROOT};
use async_trait::async_trait;
use bytes::Bytes;
use orlop_store::{
    EventKind, Key, KeyValue, Layer, Op, RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse,
    WatchBatch, WatchRequest, WatchStream, changed,
};
use std::sync::Arc;

/// What stands in the place of a value that nobody can open now, before the reason. No object begins like that.
const AWAY: &[u8] = b"\0away:";

/// Why the value that this stands for cannot be opened now; `None` for a value.
pub(crate) fn away(value: &[u8]) -> Option<String> {
    let reason = value.strip_prefix(AWAY)?;
    Some(String::from_utf8_lossy(reason).into_owned())
}

/// Bytes of a key's name that are told.
const NAME_BYTES_MAX: usize = 128;

/// Why a value is still sealed, by the name of the key that it would need; `None` for others.
pub(crate) fn lost(value: &[u8]) -> Option<String> {
    let rest = value.strip_prefix(SEALED)?;
    // Who has sealed it, in which form, and with which key.
    let parts: Vec<&[u8]> = rest.splitn(4, |byte| *byte == b':').take(3).collect();
    let mut name = parts.join(&b':');
    name.truncate(NAME_BYTES_MAX);
    let name = String::from_utf8_lossy(&name);
    Some(format!(
        "no key of the encryption configuration opens what {name:?} has sealed"
    ))
}

/// Whether a value is none that can be read now.
pub(crate) fn is_closed(value: &[u8]) -> bool {
    value.starts_with(AWAY) || value.starts_with(SEALED)
}

/// See the module's documentation.
pub struct Sealed {
    store: Arc<dyn Store>,
    encryption: Encryption,
}

impl Sealed {
    pub fn new(store: Arc<dyn Store>, encryption: Encryption) -> Self {
        Self { store, encryption }
    }

    /// Health checks of those who keep keys.
    pub fn health(&self) -> Vec<(String, bool)> {
        self.encryption.health()
    }

    /// Whether the value of a key would be stored otherwise now, although nothing in it changes: it was sealed with a key
    /// that is no longer the first, or by nobody.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn is_stale(&self, key: &str) -> Result<bool, StoreError> {
        let plan = self.encryption.plan();
        let Some(providers) = resource_of(key.as_bytes()).and_then(|(g, p)| plan.providers(g, p)) else {
            return Ok(false);
        };
        let found = self.store.range(RangeRequest::key(key)).await?;
        let Some(kv) = found.kvs.first() else {
            return Ok(false);
        };
        learn(&plan, [kv]).await?;
        let opened = providers.open(&kv.value, key.as_bytes());
        Ok(opened.is_ok_and(|(_, stale)| stale))
    }
}

/// The resource whose objects are stored under this key.
fn resource_of(key: &[u8]) -> Option<(&str, &str)> {
    let rest = std::str::from_utf8(key.strip_prefix(ROOT.as_bytes())?).ok()?;
    let is_below = |storage: &str| {
        rest.strip_prefix(storage)
            .is_some_and(|below| below.starts_with('/'))
    };
    let mut own = resources::all().iter().filter(|r| r.owns_storage());
    if let Some(resource) = own.find(|r| is_below(r.storage)) {
        return Some((resource.group, resource.plural));
    }
    // Custom resources are stored under their group, which has a dot, and their plural.
    let (group, rest) = rest.split_once('/')?;
    let (plural, _) = rest.split_once('/')?;
    group.contains('.').then_some((group, plural))
}

/// Has plugins tell the keys of values, as far as they are not known.
///
/// # Errors
/// One doesn't: what cannot be opened now is not to be taken for damaged.
async fn learn(plan: &Plan, kvs: impl IntoIterator<Item = &KeyValue>) -> Result<(), StoreError> {
    for kv in kvs {
        let providers = resource_of(kv.key.as_ref()).and_then(|(g, p)| plan.providers(g, p));
        let Some((plugin, stored)) = providers.and_then(|providers| providers.asked(&kv.value)) else {
            continue;
        };
        plugin.learn(stored).await.map_err(|error| StoreError::Sealed {
            key: kv.key.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

/// Opens a value in place. One that cannot be opened stays as it is, which nobody takes for an object ([`lost`]).
fn open(plan: &Plan, kv: &mut KeyValue) {
    let key = kv.key.as_ref();
    let Some(providers) = resource_of(key).and_then(|(g, p)| plan.providers(g, p)) else {
        return;
    };
    if kv.value.is_empty() {
        return;
    }
    if let Ok((value, _)) = providers.open(&kv.value, key) {
        kv.value = value.into();
    }
}

fn seal(plan: &Plan, key: &Key, value: &mut Bytes) -> Result<(), StoreError> {
    let at = key.as_ref();
    let Some(providers) = resource_of(at).and_then(|(g, p)| plan.providers(g, p)) else {
        return Ok(());
    };
    match providers.seal(value, at) {
        Some(sealed) => {
            *value = sealed.into();
            Ok(())
        }
        // What is to be hidden must never be stored as it is.
        None => Err(StoreError::Invalid(format!(
            "the value of {key} cannot be sealed"
        ))),
    }
}

/// Seals what a transaction puts, transactions within it included.
fn seal_all(plan: &Plan, txn: &mut Txn) -> Result<(), StoreError> {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match op {
            Op::Put { key, value, keep, .. } if !keep.value => seal(plan, key, value)?,
            Op::Txn(inner) => seal_all(plan, inner)?,
            _ => {}
        }
    }
    Ok(())
}

/// Opens values in place. Where the plugin that keeps the key doesn't answer, what stands in the place of the value says
/// so ([`away`]): who reads everything goes on with the rest.
async fn open_each<'k>(plan: &Plan, kvs: impl IntoIterator<Item = &'k mut KeyValue>) {
    // Who doesn't answer once isn't waited for again for each value.
    let mut silent: Vec<(&Arc<Kms>, String)> = Vec::new();
    for kv in kvs {
        let providers = resource_of(kv.key.as_ref()).and_then(|(g, p)| plan.providers(g, p));
        let asked = providers.and_then(|providers| providers.asked(&kv.value));
        let reason = match asked {
            Some((plugin, stored)) if !plugin.knows(stored) => {
                let before = silent.iter().find(|(known, _)| Arc::ptr_eq(known, plugin));
                match before {
                    Some((_, reason)) => Some(reason.clone()),
                    None => plugin.learn(stored).await.err().map(|error| {
                        let reason = error.to_string();
                        silent.push((plugin, reason.clone()));
                        reason
                    }),
                }
            }
            _ => None,
        };
        match reason {
            Some(reason) => kv.value = [AWAY, reason.as_bytes()].concat().into(),
            None => open(plan, kv),
        }
    }
}

/// The values that a batch brings.
fn brought(batch: &mut WatchBatch) -> impl Iterator<Item = &mut KeyValue> {
    batch.events.iter_mut().flat_map(|event| {
        let put = (event.kind == EventKind::Put).then_some(&mut event.kv);
        put.into_iter().chain(&mut event.previous)
    })
}

#[async_trait]
impl Layer for Sealed {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        // Who reads everything is to have the rest of it.
        let one_resource = resource_of(request.start.as_ref()).is_some();
        let mut answer = self.store.range(request).await?;
        let plan = self.encryption.plan();
        if one_resource {
            learn(&plan, &answer.kvs).await?;
        }
        open_each(&plan, &mut answer.kvs).await;
        Ok(answer)
    }

    async fn txn(&self, mut txn: Txn) -> Result<TxnResponse, StoreError> {
        let plan = self.encryption.plan();
        seal_all(&plan, &mut txn)?;
        let mut answer = self.store.txn(txn).await?;
        let kvs = answer.kvs_mut();
        let stored: Vec<&KeyValue> = kvs.iter().map(|kv| &**kv).collect();
        learn(&plan, stored).await?;
        kvs.into_iter().for_each(|kv| open(&plan, kv));
        Ok(answer)
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        let watch = self.store.watch(request).await?;
        let encryption = self.encryption.clone();
        let opened = move |mut batch| {
            let plan = encryption.plan();
            async move {
                open_each(&plan, brought(&mut batch)).await;
                batch
            }
        };
        Ok(changed(watch, opened))
    }
}

#[cfg(test)]
mod tests {
    use super::{away, is_closed, lost, resource_of};

    #[test]
    fn what_is_sealed_names_the_key_that_it_needs() {
        let text = "no key of the encryption configuration opens what \"aesgcm:v1:key1\" has sealed";
        assert_eq!(lost(b"k8s:enc:aesgcm:v1:key1:\xff:\0").as_deref(), Some(text));
        assert!(lost(b"k8s:enc:").is_some());
        assert!(lost(&[b"k8s:enc:".as_slice(), &[b'x'; 4096]].concat()).is_some_and(|text| text.len() < 256));
        assert_eq!(lost(b"{}"), None);
        assert_eq!(lost(b""), None);
        for value in [b"k8s:enc:".as_slice(), b"\0away:the plugin", b"{}", b""] {
            assert_eq!(is_closed(value), away(value).is_some() || lost(value).is_some());
        }
    }

    #[test]
    fn keys_tell_the_resource() {
        for (key, expected) in [
            ("/registry/secrets/default/s", Some(("", "secrets"))),
            ("/registry/services/specs/default/s", Some(("", "services"))),
            ("/registry/minions/n", Some(("", "nodes"))),
            ("/registry/daemonsets/default/d", Some(("apps", "daemonsets"))),
            (
                "/registry/example.com/doors/default/d",
                Some(("example.com", "doors")),
            ),
            ("/registry/ranges/serviceips", None),
            ("compact_rev_key", None),
        ] {
            assert_eq!(resource_of(key.as_bytes()), expected, "{key}");
        }
    }
}
