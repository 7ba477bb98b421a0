//! The moment a container's process runs: it touches a file, and inotify tells.
use anyhow::{Context, Result};
use inotify::{Inotify, WatchMask};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one container may take to show itself.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A directory that containers touch a file in as their first act.
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

    /// The command of a container that shows itself as `name` and then waits to be stopped.
    pub fn command(name: &str) -> Vec<String> {
        let script =
            format!(": > /markers/{name}; trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done");
        ["/bin/sh", "-c", &script].map(str::to_owned).to_vec()
    }

    /// Starts listening for `name`; await the result after starting the container.
    pub fn expect(&self, name: &str) -> Result<impl Future<Output = Result<()>> + use<>> {
        let inotify = Inotify::init()?;
        inotify
            .watches()
            .add(self.path(), WatchMask::CREATE | WatchMask::CLOSE_WRITE)?;
        let path: PathBuf = self.path().join(name);
        let mut events = inotify.into_event_stream(vec![0_u8; 4096])?;
        let name = name.to_owned();
        Ok(async move {
            use futures::StreamExt;
            let seen = async {
                while !path.exists() {
                    events.next().await.context("the watch ended")??;
                }
                anyhow::Ok(())
            };
            tokio::time::timeout(TIMEOUT, seen)
                .await
                .with_context(|| format!("{name} did not start"))?
        })
    }
}
