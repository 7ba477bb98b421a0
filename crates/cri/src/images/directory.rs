//! A directory of archives: what lies in it is imported, and what is dropped in later.

use super::{ImportError, Imported, Importer};
use async_trait::async_trait;
use futures::StreamExt;
use inotify::{EventMask, Inotify, WatchMask};
use orlop_oci::reference;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// One read of inotify: room for some dozens of file names.
const EVENT_BUFFER_SIZE: usize = 4096;

/// Where images lie that need no registry.
#[async_trait]
pub trait Archives: Send + Sync {
    /// Sees to it that the runtime has an image, if it lies here; whether it has. It goes on when nobody waits for it any more.
    async fn import(&self, image: &str) -> bool;
}

/// A watched images directory.
pub struct Directory {
    shelf: Shelf,
    path: PathBuf,
    inotify: Inotify,
}

/// The archives that were imported: a runtime that has lost one of their images gets it again. Clones are the same.
#[derive(Clone)]
struct Shelf {
    importer: Arc<Importer>,
    /// By full name, the archive that an image came from last.
    archives: Arc<Mutex<HashMap<String, PathBuf>>>,
}

#[async_trait]
impl Archives for Shelf {
    async fn import(&self, image: &str) -> bool {
        let Ok(name) = reference::full(image) else {
            return false;
        };
        let archive = self.known().get(&name).cloned();
        match archive {
            Some(archive) if tokio::fs::try_exists(&archive).await.unwrap_or_default() => {
                // Who waits for it may stop waiting; one that was cut off would leave half of it to the runtime.
                let shelf = self.clone();
                let import = tokio::spawn(async move { shelf.import_and_tell(&archive).await });
                let images = import.await.unwrap_or_default();
                images.iter().any(|image| image.name == name)
            }
            _ => false,
        }
    }
}

impl Directory {
    /// Makes the directory if it isn't there and watches it from now on, so that nothing dropped in is missed.
    pub fn open(importer: Arc<Importer>, path: &Path) -> Result<Self, ImportError> {
        let failed = |source| ImportError::Directory {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(failed)?;
        let inotify = Inotify::init().map_err(failed)?;
        inotify
            .watches()
            .add(
                path,
                WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::ONLYDIR,
            )
            .map_err(failed)?;
        Ok(Self {
            shelf: Shelf {
                importer,
                archives: Arc::default(),
            },
            path: path.to_owned(),
            inotify,
        })
    }

    /// What lies there, for whoever misses an image of it.
    pub fn archives(&self) -> Arc<dyn Archives> {
        Arc::new(self.shelf.clone())
    }

    /// Imports the archives that lie there, in the order of their names; how many images are present afterwards. A bad
    /// archive costs a log line, no more.
    pub async fn import_existing(&self) -> usize {
        let mut archives: Vec<PathBuf> = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.file_name().is_some_and(is_archive) && path.is_file())
                .collect(),
            Err(error) => {
                tracing::error!(directory = %self.path.display(), %error, "images directory can't be read");
                return 0;
            }
        };
        archives.sort();
        let mut count = 0;
        for archive in archives {
            count += self.shelf.import_and_tell(&archive).await.len();
        }
        count
    }

    /// Imports what is dropped in, until `shutdown`.
    pub async fn watch(self, shutdown: CancellationToken) {
        let path = self.path;
        let mut events = match self.inotify.into_event_stream([0; EVENT_BUFFER_SIZE]) {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(directory = %path.display(), %error, "images directory can't be watched");
                return;
            }
        };
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) if event.mask.contains(EventMask::IGNORED) => {
                    tracing::warn!(directory = %path.display(), "images directory is gone; archives are imported again after a restart");
                    return;
                }
                Some(Ok(event)) => {
                    if let Some(name) = event.name.filter(|name| is_archive(name)) {
                        self.shelf.import_and_tell(&path.join(name)).await;
                    }
                }
                Some(Err(error)) => {
                    tracing::error!(directory = %path.display(), %error, "images directory can't be watched any more");
                    return;
                }
                None => return,
            }
        }
    }
}

impl Shelf {
    fn known(&self) -> MutexGuard<'_, HashMap<String, PathBuf>> {
        self.archives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One log line an image: what was imported, or why not. What is there now.
    async fn import_and_tell(&self, archive: &Path) -> Vec<Imported> {
        match self.importer.import_file(archive).await {
            Ok(images) => {
                for image in images.iter().filter(|image| !image.was_present) {
                    tracing::info!(image = image.name, digest = image.digest, archive = %archive.display(), "image imported");
                }
                let names = images.iter().map(|image| image.name.clone());
                self.known().extend(names.map(|name| (name, archive.to_owned())));
                images
            }
            Err(error) => {
                tracing::error!(archive = %archive.display(), %error, "image archive not imported");
                Vec::new()
            }
        }
    }
}

/// `*.tar`, but no dot files: tools write those before renaming.
fn is_archive(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| !name.starts_with('.') && name.ends_with(".tar"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tar_files_count_and_no_half_written_ones() {
        for (name, counts) in [
            ("etcd.tar", true),
            ("etcd.tar.partial", false),
            (".etcd.tar", false),
            ("etcd.tgz", false),
            ("tar", false),
        ] {
            assert_eq!(is_archive(OsStr::new(name)), counts, "{name}");
        }
    }
}
