//! Who depends on whom. Only objects that have owners, or that are being deleted in a way that
//! concerns their dependents, are remembered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use orlop_client::informer::Shared;

use super::alive::Alive;
use super::recent::Recent;
use super::verdict::Dependents;

/// Finalizer of an owner that waits for its dependents to go.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents shall stay.
pub const ORPHAN: &str = "orphan";

// What objects of one namespace have in common.
static NAMESPACES: Shared<str> = Shared::new();

/// An object's uid.
pub type Uid = Arc<str>;

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Task {
    /// Does it still have an owner?
    Check(Uid),
    /// Are its blocking dependents gone, so that it may go?
    Foreground(Uid),
    /// Let its dependents go, then itself.
    Orphan(Uid),
}

/// Where to find an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Index of its kind in the collector's table.
    pub kind: usize,
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    /// Owner uid, and whether the owner's foreground deletion waits for us.
    owners: Box<[(Uid, bool)]>,
    foreground: bool,
    terminating: bool,
}

/// The graph.
#[derive(Debug, Default)]
pub struct Graph {
    entries: HashMap<Uid, Entry>,
    dependents: HashMap<Uid, HashSet<Uid>>,
    alive: Alive,
    /// So that a look that started before a deletion isn't believed after it.
    deleted: Recent<()>,
    /// When owners were deleted whose dependents shall stay: some of those may be seen only afterwards.
    letting_go: Recent<Time>,
}

fn has(finalizers: Option<&Vec<String>>, finalizer: &str) -> bool {
    finalizers.into_iter().flatten().any(|found| found == finalizer)
}

fn blocks(owner: &OwnerReference) -> bool {
    owner.block_owner_deletion == Some(true)
}

impl Graph {
    /// An object was seen; what to look at now. `home` is the namespace of an owner (empty if it has none) that is there,
    /// or whose deletion will be told.
    pub fn applied(
        &mut self,
        kind: usize,
        metadata: &ObjectMeta,
        home: impl Fn(&OwnerReference) -> Option<Arc<str>>,
    ) -> Vec<Task> {
        let Some(uid) = metadata.uid.as_deref() else {
            return Vec::new();
        };
        let uid = self.known_uid(uid);
        let terminating = metadata.deletion_timestamp.is_some();
        let finalizers = metadata.finalizers.as_ref();
        let foreground = terminating && has(finalizers, FOREGROUND);
        let orphan = terminating && has(finalizers, ORPHAN);
        let references = metadata.owner_references.as_deref().unwrap_or_default();
        let mut tasks = Vec::new();
        if references.is_empty() && !foreground && !orphan {
            tasks.extend(self.unlink(&uid));
            return tasks;
        }
        let owners: Box<[(Uid, bool)]> = references
            .iter()
            .map(|owner| (self.known_uid(&owner.uid), blocks(owner)))
            .collect();
        let known = self.entries.get(&uid);
        let same = known.is_some_and(|entry| entry.owners == owners);
        let place = match known {
            // Only its versions change.
            Some(known) => known.place.clone(),
            None => Place {
                kind,
                namespace: NAMESPACES.share(metadata.namespace.as_deref().unwrap_or_default().into()),
                name: metadata.name.as_deref().unwrap_or_default().into(),
            },
        };
        if !same {
            tasks.extend(self.unlink(&uid));
            for (owner, _) in owners.iter() {
                self.dependents
                    .entry(owner.clone())
                    .or_default()
                    .insert(uid.clone());
            }
        }
        let was_foreground = self.entries.get(&uid).is_some_and(|entry| entry.foreground);
        if !same && !terminating {
            for owner in references {
                if !self.is_foreground(&owner.uid)
                    && let Some(home) = home(owner)
                {
                    self.found_alive(owner, &home);
                }
            }
            let namespace = &place.namespace;
            if references.iter().any(|owner| !self.is_there(owner, namespace)) {
                tasks.push(Task::Check(uid.clone()));
            }
        }
        self.entries.insert(
            uid.clone(),
            Entry {
                place,
                owners,
                foreground,
                terminating,
            },
        );
        if orphan {
            if let Some(at) = &metadata.deletion_timestamp {
                self.letting_go.insert(uid.clone(), at.clone());
            }
            tasks.push(Task::Orphan(uid));
        } else if foreground && !was_foreground {
            tasks.push(Task::Foreground(uid.clone()));
            tasks.extend(self.dependents_of(&uid).into_iter().map(Task::Check));
        }
        tasks
    }

    /// The uid, in the memory of what is known of it already.
    fn known_uid(&self, uid: &str) -> Uid {
        let entry = self.entries.get_key_value(uid).map(|(known, _)| known);
        let owner = || self.dependents.get_key_value(uid).map(|(known, _)| known);
        entry.or_else(owner).cloned().unwrap_or_else(|| uid.into())
    }

