//! Objects, their versions, and what happened to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::kinds::Kind;
use crate::random::Random;

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: &'static Kind,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Controllers,
    Scheduler,
    Agent,
    User,
}

/// One version of one object.
#[derive(Debug, Clone)]
pub struct Commit {
    pub version: u64,
    pub at: Instant,
    pub by: Actor,
    pub key: Key,
    /// Before; `None` for a new object.
    pub old: Option<Arc<Value>>,
    /// After; `None` for a deleted one.
    pub new: Option<Arc<Value>>,
    /// What watches carry: the new object, or the last state of a deleted one with its last version.
    pub shown: Arc<Value>,
}

type Hook = Box<dyn Fn(&Contents, &Commit) + Send + Sync>;

/// Everything there is.
#[derive(Default)]
pub struct Contents {
    pub objects: BTreeMap<Key, Arc<Value>>,
    pub log: Vec<Commit>,
    pub version: u64,
    /// Watches from before this version are told that it is gone.
    pub compacted: u64,
    pub uids: u64,
}

impl Contents {
    pub fn of_kind<'a>(&'a self, kind: &'static Kind) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        self.objects.iter().filter(move |(key, _)| key.kind == kind)
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The newest version that there was before `moment`.
    pub fn version_before(&self, moment: Instant) -> u64 {
        let later = self.log.partition_point(|commit| commit.at < moment);
        later.checked_sub(1).map_or(0, |last| self.log[last].version)
    }
}

/// The store.
pub struct Store {
    contents: Mutex<Contents>,
    names: Mutex<Random>,
    hook: Hook,
    pub changed: watch::Sender<u64>,
}

impl Store {
    /// `hook` sees every commit just after it.
    pub fn new(random: Random, hook: impl Fn(&Contents, &Commit) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            contents: Mutex::default(),
            names: Mutex::new(random),
            hook: Box::new(hook),
            changed: watch::Sender::new(0),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    /// Five characters as servers append them.
    pub fn suffix(&self) -> String {
        let letters = b"bcdfghjklmnpqrstvwxz2456789";
        let mut random = self.names.lock().unwrap();
        (0..5)
            .map(|_| char::from(*random.pick(letters).unwrap()))
            .collect()
    }

    pub fn commit(&self, contents: &mut Contents, by: Actor, key: Key, new: Option<Value>) -> Arc<Value> {
        contents.version += 1;
        let version = contents.version;
        let old = contents.objects.get(&key).cloned();
        let stamp = |mut value: Value| {
            value["metadata"]["resourceVersion"] = Value::String(version.to_string());
            Arc::new(value)
        };
        let new = new.map(stamp);
        let shown = match (&new, &old) {
            (Some(new), _) => new.clone(),
            (None, Some(old)) => stamp((**old).clone()),
            (None, None) => unreachable!("a deletion of nothing"),
        };
        match &new {
            Some(new) => drop(contents.objects.insert(key.clone(), new.clone())),
            None => drop(contents.objects.remove(&key)),
        }
        let commit = Commit {
            version,
            at: Instant::now(),
            by,
            key,
            old,
            new,
            shown: shown.clone(),
        };
        (self.hook)(contents, &commit);
        contents.log.push(commit);
        self.changed.send_replace(version);
        shown
    }

    /// Watches can no longer be resumed from before now.
    pub fn compact(&self) {
        let mut contents = self.lock();
        contents.compacted = contents.version;
    }
}
