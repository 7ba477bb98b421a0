//! What doctor looks at.
use crate::commands::listings::recorded_endpoint;
use crate::lock::NodeLock;
use crate::paths::Root;
use orlop_cri::{Endpoint, Remote, RuntimeService};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A runtime that is there answers at once.
const RUNTIME_PATIENCE: Duration = Duration::from_millis(500);
/// Where programs are looked for when PATH leaves places out, as under systemd.
const PROGRAM_DIRECTORIES: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"];
/// Programs that a managed runtime is made of.
const PROGRAMS: [&str; 2] = ["containerd", "runc"];
/// Where network plugins lie.
const PLUGIN_DIRECTORIES: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];
/// Plugins that orlop's own network configuration needs.
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

/// What to look at beside the machine itself.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Ports that a node would need, with what for.
    pub ports: &'a [(u16, &'static str)],
    /// The CRI socket of a runtime that somebody else runs.
    pub runtime_endpoint: Option<&'a str>,
}

/// The machine, as far as a node depends on it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub is_root: bool,
    /// `6.1.0-18-amd64`.
    pub kernel: String,
    /// Overlay file systems can be mounted.
    pub has_overlay: bool,
    /// Cgroup v2; `None`: no cgroups at all.
    pub unified: Option<bool>,
    /// Those that are there.
    pub controllers: BTreeSet<String>,
    pub swap_is_on: bool,
    /// The process may protect itself and guaranteed pods from the kernel's out-of-memory killer.
    pub may_lower_oom_score: bool,
    /// Programs of a managed runtime that aren't found.
    pub missing_programs: Vec<&'static str>,
    /// The runtime that is asked for or was last used, and what it answers.
    pub runtime: Option<(String, Result<String, String>)>,
    /// Network plugins that aren't found.
    pub missing_plugins: Vec<&'static str>,
    /// Packets are forwarded between interfaces.
    pub forwards: bool,
    /// Ports that are taken, and what a node needs them for.
    pub taken: Vec<(u16, &'static str)>,
    /// A node runs under this root: its ports are its own.
    pub node_runs: bool,
    /// Seconds that the clock is behind this very program.
    pub clock_behind: u64,
    /// Free room by place: percent of bytes and of inodes.
    pub room: BTreeMap<PathBuf, (u64, u64)>,
}

impl Facts {
    /// Looks at the machine for a node under `root`.
    pub async fn gather(root: &Root, ask: Ask<'_>) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (unified, controllers) = cgroups(Path::new("/sys/fs/cgroup"));
        let node_runs = matches!(NodeLock::holder(&root.pid_file()), Ok(Some(_)));
        Self {
            is_root: nix::unistd::geteuid().is_root(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            has_overlay: read("/proc/filesystems")
                .lines()
                .any(|line| line.ends_with("\toverlay")),
            unified,
            controllers,
            swap_is_on: read("/proc/swaps").lines().count() > 1,
            may_lower_oom_score: may_lower_oom_score(&read("/proc/self/status")),
            missing_programs: missing(&PROGRAMS, &program_directories()),
            runtime: runtime(root, ask.runtime_endpoint).await,
            missing_plugins: missing(&PLUGINS, &PLUGIN_DIRECTORIES.map(PathBuf::from)),
            forwards: read("/proc/sys/net/ipv4/ip_forward").trim() == "1",
            taken: ask
                .ports
                .iter()
                .filter(|(port, _)| !node_runs && orlop_sockets::is_taken(*port))
                .copied()
                .collect(),
            node_runs,
            clock_behind: clock_behind(),
            room: room(&[root.as_path().join("var/lib"), root.as_path().join("var/log")]),
        }
    }
}

fn program_directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = PROGRAM_DIRECTORIES.map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).collect()
}

