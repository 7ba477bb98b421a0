//! Owners that were seen, and as what.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use orlop_api::wire::group_and_version;

use super::graph::Uid;

/// Owners seen alive, so that not every dependent has to ask. Only of kinds whose deletion we see.
#[derive(Debug, Default)]
pub struct Alive(HashMap<Uid, Seen>);

#[derive(Debug)]
struct Seen {
    /// Its namespace, empty if it has none.
    home: Arc<str>,
    /// The kind and name that it was found by.
    named: u64,
}

/// The API group of an owner.
pub fn group_of(owner: &OwnerReference) -> &str {
    group_and_version(&owner.api_version).0
}

fn named(owner: &OwnerReference) -> u64 {
    let mut hasher = DefaultHasher::new();
    (group_of(owner), &owner.kind, &owner.name).hash(&mut hasher);
    hasher.finish()
}

impl Alive {
    /// What `owner` names was found in that namespace, with its uid.
    pub fn found(&mut self, uid: Uid, home: Arc<str>, owner: &OwnerReference) {
        let named = named(owner);
        self.0.insert(uid, Seen { home, named });
    }

    /// It is gone.
    pub fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// Whether one of that uid was seen, and where.
    pub fn home(&self, uid: &str) -> Option<&Arc<str>> {
        self.0.get(uid).map(|seen| &seen.home)
    }

    /// Whether the one of that uid was found by that kind and name.
    pub fn is_named(&self, owner: &OwnerReference) -> bool {
        self.0
            .get(owner.uid.as_str())
            .is_some_and(|seen| seen.named == named(owner))
    }
}
