//! Objects that a webhook has converted, for whoever asks next: all who watch a version ask for the same ones.
use crate::cache::Object;
use crate::custom::Definition;
use crate::resources::Resource;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Bytes of objects that are kept, of all definitions together.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The state of a definition, and an object's key and revision.
type Key = (u64, Arc<str>, u64);

/// See the module's documentation.
#[derive(Default)]
pub struct Converted {
    kept: Mutex<Kept>,
    turns: Mutex<HashMap<(&'static str, &'static str), Arc<Turn>>>,
}

type Turn = tokio::sync::Mutex<()>;

#[derive(Default)]
struct Kept {
    objects: HashMap<Key, Arc<Object>>,
    order: VecDeque<Key>,
    bytes: usize,
}

fn key(definition: &Definition, object: &Object) -> Key {
    (definition.number, object.key.clone(), object.revision)
}

impl Converted {
    /// The turn to have objects of a resource converted, among those who all want the same ones.
    pub async fn turn(&self, resource: &Resource) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = self
            .turns
            .lock()
            .entry((resource.storage, resource.version))
            .or_default()
            .clone();
        turn.lock_owned().await
    }

    /// What `object` was converted to for a version, as the definition is now.
    pub fn get(&self, definition: &Definition, object: &Object) -> Option<Arc<Object>> {
        let kept = self.kept.lock();
        if kept.objects.is_empty() {
            return None;
        }
        kept.objects.get(&key(definition, object)).cloned()
    }

    pub fn keep(&self, definition: &Definition, object: &Object, converted: Arc<Object>) {
        let mut kept = self.kept.lock();
        let key = key(definition, object);
        kept.bytes += converted.size();
        match kept.objects.insert(key.clone(), converted) {
            Some(before) => kept.bytes -= before.size(),
            None => kept.order.push_back(key),
        }
        while kept.bytes > BYTES_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            if let Some(gone) = kept.objects.remove(&oldest) {
                kept.bytes -= gone.size();
            }
        }
    }
}
