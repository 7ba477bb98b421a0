//! The moment a container's process runs: it touches a file, and inotify tells.
use anyhow::{Context, Result};
use inotify::{Inotify, WatchMask};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long containers may take to show themselves.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A directory that containers touch files in.
pub struct Markers {
    directory: tempfile::TempDir,
}

impl Markers {
    pub fn new() -> Result<Self> {
        Ok(Self {
            directory: tempfile::Builder::new().prefix("orlop-bench-").tempdir()?,
        })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts listening for files of these names; await the result after starting the containers.
    pub fn expect(&self, names: &[String]) -> Result<impl Future<Output = Result<()>> + use<>> {
        let mut missing: Vec<PathBuf> = names.iter().map(|name| self.path().join(name)).collect();
        let inotify = Inotify::init()?;
        inotify
            .watches()
            .add(self.path(), WatchMask::CREATE | WatchMask::CLOSE_WRITE)?;
        let mut events = inotify.into_event_stream(vec![0_u8; 4096])?;
        Ok(async move {
            use futures::StreamExt;
            let seen = async {
                loop {
                    missing.retain(|path| !path.exists());
                    if missing.is_empty() {
                        return anyhow::Ok(());
                    }
                    events.next().await.context("the watch ended")??;
                }
            };
            tokio::time::timeout(TIMEOUT, seen)
                .await
                .context("a container did not show itself")?
        })
    }
}
