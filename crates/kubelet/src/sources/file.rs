//! Static pods from a directory of manifests (or one file), told by inotify.
//!
//! Where upstream lets a bad edit take the running pod down at the next rescan, here the last good version of a file
//! stays in force until the file is mended or removed; the fault is told once per version of the file.
use super::fault::Fault;
use super::{Snapshot, Source, received};
use futures::{FutureExt, StreamExt};
use inotify::{EventMask, Inotify, WatchMask};
use k8s_openapi::api::core::v1::Pod;
use orlop_api::manifest::{self, MANIFEST_BYTES_MAX, StaticOrigin};
use orlop_api::pod::full_name;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Until inotify works again, or a missing directory is looked for again.
const WATCH_RETRY: Duration = Duration::from_secs(1);
/// Room for a burst of events; what does not fit is read in the next turn.
const EVENT_BUFFER_BYTES: usize = 4096;

/// How files are read.
#[derive(Clone, Debug)]
pub struct FileSource {
    /// A directory, or one file.
    pub path: PathBuf,
    /// Becomes part of the pods' names.
    pub node_name: String,
    /// The rescan that finds what inotify missed (`fileCheckFrequency`).
    pub rescan: Duration,
}

/// Which files an event asks to be read.
#[derive(Debug, PartialEq, Eq)]
enum Scope {
    All,
    Named(BTreeSet<OsString>),
}

/// What a file last gave.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Identity of the content that was last looked at.
    digest: Option<u128>,
    /// The last good pod.
    pod: Option<Arc<Pod>>,
}

/// The files as last read; a pure step from one reading to the next.
#[derive(Default)]
struct Files {
    entries: BTreeMap<PathBuf, Entry>,
}

impl FileSource {
    /// Sends a snapshot at start and whenever the files ask for something else; faults go to `faults`.
    pub async fn run(self, snapshots: mpsc::Sender<Snapshot>, faults: mpsc::Sender<Fault>) {
        let mut files = Files::default();
        let mut first = true;
        let mut events = None;
        let mut scope = Scope::All;
        loop {
            // Listening begins before reading: what changes in between is told.
            if events.is_none() {
                scope = Scope::All;
                events = self.listen().inspect_err(|error| self.tell_deaf(error)).ok();
            }
            let (changed, found) = files.read(&self, &scope);
            for fault in found {
                // The receiver lives as long as the agent.
                let _ = faults.send(fault).await;
            }
            if (changed || first) && snapshots.send(files.snapshot()).await.is_err() {
                return;
            }
            first = false;
            let Some(stream) = &mut events else {
                tokio::time::sleep(WATCH_RETRY).await;
                continue;
            };
            match self.next(stream).await {
                Some(next) => scope = next,
                None => events = None,
            }
        }
    }

    fn tell_deaf(&self, error: &std::io::Error) {
        tracing::warn!(path = %self.path.display(), %error, "cannot watch for manifests: looking again soon");
    }

    /// Listens to the directory; for a single file or a missing path, to the nearest directory above it.
    fn listen(&self) -> std::io::Result<inotify::EventStream<Vec<u8>>> {
        let inotify = Inotify::init()?;
        // Not MODIFY: a file is read when its writer has closed it, never half-written.
        let mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        inotify.watches().add(self.watched(), mask)?;
        inotify.into_event_stream(vec![0; EVENT_BUFFER_BYTES])
    }

    fn watched(&self) -> &Path {
        self.path
            .ancestors()
            .find(|path| path.is_dir())
            .unwrap_or(Path::new("/"))
    }

