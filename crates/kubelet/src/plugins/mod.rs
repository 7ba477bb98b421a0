//! Plugins that announce themselves by a socket in `<root>/plugins_registry` (or a directory below it), instead of calling
//! this agent: each is asked what it is, taken in if it brings devices, and told what came of it.
mod messages;

use crate::devices::{self, Devices};
use crate::grpc_client::Caller;
use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use messages::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use std::collections::HashMap;
use std::io::Result;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What plugins serve on such a socket.
const SERVICE: &str = "pluginregistration.Registration";
/// The kind that is known here.
const OF_DEVICES: &str = "DevicePlugin";
/// How long a plugin may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between tries with a plugin that doesn't answer, doubled each time: a socket is there before somebody listens on it.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(120);
/// Until inotify works again, or the directory is looked for again.
const WATCH_RETRY: Duration = Duration::from_secs(5);
/// Directories below each other that are looked into.
const DEPTH_MAX: usize = 4;
/// Room for a burst of events; more of them only mean one more look.
const EVENT_BYTES: usize = 4096;

/// The directory below the agent's.
pub fn directory(root: &Path) -> PathBuf {
    root.join("plugins_registry")
}

/// Takes in what is there, and what comes, until `shutdown`.
pub async fn run(directory: PathBuf, devices: Arc<Devices>, shutdown: CancellationToken) {
    let mut plugins = Plugins {
        directory,
        devices,
        known: HashMap::new(),
    };
    let work = async {
        loop {
            if let Err(error) = plugins.follow().await {
                tracing::warn!(%error, directory = %plugins.directory.display(), "sockets of plugins are not seen");
            }
            tokio::time::sleep(WATCH_RETRY).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// Which socket this is: its inode and when it was made. A plugin that starts again makes another of the same name.
type Identity = (u64, i64, i64);

struct Plugins {
    directory: PathBuf,
    devices: Arc<Devices>,
    /// Sockets that were seen; dropped, what is done about them ends.
    known: HashMap<PathBuf, (Identity, DropGuard)>,
}

impl Plugins {
    async fn follow(&mut self) -> Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        std::fs::set_permissions(&self.directory, std::fs::Permissions::from_mode(0o750))?;
        let inotify = Inotify::init()?;
        let mut watches = inotify.watches();
        let mut events = inotify.into_event_stream([0; EVENT_BYTES])?;
        loop {
            let mut found = HashMap::new();
            let mask = WatchMask::CREATE | WatchMask::MOVE | WatchMask::DELETE | WatchMask::DELETE_SELF;
            // Watched before it is read: what comes in between is told.
            let watch = &mut |directory: &Path| watches.add(directory, mask).map(drop);
            look(&self.directory, DEPTH_MAX, watch, &mut found)?;
            self.compare(found);
            match events.next().await {
                Some(event) => drop(event?),
                None => return Ok(()),
            }
        }
    }

    fn compare(&mut self, found: HashMap<PathBuf, Identity>) {
        self.known
            .retain(|path, (identity, _)| found.get(path) == Some(identity));
        for (path, identity) in found {
            if self.known.contains_key(&path) {
                continue;
            }
            let gone = CancellationToken::new();
            let (devices, socket, until) = (self.devices.clone(), path.clone(), gone.clone());
            tokio::spawn(async move {
                until.run_until_cancelled(introduce(&devices, &socket)).await;
            });
            self.known.insert(path, (identity, gone.drop_guard()));
        }
    }
}

/// The sockets in a directory and those below; hidden ones are somebody's private business.
fn look(
    directory: &Path,
    depth: usize,
    watch: &mut impl FnMut(&Path) -> Result<()>,
    found: &mut HashMap<PathBuf, Identity>,
) -> Result<()> {
    watch(directory)?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else {
            // Gone meanwhile, which is told.
            continue;
        };
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if metadata.file_type().is_socket() {
            let identity = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
            found.insert(path, identity);
        } else if metadata.is_dir()
            && depth > 1
            && let Err(error) = look(&path, depth - 1, watch, found)
        {
            tracing::debug!(%error, directory = %path.display(), "not looked into");
        }
    }
    Ok(())
}

/// Why a plugin is not taken in.
enum Failure {
    /// It is of no use as long as it says what it says.
    Unfit(String),
    /// It could not be asked or told, or does not do yet what it is for.
    Passing(String),
}

impl Failure {
    fn message(&self) -> &str {
        let (Self::Unfit(message) | Self::Passing(message)) = self;
        message
    }
}

/// Asks a plugin until it is taken in or known to be of no use, and tells it each time what came of it.
async fn introduce(devices: &Arc<Devices>, socket: &Path) {
    let mut wait = RETRY_FIRST;
    let mut is_told = false;
    loop {
        match ask(devices, socket).await {
            Ok(()) => return,
            Err(Failure::Unfit(error)) => {
                tracing::warn!(error, socket = %socket.display(), "a plugin is not taken in");
                return;
            }
            Err(Failure::Passing(error)) if !is_told => {
                is_told = true;
                tracing::info!(error, socket = %socket.display(), "a plugin is not taken in yet: trying on");
            }
            Err(Failure::Passing(_)) => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn ask(devices: &Arc<Devices>, socket: &Path) -> std::result::Result<(), Failure> {
    let connected = tokio::time::timeout(PATIENCE, Caller::connect(socket, SERVICE)).await;
    let caller = connected
        .map_err(|_| Failure::Passing(format!("no connection within {} s", PATIENCE.as_secs())))?
        .map_err(Failure::Passing)?;
    let info: PluginInfo = caller
        .ask("GetInfo", &InfoRequest {}, PATIENCE)
        .await
        .map_err(Failure::Passing)?;
    let outcome = take_in(devices, socket, info).await;
    let error = outcome.as_ref().err().map(Failure::message);
    let status = RegistrationStatus {
        plugin_registered: error.is_none(),
        error: error.unwrap_or_default().to_owned(),
    };
    let told = caller
        .ask::<RegistrationStatusResponse>("NotifyRegistrationStatus", &status, PATIENCE)
        .await;
    outcome?;
    told.map(drop).map_err(Failure::Passing)
}

async fn take_in(
    devices: &Arc<Devices>,
    socket: &Path,
    info: PluginInfo,
) -> std::result::Result<(), Failure> {
    if info.kind != OF_DEVICES {
        return Err(Failure::Unfit(format!(
            "no handler registered for plugin type: {} at socket {}",
            info.kind,
            socket.display()
        )));
    }
    if let Some(why) = devices::unfit(&info.name, &info.supported_versions) {
        return Err(Failure::Unfit(why));
    }
    let endpoint = match &*info.endpoint {
        "" => socket.to_owned(),
        endpoint => PathBuf::from(endpoint),
    };
    let taken_in = devices.clone().take_in(info.name, &endpoint).await;
    taken_in.map_err(Failure::Passing)
}

#[cfg(test)]
mod tests;
