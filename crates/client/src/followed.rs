//! Files that are replaced while they are used, such as certificates: who follows them is told.
use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use orlop_pki::FileVersion;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the system has no watches left, files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// One read of inotify.
const EVENT_BUFFER_BYTES: usize = 4096;

/// Some files, and what they were when they were looked at last.
pub struct Followed {
    paths: Vec<PathBuf>,
    seen: Vec<Option<FileVersion>>,
    events: Option<inotify::EventStream<[u8; EVENT_BUFFER_BYTES]>>,
}

impl Followed {
    /// From now on changes count.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = look(&paths);
        let mut followed = Self {
            paths,
            seen,
            events: None,
        };
        followed.listen();
        followed
    }

    /// Waits until one of the files was written or replaced since the last time, or may be read by others. What is being
    /// written is told of when its writer has closed it.
    pub async fn changed(&mut self) {
        loop {
            // A file that was replaced has another inode, which nobody listens to yet.
            self.listen();
            let now = look(&self.paths);
            if now != self.seen {
                self.seen = now;
                return;
            }
            match &mut self.events {
                Some(events) => {
                    if !matches!(events.next().await, Some(Ok(_))) {
                        self.events = None;
                    }
                }
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Listens to the files, which may be mounted each by itself, and to their directories, where others may take their
    /// places. Doing it again adds what is new.
    fn listen(&mut self) {
        if self.events.is_none() {
            let stream =
                Inotify::init().and_then(|inotify| inotify.into_event_stream([0; EVENT_BUFFER_BYTES]));
            match stream {
                Ok(stream) => self.events = Some(stream),
                Err(error) => {
                    return tracing::warn!(%error, every = ?LOOK_EVERY, "files are looked at instead of listened to");
                }
            }
        }
        let Some(events) = &self.events else { return };
        let directories: BTreeSet<&Path> = self.paths.iter().filter_map(|path| path.parent()).collect();
        let mut watches = events.watches();
        let of_directory = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE;
        for directory in directories {
            // What is not there now shows when it is looked at.
            let _ = watches.add(directory, of_directory);
        }
        for path in &self.paths {
            let _ = watches.add(path, WatchMask::CLOSE_WRITE | WatchMask::ATTRIB);
        }
    }
}

fn look(paths: &[PathBuf]) -> Vec<Option<FileVersion>> {
    paths.iter().map(|path| FileVersion::of(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Longer than any event takes, shorter than looking would.
    const SOON: Duration = Duration::from_secs(20);

    async fn hears(followed: &mut Followed) -> bool {
        tokio::time::timeout(SOON, followed.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_or_written_in_place_is_heard_of_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.conf"), dir.path().join("b.conf"));
        std::fs::write(&path, "one").unwrap();
        let mut followed = Followed::new(vec![path.clone()]);
        for text in ["two two", "three three three"] {
            let fresh = dir.path().join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(&fresh, &path).unwrap();
            assert!(hears(&mut followed).await, "{text}");
        }
        std::fs::write(&path, "four").unwrap();
        assert!(hears(&mut followed).await, "in place");
        for mode in [0o600, 0o640] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        assert!(hears(&mut followed).await, "its readers");
        std::fs::write(&other, "nobody follows it").unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(50), followed.changed()).await;
        assert!(heard.is_err(), "another file of the directory");
    }

    /// As a pod sees a file of the host that is mounted by itself: its directory tells nothing of it.
    #[tokio::test]
    async fn a_file_that_is_written_through_another_name_is_heard_of() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, other) = (dir.path().join("a.conf"), elsewhere.path().join("a.conf"));
        std::fs::write(&path, "one").unwrap();
        std::fs::hard_link(&path, &other).unwrap();
        let mut followed = Followed::new(vec![path]);
        std::fs::write(&other, "two two").unwrap();
        assert!(hears(&mut followed).await);
    }
}