    /// What to read next: by events that are there, or all of it after the rescan period. `None`: listen anew.
    async fn next(&self, stream: &mut inotify::EventStream<Vec<u8>>) -> Option<Scope> {
        let watched = self.watched().to_path_buf();
        let mut scope = Scope::Named(BTreeSet::new());
        let Ok(mut event) = tokio::time::timeout(self.rescan, stream.next()).await else {
            return Some(Scope::All);
        };
        loop {
            let Some(Ok(heard)) = event else { return None };
            let gone =
                EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED | EventMask::UNMOUNT;
            if heard.mask.intersects(gone) || watched != self.path {
                return None;
            }
            match (heard.name, &mut scope) {
                _ if heard.mask.contains(EventMask::Q_OVERFLOW) => scope = Scope::All,
                (Some(name), Scope::Named(names)) => {
                    let fresh = heard.mask.contains(EventMask::CREATE);
                    let unfinished = fresh && is_being_written(&watched.join(&name));
                    if !unfinished && !is_hidden(Path::new(&name)) {
                        names.insert(name);
                    }
                }
                _ => {}
            }
            // A rename is two events: both belong to one reading.
            match stream.next().now_or_never() {
                Some(next) => event = next,
                None => return Some(scope),
            }
        }
    }

    fn paths(&self) -> std::io::Result<Vec<PathBuf>> {
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if metadata.is_file() {
            return Ok(vec![self.path.clone()]);
        }
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.path)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !is_hidden(path) && path.is_file())
            .collect();
        paths.sort();
        Ok(paths)
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .and_then(OsStr::to_str)
        .is_some_and(|name| name.starts_with('.'))
}

/// A regular file that was just created gets its content yet: closing it is told. A link is whole at once.
fn is_being_written(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.nlink() == 1)
}

impl Files {
    /// Reads the files in scope that changed; whether another set of pods came out, and the new faults.
    fn read(&mut self, source: &FileSource, scope: &Scope) -> (bool, Vec<Fault>) {
        let paths = match source.paths() {
            Ok(paths) => paths,
            Err(error) => {
                // Unreadable is not the same as empty: nothing is taken down.
                let reason = error.to_string();
                return (
                    false,
                    vec![Fault {
                        manifest: source.path.display().to_string(),
                        reason,
                        keeps_running: true,
                    }],
                );
            }
        };
        let mut changed = false;
        let mut faults = Vec::new();
        self.entries.retain(|path, entry| {
            let stays = paths.contains(path);
            changed |= !stays && entry.pod.is_some();
            stays
        });
        for path in paths {
            let named = match (scope, path.file_name()) {
                (Scope::Named(names), Some(name)) => names.contains(name),
                _ => true,
            };
            if named {
                changed |= self.read_file(path, source, &mut faults);
            }
        }
        (changed, faults)
    }

    fn read_file(&mut self, path: PathBuf, source: &FileSource, faults: &mut Vec<Fault>) -> bool {
        let known = self.entries.get(&path).cloned().unwrap_or_default();
        let keeps_running = known.pod.is_some();
        let bytes = match read_limited(&path) {
            Ok(bytes) => bytes,
            // Gone between listing and reading: an event tells.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
            Err(error) => {
                faults.push(Fault {
                    manifest: path.display().to_string(),
                    reason: error.to_string(),
                    keeps_running,
                });
                return false;
            }
        };
        let digest = Some(orlop_api::fnv::fnv1a128(&bytes));
        if known.digest == digest {
            return false;
        }
        let entry = self.entries.entry(path.clone()).or_default();
        entry.digest = digest;
        match parse(&bytes, &path, &source.node_name) {
            Ok(pod) => {
                let same = |old: &Arc<Pod>| old.metadata.uid == pod.metadata.uid && old.spec == pod.spec;
                if entry.pod.as_ref().is_some_and(same) {
                    return false;
                }
                entry.pod = Some(Arc::new(pod));
                true
            }
            Err(reason) => {
                faults.push(Fault {
                    manifest: path.display().to_string(),
                    reason,
                    keeps_running,
                });
                false
            }
        }
    }

