//! Whether what clients were told is what the store has, and whether everything in it is whole. Pure, but for reading
//! the store.
use super::clients::Answered;
use super::follow::Told;
use orlop_store::{EventKind, Store, WatchRequest};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Keys are told without this.
const ROOT: &str = "/registry/";
/// What writes are guarded by lies here.
const GUARDS: &str = "/registry/orlop/";

/// One change: the new value, or none.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at: u64,
    pub key: String,
    pub value: Option<Value>,
}

/// All changes there were, in order.
#[derive(Default)]
pub struct Log(Vec<Entry>);

impl Log {
    /// Reads the whole history of a store that nobody writes to.
    pub async fn read(store: Arc<dyn Store>) -> Self {
        let last = store.status().await.unwrap().revision;
        let request = WatchRequest::prefix(ROOT, Some(orlop_store::Revision(1)));
        let mut watch = store.watch(request).await.unwrap();
        let mut log = Self::default();
        loop {
            let batch = watch.recv().await.unwrap().unwrap();
            for event in batch.events {
                // What writes are guarded by is no object.
                if event.kv.key.as_str().unwrap().starts_with(GUARDS) {
                    continue;
                }
                log.0.push(Entry {
                    at: event.kv.mod_revision.0,
                    key: event.kv.key.as_str().unwrap().trim_start_matches(ROOT).to_owned(),
                    value: match event.kind {
                        EventKind::Put => Some(serde_json::from_slice(&event.kv.value).unwrap()),
                        EventKind::Delete => None,
                    },
                });
            }
            if batch.revision >= last {
                return log;
            }
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Changes of one collection: version, type as a watch tells it, name.
    fn changes(&self, prefix: &str) -> Vec<(u64, &'static str, String)> {
        let mut there: HashMap<&str, bool> = HashMap::new();
        let mut changes = Vec::new();
        for entry in self.0.iter().filter(|entry| entry.key.starts_with(prefix)) {
            let is_there = there.entry(&entry.key).or_default();
            let kind = match (&entry.value, *is_there) {
                (None, _) => "DELETED",
                (Some(_), true) => "MODIFIED",
                (Some(_), false) => "ADDED",
            };
            *is_there = entry.value.is_some();
            let name = entry.key.rsplit('/').next().unwrap_or_default().to_owned();
            changes.push((entry.at, kind, name));
        }
        changes
    }

    /// The objects of a collection after everything up to `at`.
    fn state(&self, prefix: &str, at: u64) -> BTreeMap<String, u64> {
        let mut state = BTreeMap::new();
        let entries = self.0.iter().filter(|entry| entry.key.starts_with(prefix));
        for entry in entries.take_while(|entry| entry.at <= at) {
            let name = entry.key.rsplit('/').next().unwrap_or_default().to_owned();
            match entry.value {
                Some(_) => drop(state.insert(name, entry.at)),
                None => drop(state.remove(&name)),
            }
        }
        state
    }

    /// No write is done twice, and none that was answered is missing.
    pub fn has(&self, answered: &[Answered]) -> Result<(), String> {
        let mut by_revision: HashMap<(u64, &str), &Entry> = HashMap::new();
        let mut deletions: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut uids: HashMap<&str, &str> = HashMap::new();
        for entry in &self.0 {
            by_revision.insert((entry.at, entry.key.as_str()), entry);
            match &entry.value {
                Some(value) => {
                    let uid = value["metadata"]["uid"].as_str().unwrap_or_default();
                    if deletions
                        .get(entry.key.as_str())
                        .is_some_and(|gone| gone.contains(&uid))
                    {
                        return Err(format!(
                            "{} came back at {} with the uid {uid}",
                            entry.key, entry.at
                        ));
                    }
                    uids.insert(&entry.key, uid);
                }
                None => {
                    let uid = uids.remove(entry.key.as_str()).unwrap_or_default();
                    deletions.entry(&entry.key).or_default().push(uid);
                }
            }
        }
        for write in answered {
            match write {
                Answered::Wrote { key, object } => {
                    let at = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                    let at = at.parse().unwrap_or_default();
                    let stored = by_revision
                        .get(&(at, key.as_str()))
                        .and_then(|entry| entry.value.as_ref());
                    let Some(stored) = stored else {
                        return Err(format!("the write of {key} at {at} was answered and is missing"));
                    };
                    for part in ["/metadata/uid", "/metadata/labels/token", "/data/token"] {
                        if stored.pointer(part) != object.pointer(part) {
                            return Err(format!("{key} at {at} is {stored} and was answered as {object}"));
                        }
                    }
                }
                Answered::Deleted { key, uid } => {
                    if !deletions
                        .get(key.as_str())
                        .is_some_and(|gone| gone.contains(&uid.as_str()))
                    {
                        return Err(format!(
                            "the deletion of {key} ({uid}) was answered and is missing"
                        ));
                    }
                }
            }
        }
        self.once()
    }

    /// Each token is of one client's one write: it appears once, and stays until another takes its place.
    fn once(&self) -> Result<(), String> {
        let mut now: HashMap<&str, &str> = HashMap::new();
        let mut seen: HashMap<(&str, &str), u64> = HashMap::new();
        for entry in &self.0 {
            let token = entry
                .value
                .as_ref()
                .and_then(|value| value.pointer("/metadata/labels/token"))
                .and_then(Value::as_str);
            let Some(token) = token else {
                now.remove(entry.key.as_str());
                continue;
            };
            if now.insert(&entry.key, token) != Some(token)
                && let Some(before) = seen.insert((entry.key.as_str(), token), entry.at)
            {
                return Err(format!(
                    "{token} was written to {} at {before} and again at {}",
                    entry.key, entry.at
                ));
            }
        }
        Ok(())
    }

    /// What an informer was told is every change from its first list on, once and in order; a later list is the state
    /// of its version.
    pub fn agrees(&self, prefix: &str, told: &[Told]) -> Result<(), String> {
        let changes = self.changes(prefix);
        let mut at = None;
        for one in told {
            match one {
                Told::Listed { at: listed, objects } => {
                    if at.is_some_and(|at| *listed < at) {
                        return Err(format!("a list of {listed} after the version {at:?} was seen"));
                    }
                    let state = self.state(prefix, *listed);
                    if state != *objects {
                        return Err(format!("a list of {listed} had {objects:?} instead of {state:?}"));
                    }
                    at = Some(*listed);
                }
                Told::Changed {
                    at: changed,
                    kind,
                    name,
                } => {
                    let from = at.unwrap_or_default();
                    let next = changes.iter().find(|(version, ..)| *version > from);
                    if next.map(|(v, k, n)| (*v, *k, n)) != Some((*changed, kind.as_str(), name)) {
                        return Err(format!(
                            "after {from} came {kind} {name} at {changed} instead of {next:?}"
                        ));
                    }
                    at = Some(*changed);
                }
            }
        }
        Ok(())
    }

    /// Nothing that was ever stored is half made.
    pub fn is_whole(&self) -> Result<(), String> {
        for entry in &self.0 {
            if let Some(value) = &entry.value {
                whole(value).map_err(|why| format!("{} at {}: {why}", entry.key, entry.at))?;
            }
        }
        Ok(())
    }
}

/// Whether an object has all that the server gives to its kind.
pub fn whole(object: &Value) -> Result<(), String> {
    let mut wanted = vec!["/metadata/uid", "/metadata/creationTimestamp", "/metadata/name"];
    match object["kind"].as_str().unwrap_or_default() {
        "Pod" => wanted.extend([
            "/spec/restartPolicy",
            "/spec/terminationGracePeriodSeconds",
            "/spec/dnsPolicy",
            "/spec/schedulerName",
            "/spec/securityContext",
            "/spec/serviceAccountName",
            "/spec/priority",
            "/spec/tolerations/1",
            "/spec/containers/0/imagePullPolicy",
            "/spec/containers/0/resources/requests/cpu",
            "/status/phase",
            "/status/qosClass",
            "/metadata/managedFields/0",
        ]),
        "Thing" => wanted.extend(["/spec/size", "/metadata/generation"]),
        "CustomResourceDefinition" => wanted.extend([
            "/spec/names/listKind",
            "/spec/names/singular",
            "/spec/conversion/strategy",
            "/status/conditions/1",
            "/status/acceptedNames/plural",
            "/status/storedVersions/0",
        ]),
        _ => {}
    }
    match wanted.iter().find(|pointer| object.pointer(pointer).is_none()) {
        Some(missing) => Err(format!("{missing} is missing in {object}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn log(entries: &[(u64, &str, Option<&str>)]) -> Log {
        let entry = |(at, name, token): &(u64, &str, Option<&str>)| Entry {
            at: *at,
            key: format!("configmaps/default/{name}"),
            value: token.map(|t| json!({"metadata": {"uid": "u", "labels": {"token": t}}})),
        };
        Log(entries.iter().map(entry).collect())
    }

    fn changed(at: u64, kind: &str, name: &str) -> Told {
        Told::Changed {
            at,
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The checker itself finds what it is there for.
    #[test]
    fn gaps_repeats_and_lost_writes_are_found() {
        let three = log(&[(2, "a", Some("1")), (5, "a", Some("2")), (7, "a", None)]);
        let listed = |at: u64, objects: &[(&str, u64)]| Told::Listed {
            at,
            objects: objects
                .iter()
                .map(|(name, at)| ((*name).to_owned(), *at))
                .collect(),
        };
        let all = [
            listed(1, &[]),
            changed(2, "ADDED", "a"),
            changed(5, "MODIFIED", "a"),
            changed(7, "DELETED", "a"),
        ];
        let agrees = |told: &[Told]| three.agrees("configmaps/", told).is_ok();
        assert!(agrees(&all));
        assert!(agrees(&all[..2]), "it may have been stopped anywhere");
        assert!(agrees(&[
            listed(1, &[]),
            listed(6, &[("a", 5)]),
            changed(7, "DELETED", "a")
        ]));
        assert!(!agrees(&[listed(1, &[]), changed(5, "MODIFIED", "a")]), "a gap");
        assert!(
            !agrees(&[listed(1, &[]), changed(2, "ADDED", "a"), changed(2, "ADDED", "a")]),
            "a repeat"
        );
        assert!(!agrees(&[listed(6, &[])]), "a list without an object");
        assert!(
            !agrees(&[listed(6, &[("a", 5)]), listed(2, &[("a", 2)])]),
            "back in time"
        );
        let wrote = |at: &str, token: &str| Answered::Wrote {
            key: "configmaps/default/a".to_owned(),
            object: json!({"metadata": {"uid": "u", "resourceVersion": at, "labels": {"token": token}}}),
        };
        assert!(three.has(&[wrote("2", "1"), wrote("5", "2")]).is_ok());
        assert!(three.has(&[wrote("6", "2")]).is_err(), "a lost write");
        assert!(
            three.has(&[wrote("5", "3")]).is_err(),
            "another write in its place"
        );
        let gone = |uid: &str| Answered::Deleted {
            key: "configmaps/default/a".to_owned(),
            uid: uid.to_owned(),
        };
        assert!(three.has(&[gone("u")]).is_ok());
        assert!(three.has(&[gone("v")]).is_err(), "a lost deletion");
        let twice = log(&[(2, "a", Some("1")), (3, "a", Some("2")), (4, "a", Some("1"))]);
        assert!(twice.has(&[]).is_err(), "a write done twice");
        let back = log(&[(2, "a", Some("1")), (3, "a", None), (4, "a", Some("2"))]);
        assert!(back.has(&[]).is_err(), "deleted and there again");
    }

    #[test]
    fn half_made_objects_are_found() {
        let pod = json!({"kind": "Pod", "metadata": {"uid": "u", "creationTimestamp": "t", "name": "p"}, "spec": {}});
        assert!(
            whole(&pod)
                .unwrap_err()
                .starts_with("/spec/restartPolicy is missing")
        );
    }
}