    /// Objects with an owner that was not seen alive: those to look at when more kinds can be judged.
    pub fn unsettled(&self) -> Vec<Task> {
        let unsettled = |entry: &Entry| {
            let mut owners = entry.owners.iter();
            owners.any(|(owner, _)| !self.is_alive(owner, &entry.place.namespace))
        };
        let entries = self.entries.iter().filter(|(_, entry)| unsettled(entry));
        entries.map(|(uid, _)| Task::Check(uid.clone())).collect()
    }

    /// Whether an object was there and is gone, as far as that is remembered.
    pub fn was_deleted(&self, uid: &str) -> bool {
        self.deleted.get(uid).is_some()
    }

    /// Whether an owner of that uid let go what was there when it was deleted, and an object `created` then was.
    pub fn let_go(&self, uid: &str, created: &Time) -> bool {
        self.letting_go.get(uid).is_some_and(|at| created.0 <= at.0)
    }

    /// An object is gone; what to look at now.
    pub fn deleted(&mut self, uid: &str) -> Vec<Task> {
        let uid = Uid::from(uid);
        let mut tasks: Vec<Task> = self.dependents_of(&uid).into_iter().map(Task::Check).collect();
        tasks.extend(self.unlink(&uid));
        self.alive.forget(&uid);
        // Of objects that own and owe nothing nobody asks.
        if !tasks.is_empty() || self.dependents.contains_key(&uid) {
            self.deleted.insert(uid, ());
        }
        tasks
    }

    /// Forgets `uid`; owners that waited for it are to be looked at.
    fn unlink(&mut self, uid: &Uid) -> Vec<Task> {
        let Some(entry) = self.entries.remove(uid) else {
            return Vec::new();
        };
        let mut tasks = Vec::new();
        for (owner, _) in entry.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner);
                }
            }
            if self.entries.get(&owner).is_some_and(|owner| owner.foreground) {
                tasks.push(Task::Foreground(owner));
            }
        }
        tasks
    }

    /// Where `uid` is, if it is remembered.
    pub fn place(&self, uid: &str) -> Option<Place> {
        self.entries.get(uid).map(|entry| entry.place.clone())
    }

    /// Everything that names `uid` as an owner.
    pub fn dependents_of(&self, uid: &str) -> Vec<Uid> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// How those are that name `uid` as an owner.
    pub fn dependents_are(&self, uid: &str) -> Dependents {
        match self.dependents.get(uid) {
            None => Dependents::None,
            Some(some) if some.iter().any(|dependent| self.is_foreground(dependent)) => Dependents::Waiting,
            Some(_) => Dependents::There,
        }
    }

    /// The dependents that `uid`'s foreground deletion waits for.
    pub fn blocking(&self, uid: &str) -> Vec<Uid> {
        let blocks = |dependent: &Uid| {
            self.entries.get(dependent).is_some_and(|entry| {
                entry
                    .owners
                    .iter()
                    .any(|(owner, blocks)| **owner == *uid && *blocks)
            })
        };
        self.dependents_of(uid).into_iter().filter(blocks).collect()
    }

    /// Whether `uid` is being deleted, so that nothing is left to decide about it.
    pub fn is_terminating(&self, uid: &str) -> bool {
        self.entries.get(uid).is_some_and(|entry| entry.terminating)
    }

    /// Whether `uid` is being deleted and waits for its dependents.
    pub fn is_foreground(&self, uid: &str) -> bool {
        self.entries.get(uid).is_some_and(|entry| entry.foreground)
    }

    /// Whether the owner was seen alive, and not deleted since, where objects of that namespace can have owners.
    pub fn is_alive(&self, uid: &str, namespace: &str) -> bool {
        let home = self.alive.home(uid);
        home.is_some_and(|home| home.is_empty() || **home == *namespace)
    }

    /// Whether it was seen alive as what `owner` names: of the right uid, another kind or name may be meant.
    pub fn is_there(&self, owner: &OwnerReference, namespace: &str) -> bool {
        self.is_alive(&owner.uid, namespace) && self.alive.is_named(owner)
    }

    /// Whether the owner is alive in another namespace: nothing in `namespace` can be owned by it.
    pub fn is_abroad(&self, uid: &str, namespace: &str) -> bool {
        self.alive.home(uid).is_some() && !self.is_alive(uid, namespace)
    }

    /// A look found the owner in that namespace, of a kind whose deletion we would see.
    pub fn found_alive(&mut self, owner: &OwnerReference, home: &Arc<str>) {
        if !self.was_deleted(&owner.uid) {
            self.alive
                .found(self.known_uid(&owner.uid), NAMESPACES.share(home.clone()), owner);
        }
    }
}

#[cfg(test)]
mod tests;