    /// One pod a full name: of two files, the lexically last wins, as it does upstream.
    fn snapshot(&self) -> Snapshot {
        let mut by_name: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
        for pod in self.entries.values().filter_map(|entry| entry.pod.as_ref()) {
            by_name.insert(full_name(pod), pod.clone());
        }
        Snapshot {
            source: Source::File,
            pods: by_name.into_values().collect(),
        }
    }
}

fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MANIFEST_BYTES_MAX as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8], path: &Path, node_name: &str) -> Result<Pod, String> {
    if bytes.len() >= MANIFEST_BYTES_MAX {
        return Err(format!(
            "the file has {MANIFEST_BYTES_MAX} bytes or more: a manifest must be smaller"
        ));
    }
    let origin = StaticOrigin {
        node_name: node_name.to_owned(),
        source: manifest::Source::File(path.to_path_buf()),
    };
    let pod = manifest::static_pod(bytes, &origin).map_err(|error| error.to_string())?;
    Ok(received(pod, Source::File))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec:\n  containers:\n  - {name: c, image: \"i:1\"}\n";

    fn source(path: &Path) -> FileSource {
        FileSource {
            path: path.to_path_buf(),
            node_name: "node-a".into(),
            rescan: Duration::from_secs(20),
        }
    }

    fn write(directory: &Path, file: &str, text: &str) {
        std::fs::write(directory.join(file), text).unwrap();
    }

    fn names(files: &Files) -> Vec<String> {
        files.snapshot().pods.iter().map(|pod| full_name(pod)).collect()
    }

    /// A directory with the manifest `a.yaml`, read once.
    fn with_a() -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.yaml", &POD.replace("NAME", "a"));
        let mut files = Files::default();
        files.read(&source(dir.path()), &Scope::All);
        (dir, files)
    }

    #[test]
    fn a01_every_visible_file_counts_whatever_its_extension() {
        let dir = tempfile::tempdir().unwrap();
        for (file, name) in [
            ("a.yaml", "a"),
            ("b.json", "b"),
            ("c.txt", "c"),
            ("d.yaml~", "d"),
            (".e.yaml", "e"),
        ] {
            write(dir.path(), file, &POD.replace("NAME", name));
        }
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        write(&dir.path().join("sub"), "f.yaml", &POD.replace("NAME", "f"));
        let mut files = Files::default();
        let (changed, faults) = files.read(&source(dir.path()), &Scope::All);
        assert!(changed && faults.is_empty(), "{faults:?}");
        let want = [
            "a-node-a_default",
            "b-node-a_default",
            "c-node-a_default",
            "d-node-a_default",
        ];
        assert_eq!(names(&files), want);
    }

    #[test]
    fn a02_missing_path_is_an_empty_set() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::default();
        assert_eq!(
            files.read(&source(&dir.path().join("later")), &Scope::All),
            (false, vec![])
        );
        assert!(names(&files).is_empty());
    }

    #[test]
    fn a03_pod_carries_hash_source_and_time() {
        let (_dir, files) = with_a();
        let pod = files.snapshot().pods[0].clone();
        let annotations = pod.metadata.annotations.clone().unwrap();
        assert_eq!(
            annotations["kubernetes.io/config.hash"],
            *pod.metadata.uid.as_ref().unwrap()
        );
        assert_eq!(annotations["kubernetes.io/config.source"], "file");
        let seen = &annotations["kubernetes.io/config.seen"];
        assert_eq!(
            seen.split('.')
                .nth(1)
                .unwrap()
                .chars()
                .take_while(char::is_ascii_digit)
                .count(),
            9,
            "{seen}"
        );
    }

    #[test]
    fn a04_comments_and_key_order_change_nothing() {
        let (dir, mut files) = with_a();
        let shuffled = "# a comment\nkind: Pod\napiVersion: v1\nspec:\n  containers:\n  - {image: \"i:1\", name: c}\n\
                        metadata: {name: a}\n";
        write(dir.path(), "a.yaml", shuffled);
        assert_eq!(files.read(&source(dir.path()), &Scope::All), (false, vec![]));
    }

    #[test]
    fn a05_bad_edit_keeps_the_last_good_pod_at_rescans_too_and_is_told_once() {
        let (dir, mut files) = with_a();
        write(dir.path(), "a.yaml", "apiVersion: v1\nkind: Pod\nspec: [");
        let (changed, faults) = files.read(&source(dir.path()), &Scope::All);
        assert!(!changed);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].keeps_running && faults[0].to_string().contains("a.yaml"),
            "{}",
            faults[0]
        );
        assert_eq!(
            files.read(&source(dir.path()), &Scope::All),
            (false, vec![]),
            "the same fault is no news"
        );
        assert_eq!(names(&files), ["a-node-a_default"]);
        write(
            dir.path(),
            "a.yaml",
            &POD.replace("NAME", "a").replace("i:1", "i:2"),
        );
        assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
    }

    #[test]
    fn a06_bad_neighbour_does_not_stop_a_good_one() {
        let (dir, mut files) = with_a();
        write(dir.path(), "b.yaml", "not a pod");
        let (changed, faults) = files.read(&source(dir.path()), &Scope::All);
        assert_eq!((changed, faults.len()), (false, 1));
        assert_eq!(names(&files), ["a-node-a_default"]);
    }

    #[test]
    fn a07_file_of_ten_mebibytes_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let text = POD.replace("NAME", "a");
        let padding = |bytes: usize| format!("{text}#{}", " ".repeat(bytes - text.len() - 1));
        write(dir.path(), "big.yaml", &padding(MANIFEST_BYTES_MAX));
        let mut files = Files::default();
        assert_eq!(files.read(&source(dir.path()), &Scope::All).1.len(), 1);
        write(dir.path(), "big.yaml", &padding(MANIFEST_BYTES_MAX - 1));
        assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
    }

    #[test]
    fn a09_renamed_manifest_is_another_pod() {
        let (dir, mut files) = with_a();
        let before = files.snapshot().pods[0].metadata.uid.clone();
        std::fs::rename(dir.path().join("a.yaml"), dir.path().join("b.yaml")).unwrap();
        assert_eq!(files.read(&source(dir.path()), &Scope::All), (true, vec![]));
        assert_ne!(files.snapshot().pods[0].metadata.uid, before);
    }

    #[test]
    fn removed_file_takes_its_pod_along() {
        let (dir, mut files) = with_a();
        std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
        let removed = Scope::Named(["a.yaml".into()].into());
        assert_eq!(files.read(&source(dir.path()), &removed), (true, vec![]));
        assert!(names(&files).is_empty());
    }

    async fn soon<T>(what: &str, receiver: &mut mpsc::Receiver<T>) -> T {
        tokio::time::timeout(Duration::from_secs(5), receiver.recv())
            .await
            .expect(what)
            .expect(what)
    }

    #[tokio::test]
    async fn rename_into_place_is_told_at_once_and_a_late_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifests");
        let (snapshots, mut received) = mpsc::channel(4);
        let (faults, _kept) = mpsc::channel(4);
        let task = tokio::spawn(source(&path).run(snapshots, faults));
        assert!(soon("the first snapshot", &mut received).await.pods.is_empty());
        std::fs::create_dir(&path).unwrap();
        write(&path, ".a.tmp", &POD.replace("NAME", "a"));
        std::fs::rename(path.join(".a.tmp"), path.join("a.yaml")).unwrap();
        assert_eq!(soon("the pod", &mut received).await.pods.len(), 1);
        write(&path, "b.yaml", &POD.replace("NAME", "b"));
        assert_eq!(soon("the second pod", &mut received).await.pods.len(), 2);
        std::fs::remove_file(path.join("a.yaml")).unwrap();
        assert_eq!(soon("the removal", &mut received).await.pods.len(), 1);
        task.abort();
    }
}
