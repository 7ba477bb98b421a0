//! Static pods from a directory of manifests (or one file), told by inotify.
//!
//! Where upstream lets a bad edit take the running pod down at the next rescan, here the last good version of a file
//! stays in force until the file is mended or removed; the fault is told once per version of the file.
mod files;
pub(super) mod leftover;
mod objects;

pub use files::read_limited;
pub(super) use files::too_long;
pub use objects::ObjectSource;

use super::Snapshot;
use super::fault::Fault;
use super::report::ReportBoard;
use crate::beat;
use crate::environment::local::{LocalObjects, Origin};
use files::Files;
use futures::{FutureExt, StreamExt};
use inotify::{EventMask, Inotify, WatchMask};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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
    /// Where ConfigMaps and Secrets go that lie beside pods in their manifests; `None`: they may not.
    pub objects: Option<LocalObjects>,
}

/// Which files an event asks to be read.
#[derive(Debug, PartialEq, Eq)]
enum Scope {
    All,
    Named(BTreeSet<OsString>),
}

/// A directory that is listened to: links are followed, so that its path may come to mean another.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    directory: PathBuf,
    /// Its device and inode.
    identity: Option<(u64, u64)>,
}

/// Listening to it.
struct Listening {
    events: inotify::EventStream<Vec<u8>>,
    place: Place,
}

/// What events ask for.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    scope: Scope,
    /// Files that were removed. One that is there again is another: its pod ends before the new one begins, even if they
    /// are the same to the letter.
    removed: BTreeSet<OsString>,
}

impl From<Scope> for Heard {
    fn from(scope: Scope) -> Self {
        let removed = BTreeSet::new();
        Self { scope, removed }
    }
}

impl FileSource {
    /// Sends a snapshot at start and whenever the files ask for something else; faults go to `faults`.
    pub async fn run(
        self,
        snapshots: mpsc::Sender<Snapshot>,
        faults: mpsc::Sender<Fault>,
        reports: ReportBoard,
    ) {
        let mut files = Files::default();
        let mut first = true;
        let mut events = None;
        let mut heard = Heard::from(Scope::All);
        loop {
            // Listening begins before reading: what changes in between is told.
            if events.is_none() {
                heard = Scope::All.into();
                events = self.listen().inspect_err(|error| self.tell_deaf(error)).ok();
            }
            let (ended, mut found) = files.forget(&self.path, &heard.removed);
            if ended && snapshots.send(files.snapshot()).await.is_err() {
                return;
            }
            let (changed, more) = files.read(&self, &heard.scope);
            found.extend(more);
            for fault in found {
                // The receiver lives as long as the agent.
                let _ = faults.send(fault).await;
            }
            if let Some(objects) = &self.objects {
                // Before the pods that use them.
                objects.replace(Origin::Manifests, files.objects());
            }
            reports.replace(|manifest| !manifest.contains("://"), files.reports());
            // Until it could be read once, nobody knows what is wanted: nothing is said, and nothing taken down.
            let is_read = files.is_read();
            if (changed || first && is_read) && snapshots.send(files.snapshot()).await.is_err() {
                return;
            }
            first &= !is_read;
            let Some(listening) = &mut events else {
                tokio::time::sleep(WATCH_RETRY).await;
                continue;
            };
            match self.next(listening).await {
                Some(next) => heard = next,
                None => events = None,
            }
        }
    }

    fn tell_deaf(&self, error: &std::io::Error) {
        tracing::warn!(path = %self.path.display(), %error, "cannot watch for manifests: looking again soon");
    }

    /// Listens to the directory; for a single file or a missing path, to the nearest directory above it.
    fn listen(&self) -> std::io::Result<Listening> {
        let place = self.place();
        let inotify = Inotify::init()?;
        // Not MODIFY: a file is read when its writer has closed it, never half-written.
        let mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        inotify.watches().add(&place.directory, mask)?;
        let events = inotify.into_event_stream(vec![0; EVENT_BUFFER_BYTES])?;
        Ok(Listening { events, place })
    }

    fn place(&self) -> Place {
        let found = self.path.ancestors().find(|path| path.is_dir());
        let directory = found.unwrap_or(Path::new("/")).to_path_buf();
        let metadata = std::fs::metadata(&directory).ok();
        Place {
            identity: metadata.map(|metadata| (metadata.dev(), metadata.ino())),
            directory,
        }
    }

