//! The directory of ConfigMaps and Secrets for static pods (`orlop.dev/staticObjectsPath`), told by inotify like that
//! of manifests. A file that can't be used any more keeps what it last held.
use super::super::fault::{Fault, is_news};
use super::{FileSource, WATCH_RETRY, leftover, read_limited, too_long};
use crate::environment::local::{LocalObjects, Origin};
use orlop_api::manifest::{LocalObject, local_objects};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// What a file last held.
#[derive(Default)]
struct Entry {
    digest: Option<u128>,
    objects: Vec<LocalObject>,
    /// Why it could not be read the last time, which was told.
    unreadable: Option<String>,
}

/// Reads the directory.
pub struct ObjectSource {
    files: FileSource,
    objects: LocalObjects,
    entries: BTreeMap<PathBuf, Entry>,
    /// Files that are left alone as copies of others that are, or were, beside them.
    copies: BTreeSet<PathBuf>,
    /// Why the directory could not be read the last time, which was told.
    unreadable: Option<String>,
}

impl ObjectSource {
    pub fn new(files: FileSource, objects: LocalObjects) -> Self {
        Self {
            files,
            objects,
            entries: BTreeMap::new(),
            copies: BTreeSet::new(),
            unreadable: None,
        }
    }

    /// Reads what changed; the new faults. To be called once before pods start, which then find their objects.
    pub fn read(&mut self) -> Vec<Fault> {
        let fault = |path: &Path, reason: String, keeps_running| Fault {
            manifest: path.display().to_string(),
            reason,
            keeps_running,
        };
        let paths = match self.files.paths() {
            Ok(paths) => paths,
            // Unreadable is not the same as empty.
            Err(error) => {
                let reason = error.to_string();
                return match is_news(&mut self.unreadable, &reason) {
                    true => vec![fault(&self.files.path, reason, true)],
                    false => Vec::new(),
                };
            }
        };
        self.unreadable = None;
        self.entries.retain(|path, _| paths.contains(path));
        self.copies.retain(|path| paths.contains(path));
        let is_copy = |path: &PathBuf| {
            let original = leftover::original_of(path);
            original.is_some_and(|original| paths.contains(&original))
        };
        let copies = paths
            .iter()
            .filter(|path| !self.entries.contains_key(*path) && is_copy(path));
        self.copies.extend(copies.cloned());
        let copies = &self.copies;
        let paths = paths.iter().filter(|path| !copies.contains(*path)).cloned();
        let paths: Vec<PathBuf> = paths.collect();
        let mut faults = Vec::new();
        for path in paths {
            let bytes = match read_limited(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let reason = error.to_string();
                    let entry = self.entries.entry(path.clone()).or_default();
                    if is_news(&mut entry.unreadable, &reason) {
                        faults.push(fault(&path, reason, !entry.objects.is_empty()));
                    }
                    continue;
                }
            };
            let entry = self.entries.entry(path.clone()).or_default();
            entry.unreadable = None;
            let digest = Some(orlop_api::fnv::fnv1a128(&bytes));
            if entry.digest == digest {
                continue;
            }
            entry.digest = digest;
            if let Some(reason) = too_long(&bytes) {
                faults.push(fault(&path, reason, !entry.objects.is_empty()));
                continue;
            }
            match local_objects(&bytes) {
                Ok(objects) => entry.objects = objects,
                Err(errors) => {
                    let reason = errors
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("; ");
                    faults.push(fault(&path, reason, !entry.objects.is_empty()));
                }
            }
        }
        let all = self.entries.values().flat_map(|entry| &entry.objects);
        self.objects.replace(Origin::Directory, all);
        faults
    }

    /// Follows the directory for as long as it is polled.
    pub async fn run(mut self, faults: mpsc::Sender<Fault>) {
        let mut events = None;
        loop {
            // Listening begins before reading: what changes in between is told.
            if events.is_none() {
                events = self
                    .files
                    .listen()
                    .inspect_err(|error| self.files.tell_deaf(error))
                    .ok();
            }
            for fault in self.read() {
                // The receiver lives as long as the agent.
                let _ = faults.send(fault).await;
            }
            let Some(listening) = &mut events else {
                tokio::time::sleep(WATCH_RETRY).await;
                continue;
            };
            if self.files.next(listening).await.is_none() {
                events = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::objects::ObjectKind;
    use std::time::Duration;

    #[test]
    fn copies_are_left_alone_beside_their_originals_and_after_them_and_troubles_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let map = |value: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: d}}\ndata: {{k: {value}}}\n"
            )
        };
        std::fs::write(path("a.yaml"), map("new")).unwrap();
        std::fs::write(path("a.yaml~"), map("old")).unwrap();
        let files = |path: PathBuf| FileSource {
            path,
            node_name: "n1".into(),
            rescan: Duration::from_secs(20),
            objects: None,
        };
        let objects = LocalObjects::default();
        let mut source = ObjectSource::new(files(dir.path().to_path_buf()), objects.clone());
        assert!(source.read().is_empty());
        let value = || {
            let found = objects.get(ObjectKind::ConfigMap, "d", "a");
            found.ok().map(|found| found.data["k"].clone())
        };
        assert_eq!(value().unwrap(), b"new");
        std::fs::remove_file(path("a.yaml")).unwrap();
        assert!(source.read().is_empty());
        assert_eq!(value(), None, "what was deleted does not come back as its copy");
        std::os::unix::fs::symlink("b.yaml", path("b.yaml")).unwrap();
        let of_itself = ObjectSource::new(files(path("b.yaml")), objects.clone());
        for mut source in [source, of_itself] {
            assert_eq!(source.read().len(), 1);
            assert!(source.read().is_empty(), "it is told once");
        }
    }

    #[test]
    fn file_that_is_too_long_is_not_taken_for_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let mut text = String::new();
        while text.len() < orlop_api::manifest::MANIFEST_BYTES_MAX {
            let padding = " ".repeat(1 << 20);
            let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: d}\n#";
            text = format!("{text}{map}{padding}\n");
        }
        std::fs::write(dir.path().join("a.yaml"), text).unwrap();
        let files = FileSource {
            path: dir.path().to_path_buf(),
            node_name: "n1".into(),
            rescan: Duration::from_secs(20),
            objects: None,
        };
        let objects = LocalObjects::default();
        let faults = ObjectSource::new(files, objects.clone()).read();
        assert!(faults[0].reason.contains("bytes or more"), "{faults:?}");
        assert!(objects.get(ObjectKind::ConfigMap, "d", "a").is_err());
    }

    #[tokio::test]
    async fn edits_are_taken_over_and_bad_ones_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("objects");
        std::fs::create_dir(&path).unwrap();
        let write = |text: &str| {
            let fresh = path.join(".fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(&fresh, path.join("a.yaml")).unwrap();
        };
        let map = |value: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: kube-system}}\ndata: {{k: {value}}}\n"
            )
        };
        write(&map("one"));
        let files = FileSource {
            path: path.clone(),
            node_name: "n1".into(),
            rescan: Duration::from_secs(20),
            objects: None,
        };
        let objects = LocalObjects::default();
        let mut source = ObjectSource::new(files, objects.clone());
        assert!(source.read().is_empty());
        let value = || {
            objects
                .get(ObjectKind::ConfigMap, "kube-system", "a")
                .map(|found| found.data["k"].clone())
        };
        assert_eq!(value().unwrap(), b"one");

        let mut changes = objects.changes();
        let (tell, mut told) = mpsc::channel(4);
        let task = tokio::spawn(source.run(tell));
        write("kind: Pod\napiVersion: v1\n");
        let fault = told.recv().await.unwrap();
        assert!(
            fault.keeps_running && fault.reason.contains("neither a ConfigMap nor a Secret"),
            "{fault}"
        );
        assert_eq!(value().unwrap(), b"one");
        write(&map("two"));
        tokio::time::timeout(Duration::from_secs(5), changes.wait())
            .await
            .unwrap();
        assert_eq!(value().unwrap(), b"two");
        std::fs::remove_file(path.join("a.yaml")).unwrap();
        let _ = changes.version(&(ObjectKind::ConfigMap, String::new(), String::new()));
        tokio::time::timeout(Duration::from_secs(5), async {
            while value().is_ok() {
                changes.wait().await;
            }
        })
        .await
        .unwrap();
        task.abort();
    }
}
