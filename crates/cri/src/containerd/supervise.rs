use super::process::{self, Listener, Process};
use super::ready::{self, SocketWatch};
use super::version::Version;
use super::{ContainerdConfig, ContainerdError, Facts, file, log_file};
use crate::images::Importer;
use crate::{Endpoint, Remote, cni};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// What containerd gets to end by itself. It only closes its files: containers don't end with it.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Waits before starting it again, doubled while it keeps dying.
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(30);
/// Having run this long, its next death counts as the first.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// How often its log's size is looked at. containerd can't be told to reopen it, and an event for each line written
/// would cost more than this look.
const LOG_CHECK: Duration = Duration::from_secs(600);

/// A containerd that serves, started or adopted by us.
pub struct Managed {
    config: ContainerdConfig,
    remote: Remote,
    /// Held by the supervisor for as long as it watches.
    process: Mutex<Process>,
    pid: AtomicI32,
    was_adopted: bool,
    stopping: CancellationToken,
}

impl Managed {
    /// A serving containerd with the sandbox image: the one that runs on the socket already if it is ours and has this
    /// configuration, else a new one. An own one with another configuration is restarted; its containers stay.
    pub async fn ensure(config: ContainerdConfig) -> Result<Self, ContainerdError> {
        process::check_socket_path(&config.socket)?;
        for directory in [&config.root, &config.state] {
            make_directory(directory)?;
        }
        for path in [&config.socket, &config.config_file, &config.log_file] {
            path.parent().map_or(Ok(()), make_directory)?;
        }
        match &config.network {
            Some(network) => {
                if let cni::Conflist::Written(path) = cni::ensure_conflist(&config.cni_conf_dir, network)? {
                    tracing::info!(file = %path.display(), bridge = network.bridge, subnet = network.subnet, "pod network configured");
                }
            }
            None => make_directory(&config.cni_conf_dir)?,
        }
        let text = text(&config).await?;
        let is_unchanged = std::fs::read_to_string(&config.config_file).is_ok_and(|present| present == text);

        let (process, remote, was_adopted) = match running(&config).await? {
            Some(process) if is_unchanged => {
                let socket = SocketWatch::new(&config)?;
                let remote = ready::wait(&config, &process, socket).await?;
                tracing::info!(pid = process.pid(), socket = %config.socket.display(), "containerd adopted");
                (process, remote, true)
            }
            running => {
                if let Some(process) = running {
                    tracing::info!(
                        pid = process.pid(),
                        "containerd restarted with a new configuration"
                    );
                    process.stop(STOP_PATIENCE).await;
                }
                let (process, remote) = start(&config, &text).await?;
                (process, remote, false)
            }
        };
        Importer::new(&remote)
            .map_err(ContainerdError::Pause)?
            .import_pause()
            .await
            .map_err(ContainerdError::Pause)?;
        Ok(Self {
            config,
            remote,
            pid: AtomicI32::new(process.pid()),
            process: Mutex::new(process),
            was_adopted,
            stopping: CancellationToken::new(),
        })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> Endpoint {
        self.config.endpoint()
    }

    /// The connection made at the start; it survives restarts.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Its configuration.
    pub fn config(&self) -> &ContainerdConfig {
        &self.config
    }

    /// It was running already.
    pub fn was_adopted(&self) -> bool {
        self.was_adopted
    }

    /// Its process id now.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Starts it again whenever it dies and keeps its log short, until `shutdown` (which leaves it running) or
    /// [`Managed::stop`].
    pub async fn supervise(&self, shutdown: CancellationToken) {
        let keep_log_short = async {
            loop {
                tokio::time::sleep(LOG_CHECK).await;
                if let Err(error) = log_file::cut(&self.config.log_file) {
                    tracing::warn!(file = %self.config.log_file.display(), %error, "containerd's log can't be cut");
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep_running() => {}
            () = keep_log_short => {}
        }
    }

    async fn keep_running(&self) {
        let mut delay = RESTART_FIRST;
        let mut process = self.process.lock().await;
        loop {
            let since = Instant::now();
            let Some(status) = self.unless_stopping(process.ended()).await else {
                return;
            };
            if since.elapsed() >= STABLE_AFTER {
                delay = RESTART_FIRST;
            }
            tracing::warn!(pid = process.pid(), status, retry_in = ?delay, "containerd died and is started again; its containers run on");
            loop {
                if self.unless_stopping(tokio::time::sleep(delay)).await.is_none() {
                    return;
                }
                delay = (delay * 2).min(RESTART_MAX);
                // Another containerd may be installed by now, which reads another form.
                let started = match text(&self.config).await {
                    // Not cut off by a stop, which ends what has been started here.
                    Ok(text) => start(&self.config, &text).await,
                    Err(error) => Err(error),
                };
                match started {
                    Ok((started, _)) => {
                        self.pid.store(started.pid(), Ordering::Relaxed);
                        *process = started;
                        break;
                    }
                    Err(error) => {
                        tracing::error!(%error, retry_in = ?delay, "containerd can't be started");
                    }
                }
            }
        }
    }

    /// What comes of some waiting; `None` as soon as containerd is to end.
    async fn unless_stopping<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            done = waiting => Some(done),
        }
    }

    /// Ends containerd, for good. Its containers live on; remove them first ([`crate::sweep`]) if they shouldn't.
    pub async fn stop(&self) {
        self.stopping.cancel();
        // The supervisor lets go of it, if need be after a start that it has begun.
        let process = self.process.lock().await;
        process.stop(STOP_PATIENCE).await;
        tracing::info!(pid = process.pid(), "containerd stopped");
        // One whose start was cut off together with its supervision, or that others have started.
        if let Ok(Some(process)) = running(&self.config).await {
            process.stop(STOP_PATIENCE).await;
            tracing::info!(pid = process.pid(), "containerd stopped");
        }
    }
}

/// Ends the managed containerd of a configuration, if one runs: `make down` needs no connection to it.
pub async fn stop(config: &ContainerdConfig) -> Result<bool, ContainerdError> {
    match running(config).await? {
        Some(process) => process.stop(STOP_PATIENCE).await,
        None => return Ok(false),
    }
    Ok(true)
}

/// The containerd of this configuration: who listens, or else was started just now and does not yet. Whoever started one
/// may have been killed since; a second one would fight it over the same files.
async fn running(config: &ContainerdConfig) -> Result<Option<Process>, ContainerdError> {
    let listener = Listener::of(&config.socket).await;
    let Some(listener) = listener.or_else(|| process::starting(config)) else {
        return Ok(None);
    };
    if !listener.is_ours(config) {
        return Err(ContainerdError::Foreign {
            socket: config.socket.clone(),
            pid: listener.pid,
            command: listener.command_line(),
        });
    }
    watch(config, listener.pid)
}

/// The configuration as it is to be.
async fn text(config: &ContainerdConfig) -> Result<String, ContainerdError> {
    let program = process::find_program(&config.program, "containerd")?;
    let version = match Version::of(&program).await {
        Ok(version) => version,
        Err(why) => {
            // A form that is another than the present one would end a containerd that works.
            tracing::warn!(program = %program.display(), why, "containerd doesn't tell its version: the form of its configuration stays");
            std::fs::read_to_string(&config.config_file)
                .map(|present| file::made_for(&present))
                .unwrap_or_default()
        }
    };
    Ok(file::render(file::Sources {
        config,
        cni_bin_dir: cni::plugin_dir(&config.cni_bin_dirs)?,
        shim: config.shim.install(&config.shim_dir).as_deref(),
        facts: Facts::gather(),
        version,
    }))
}

async fn start(config: &ContainerdConfig, text: &str) -> Result<(Process, Remote), ContainerdError> {
    write_whole(&config.config_file, text)?;
    let socket = SocketWatch::new(config)?;
    let pid = process::start(config)?;
    let Some(process) = watch(config, pid)? else {
        return Err(ContainerdError::Ended {
            status: "ended".to_owned(),
            path: config.log_file.clone(),
            log: log_file::last_words(&config.log_file),
        });
    };
    let remote = match ready::wait(config, &process, socket).await {
        Ok(remote) => remote,
        Err(error) => {
            // One that doesn't serve would only be in the next one's way.
            process.stop(STOP_PATIENCE).await;
            return Err(error);
        }
    };
    tracing::info!(pid, socket = %config.socket.display(), version = remote.runtime_version(), "containerd started");
    Ok((process, remote))
}

fn watch(config: &ContainerdConfig, pid: i32) -> Result<Option<Process>, ContainerdError> {
    Process::watch(pid).map_err(ContainerdError::file(
        "watching containerd of",
        &config.config_file,
    ))
}

fn make_directory(path: &Path) -> Result<(), ContainerdError> {
    std::fs::create_dir_all(path).map_err(ContainerdError::file("making the directory", path))
}

fn write_whole(path: &Path, text: &str) -> Result<(), ContainerdError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text).map_err(ContainerdError::file("writing", &partial))?;
    std::fs::rename(&partial, path).map_err(ContainerdError::file("writing", path))
}