    /// What to read next: by events that are there, or all of it after the rescan period. `None`: listen anew.
    async fn next(&self, listening: &mut Listening) -> Option<Heard> {
        // The path may lead elsewhere by now: it has come to be, or it is a link that was turned. Of that nothing is told
        // here.
        if self.place() != listening.place {
            return None;
        }
        let watched = listening.place.directory.clone();
        let stream = &mut listening.events;
        let mut scope = Scope::Named(BTreeSet::new());
        let mut removed = BTreeSet::new();
        let Ok(mut event) = tokio::time::timeout_at(beat::at(self.rescan), stream.next()).await else {
            return Some(Scope::All.into());
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
                // Not to be read: if there is one again, its own events tell when it is whole.
                (Some(name), _) if heard.mask.contains(EventMask::DELETE) => {
                    removed.insert(name);
                }
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
                None => return Some(Heard { scope, removed }),
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
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // What cannot be listed would pass for removed.
            let path = entry?.path();
            if !is_hidden(&path) && may_be_file(&path) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

/// What cannot be looked at may be a file: reading it tells what is wrong.
fn may_be_file(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(metadata) => metadata.is_file(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
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

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec:\n  containers:\n  - {name: c, image: \"i:1\"}\n";

    fn source(path: &Path) -> FileSource {
        FileSource {
            path: path.to_path_buf(),
            node_name: "node-a".into(),
            rescan: Duration::from_secs(20),
            objects: None,
        }
    }

    fn write(directory: &Path, file: &str, text: &str) {
        std::fs::write(directory.join(file), text).unwrap();
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
        let task = tokio::spawn(source(&path).run(snapshots, faults, ReportBoard::default()));
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

    #[tokio::test]
    async fn directory_that_cannot_be_read_at_first_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifests");
        std::os::unix::fs::symlink("manifests", &path).unwrap();
        let (snapshots, mut received) = mpsc::channel(4);
        let (faults, mut told) = mpsc::channel(4);
        let task = tokio::spawn(source(&path).run(snapshots, faults, ReportBoard::default()));
        soon("why it can't be read", &mut told).await;
        let (there, next) = (dir.path().join("there"), dir.path().join("next"));
        std::fs::create_dir(&there).unwrap();
        write(&there, "a.yaml", &POD.replace("NAME", "a"));
        std::os::unix::fs::symlink(&there, &next).unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert_eq!(soon("the first snapshot", &mut received).await.pods.len(), 1);
        task.abort();
    }

    /// However soon: who removes a manifest and writes it again wants the pod started anew.
    #[tokio::test]
    async fn manifest_that_is_removed_and_written_again_at_once_is_told_as_both() {
        let dir = tempfile::tempdir().unwrap();
        let (snapshots, mut received) = mpsc::channel(4);
        let (faults, _kept) = mpsc::channel(4);
        write(dir.path(), "a.yaml", &POD.replace("NAME", "a"));
        let task = tokio::spawn(source(dir.path()).run(snapshots, faults, ReportBoard::default()));
        let first = soon("the pod", &mut received).await.pods;
        assert_eq!(first.len(), 1);
        // Nobody else has a turn on this thread in between: both lie there when the source looks.
        std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
        write(dir.path(), "a.yaml", &POD.replace("NAME", "a"));
        assert!(soon("the removal", &mut received).await.pods.is_empty());
        let again = soon("the same pod", &mut received).await.pods;
        assert_eq!(again[0].metadata.uid, first[0].metadata.uid);
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn link_that_is_turned_to_another_directory_is_followed_from_the_next_rescan_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["one", "two"] {
            std::fs::create_dir(path(name)).unwrap();
            write(&path(name), "a.yaml", &POD.replace("NAME", name));
        }
        std::os::unix::fs::symlink("one", path("current")).unwrap();
        let (snapshots, mut received) = mpsc::channel(4);
        let (faults, _kept) = mpsc::channel(4);
        let task = tokio::spawn(source(&path("current")).run(snapshots, faults, ReportBoard::default()));
        let mut names = async |what: &str| {
            let snapshot = tokio::time::timeout(Duration::from_secs(60), received.recv()).await;
            let pods = snapshot.expect(what).expect(what).pods;
            let mut names: Vec<_> = pods
                .iter()
                .map(|pod| orlop_api::pod::name(pod).to_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("the first").await, ["one-node-a"]);
        std::os::unix::fs::symlink("two", path("next")).unwrap();
        std::fs::rename(path("next"), path("current")).unwrap();
        assert_eq!(names("after the rescan").await, ["two-node-a"]);
        tokio::time::resume();
        write(&path("two"), "b.yaml", &POD.replace("NAME", "b"));
        assert_eq!(names("at once").await, ["b-node-a", "two-node-a"]);
        task.abort();
    }
}
