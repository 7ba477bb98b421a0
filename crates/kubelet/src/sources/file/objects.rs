//! The directory of ConfigMaps and Secrets for static pods (`orlop.dev/staticObjectsPath`), told by inotify like that
//! of manifests. A file that can't be used any more keeps what it last held.
use super::super::fault::Fault;
use super::files::read_limited;
use super::{FileSource, WATCH_RETRY, leftover};
use crate::environment::local::{LocalObjects, Origin};
use orlop_api::manifest::{LocalObject, local_objects};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// What a file last held.
#[derive(Default)]
struct Entry {
    digest: Option<u128>,
    objects: Vec<LocalObject>,
}

/// Reads the directory.
pub struct ObjectSource {
    files: FileSource,
    objects: LocalObjects,
    entries: BTreeMap<PathBuf, Entry>,
}

impl ObjectSource {
    pub fn new(files: FileSource, objects: LocalObjects) -> Self {
        Self {
            files,
            objects,
            entries: BTreeMap::new(),
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
            Err(error) => return vec![fault(&self.files.path, error.to_string(), true)],
        };
        let is_copy = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            let original = name.and_then(leftover::original);
            original.is_some_and(|original| paths.contains(&path.with_file_name(original)))
        };
        let paths: Vec<PathBuf> = paths.iter().filter(|path| !is_copy(path)).cloned().collect();
        self.entries.retain(|path, _| paths.contains(path));
        let mut faults = Vec::new();
        for path in paths {
            let bytes = match read_limited(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    faults.push(fault(&path, error.to_string(), self.entries.contains_key(&path)));
                    continue;
                }
            };
            let entry = self.entries.entry(path.clone()).or_default();
            let digest = Some(orlop_api::fnv::fnv1a128(&bytes));
            if entry.digest == digest {
                continue;
            }
            entry.digest = digest;
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
            let Some(stream) = &mut events else {
                tokio::time::sleep(WATCH_RETRY).await;
                continue;
            };
            if self.files.next(stream).await.is_none() {
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
