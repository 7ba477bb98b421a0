//! Where the kernel shows a process's cgroup: one directory (v2), or one for each controller (v1).

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    V1(V1),
    V2(PathBuf),
}

/// Directories by controller; one that isn't mounted is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct V1 {
    pub cpu: Option<PathBuf>,
    pub cpuacct: Option<PathBuf>,
    pub memory: Option<PathBuf>,
    pub pids: Option<PathBuf>,
    pub devices: Option<PathBuf>,
}

impl Cgroup {
    /// The cgroup a process is in.
    pub fn of_process(pid: i32) -> std::io::Result<Self> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        Self::find(&groups, &mounts).ok_or_else(|| std::io::Error::other("no cgroup file system is mounted"))
    }

    /// From `/proc/PID/cgroup` and `/proc/self/mountinfo`. Where any controller is still v1's, containers are there.
    fn find(groups: &str, mounts: &str) -> Option<Self> {
        let of = |controller: &str| -> Option<PathBuf> {
            let path = groups.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers
                    .split(',')
                    .any(|name| name == controller)
                    .then_some(path)
            })?;
            let mount = mounts
                .lines()
                .filter_map(Mount::parse)
                .find(|mount| mount.shows(controller))?;
            mount.directory(path)
        };
        let v1 = V1 {
            cpu: of("cpu"),
            cpuacct: of("cpuacct"),
            memory: of("memory"),
            pids: of("pids"),
            devices: of("devices"),
        };
        if v1 != V1::default() {
            return Some(Self::V1(v1));
        }
        // The unified hierarchy's line has no controllers.
        of("").map(Self::V2)
    }

    /// All its processes, those of cgroups that the container made below included.
    pub fn processes(&self) -> Vec<u32> {
        let mut processes = Vec::new();
        if let Some(directory) = self.directory() {
            collect(directory, &mut processes);
        }
        processes
    }

    /// Whether it is certain that nobody is in it; one that is gone has nobody.
    pub fn is_empty(&self) -> bool {
        self.directory()
            .is_some_and(|directory| has_nobody(directory).unwrap_or_else(|error| is_gone(&error)))
    }

    /// Where its processes are told.
    fn directory(&self) -> Option<&PathBuf> {
        match self {
            Self::V2(directory) => Some(directory),
            Self::V1(v1) => [&v1.devices, &v1.pids, &v1.memory, &v1.cpu, &v1.cpuacct]
                .into_iter()
                .find_map(Option::as_ref),
        }
    }
}

fn has_nobody(directory: &Path) -> std::io::Result<bool> {
    if !std::fs::read_to_string(directory.join("cgroup.procs"))?
        .trim()
        .is_empty()
    {
        return Ok(false);
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        match has_nobody(&entry.path()) {
            Ok(true) => {}
            Err(error) if is_gone(&error) => {}
            other => return other,
        }
    }
    Ok(true)
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn collect(directory: &Path, processes: &mut Vec<u32>) {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    processes.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), processes);
        }
    }
}

/// A line of mountinfo, if it is about cgroups.
struct Mount<'a> {
    /// What of the hierarchy is shown here.
    root: &'a str,
    point: &'a str,
    is_unified: bool,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let is_unified = match after.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        Some(Self {
            root,
            point,
            is_unified,
            options: after.nth(1)?,
        })
    }

    fn shows(&self, controller: &str) -> bool {
        match controller {
            "" => self.is_unified,
            _ => !self.is_unified && self.options.split(',').any(|name| name == controller),
        }
    }

    fn directory(&self, path: &str) -> Option<PathBuf> {
        let below = match self.root {
            "/" => path,
            root => path.strip_prefix(root)?,
        };
        Some(Path::new(self.point).join(below.trim_start_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_MOUNTS: &str = "\
30 20 0:25 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 20 0:26 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory
32 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 20 0:28 / /proc rw - proc proc rw
";

    #[test]
    fn controllers_of_v1_are_found_where_they_are_mounted() {
        let groups = "3:cpu,cpuacct:/pods/a\n2:memory:/pods/a\n1:name=systemd:/x\n0::/y\n";
        let expected = V1 {
            cpu: Some("/sys/fs/cgroup/cpu,cpuacct/pods/a".into()),
            cpuacct: Some("/sys/fs/cgroup/cpu,cpuacct/pods/a".into()),
            memory: Some("/sys/fs/cgroup/memory/pods/a".into()),
            pids: None,
            devices: None,
        };
        assert_eq!(Cgroup::find(groups, V1_MOUNTS), Some(Cgroup::V1(expected)));
    }

    #[test]
    fn unified_hierarchy_is_one_directory() {
        let mounts = "25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            Cgroup::find("0::/kubepods.slice/a.scope\n", mounts),
            Some(Cgroup::V2("/sys/fs/cgroup/kubepods.slice/a.scope".into()))
        );
        assert_eq!(Cgroup::find("0::/a\n", ""), None);
    }

    #[test]
    fn mount_that_shows_a_part_is_followed_from_there() {
        let mounts = "25 20 0:22 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            Cgroup::find("0::/docker/x/pods/a\n", mounts),
            Some(Cgroup::V2("/sys/fs/cgroup/pods/a".into()))
        );
        assert_eq!(Cgroup::find("0::/elsewhere\n", mounts), None);
    }

    #[test]
    fn processes_of_nested_cgroups_count() {
        let directory = tempfile::tempdir().unwrap();
        let nested = directory.path().join("nested");
        std::fs::create_dir(&nested).unwrap();
        std::fs::write(directory.path().join("cgroup.procs"), "12\n13\n").unwrap();
        std::fs::write(nested.join("cgroup.procs"), "14\n").unwrap();
        let cgroup = Cgroup::V2(directory.path().to_owned());
        assert_eq!(cgroup.processes(), [12, 13, 14]);
        assert!(!cgroup.is_empty());
        std::fs::write(directory.path().join("cgroup.procs"), "").unwrap();
        assert!(!cgroup.is_empty(), "somebody is below");
        std::fs::write(nested.join("cgroup.procs"), "").unwrap();
        assert!(cgroup.is_empty());
        std::fs::remove_file(nested.join("cgroup.procs")).unwrap();
        std::fs::create_dir(nested.join("cgroup.procs")).unwrap();
        assert!(!cgroup.is_empty(), "nobody knows");
        assert!(Cgroup::V2(directory.path().join("gone")).is_empty());
        assert!(
            !Cgroup::V1(V1::default()).is_empty(),
            "nobody knows where to look"
        );
    }
}