fn missing(names: &[&'static str], directories: &[PathBuf]) -> Vec<&'static str> {
    let is_there = |name: &&&str| directories.iter().any(|directory| directory.join(name).exists());
    names.iter().filter(|name| !is_there(name)).copied().collect()
}

fn cgroups(mount_point: &Path) -> (Option<bool>, BTreeSet<String>) {
    if let Ok(controllers) = std::fs::read_to_string(mount_point.join("cgroup.controllers")) {
        return (
            Some(true),
            controllers.split_whitespace().map(str::to_owned).collect(),
        );
    }
    let entries = std::fs::read_dir(mount_point).into_iter().flatten().flatten();
    let found: BTreeSet<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .flat_map(|name| name.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    ((!found.is_empty()).then_some(false), found)
}

/// CAP_SYS_RESOURCE, bit 24 of the effective set.
fn may_lower_oom_score(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    capabilities.is_some_and(|set| set & (1 << 24) != 0)
}

async fn runtime(root: &Root, given: Option<&str>) -> Option<(String, Result<String, String>)> {
    let recorded = recorded_endpoint(root).ok().flatten();
    let endpoint = given.map(str::to_owned).or(recorded)?;
    let answer = async {
        let parsed = Endpoint::parse(&endpoint).map_err(|error| error.to_string())?;
        let remote = Remote::connect_within(&parsed, RUNTIME_PATIENCE).await;
        let remote = remote.map_err(|error| error.to_string())?;
        let version = remote.version().await.map_err(|error| error.to_string())?;
        Ok(format!("{} {}", version.runtime_name, version.runtime_version))
    };
    let answer = answer.await;
    Some((endpoint, answer))
}

/// A clock that is behind the program's own file was never set.
fn clock_behind() -> u64 {
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let written = program.and_then(|program| program.modified());
    let behind = written.map(|written| written.duration_since(SystemTime::now()));
    behind
        .ok()
        .and_then(Result::ok)
        .map_or(0, |behind| behind.as_secs())
}

/// Free room of the file systems that directories lie on, or will.
fn room(places: &[PathBuf]) -> BTreeMap<PathBuf, (u64, u64)> {
    let percent = |free: u64, all: u64| match all {
        0 => 100,
        all => free.saturating_mul(100) / all,
    };
    let of = |place: &PathBuf| {
        let existing = place.ancestors().find(|path| path.exists())?;
        let found = nix::sys::statvfs::statvfs(existing).ok()?;
        let used = found.blocks().saturating_sub(found.blocks_free());
        let bytes = percent(found.blocks_available(), used + found.blocks_available());
        let inodes = percent(found.files_available(), found.files());
        Some((place.clone(), (bytes, inodes)))
    };
    places.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn both_kinds_of_cgroups_are_known() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cgroups(dir.path()), (None, BTreeSet::new()));
        for controller in ["cpu,cpuacct", "memory"] {
            std::fs::create_dir(dir.path().join(controller)).unwrap();
        }
        let (unified, controllers) = cgroups(dir.path());
        assert_eq!(unified, Some(false));
        assert!(
            ["cpu", "cpuacct", "memory"]
                .iter()
                .all(|name| controllers.contains(*name))
        );
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu pids\n").unwrap();
        assert_eq!(cgroups(dir.path()).0, Some(true));
    }

    #[test]
    fn capability_is_read_from_the_effective_set() {
        assert!(may_lower_oom_score("CapPrm:\t0\nCapEff:\t0000000001000000\n"));
        assert!(!may_lower_oom_score("CapEff:\t0000000000ffffff\n"));
        assert!(!may_lower_oom_score(""));
    }

    #[tokio::test]
    async fn port_that_is_taken_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(Some(dir.path())).unwrap();
        let held = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let ask = Ask {
            ports: &[(port, "the API server")],
            runtime_endpoint: Some("unix:///nowhere.sock"),
        };
        let facts = Facts::gather(&root, ask).await;
        assert_eq!(facts.taken, [(port, "the API server")]);
        assert!(facts.runtime.unwrap().1.is_err());
        assert_eq!(facts.room.len(), 2);
    }
}
