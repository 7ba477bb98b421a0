//! Which pod a container or sandbox belongs to: events name the one, workers are of the other.
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Container or sandbox id → pod UID. Learned whenever a pod is read or something is created.
#[derive(Clone, Debug, Default)]
pub struct Owners(Arc<RwLock<HashMap<String, Arc<str>>>>);

impl Owners {
    /// Notes the ids of a pod.
    pub fn note<'a>(&self, uid: &str, ids: impl IntoIterator<Item = &'a str>) {
        let uid: Arc<str> = uid.into();
        let mut table = self.0.write();
        for id in ids {
            if !table.contains_key(id) {
                table.insert(id.to_owned(), uid.clone());
            }
        }
    }

    /// The pod of an id.
    pub fn of(&self, id: &str) -> Option<Arc<str>> {
        self.0.read().get(id).cloned()
    }

    /// Forgets something that was removed.
    pub fn forget(&self, id: &str) {
        self.0.write().remove(id);
    }
}
