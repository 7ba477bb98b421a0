//! The kernel's cgroup directories.
use super::RemoveError;
use crate::whole::gone;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Controllers that pods' limits are for; on v1 the hierarchies that their cgroups are made in. In others the runtime
/// makes what it needs.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "hugetlb"];

enum Version {
    /// One hierarchy; the controllers it has.
    Unified(BTreeSet<String>),
    /// One hierarchy per controller, below directories named after them.
    PerController,
}

/// Where cgroups are made.
pub struct Hierarchy {
    mount_point: PathBuf,
    version: Version,
    /// Files that could not be written and were told of.
    told: Mutex<BTreeSet<String>>,
}

impl Hierarchy {
    /// The hierarchy shown at `mount_point`.
    pub fn at(mount_point: &Path) -> Self {
        let version = match std::fs::read_to_string(mount_point.join("cgroup.controllers")) {
            Ok(controllers) => Version::Unified(controllers.split_whitespace().map(str::to_owned).collect()),
            Err(_) => Version::PerController,
        };
        Self {
            mount_point: mount_point.to_owned(),
            version,
            told: Mutex::default(),
        }
    }

    /// Whether it is cgroup v2.
    pub fn is_unified(&self) -> bool {
        matches!(self.version, Version::Unified(_))
    }

    /// Whether swap can be limited. The root cgroup has no such file, those directly below it do.
    pub fn limits_swap(&self) -> bool {
        self.is_unified()
            && below(&self.mount_point)
                .iter()
                .any(|child| child.join("memory.swap.max").exists())
    }

    /// Huge page sizes (`2MB`, `2Mi`) of the kernel's `directory`, if they can be limited.
    pub fn huge_pages(&self, directory: &Path) -> Vec<(String, String)> {
        let limited = match &self.version {
            Version::Unified(controllers) => controllers.contains("hugetlb"),
            Version::PerController => self.mount_point.join("hugetlb").is_dir(),
        };
        if !limited {
            return Vec::new();
        }
        let sizes = below(directory).into_iter().filter_map(|size| {
            let name = size.file_name()?.to_str()?.to_owned();
            let kib: u64 = name
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            Some(match kib {
                kib if kib >= 1 << 20 => (format!("{}GB", kib >> 20), format!("{}Gi", kib >> 20)),
                kib if kib >= 1 << 10 => (format!("{}MB", kib >> 10), format!("{}Mi", kib >> 10)),
                kib => (format!("{kib}KB"), format!("{kib}Ki")),
            })
        });
        sizes.collect()
    }

    /// Makes a cgroup and those above it, with the controllers that limits need.
    pub fn make(&self, path: &str) {
        let relative = path.trim_start_matches('/');
        match &self.version {
            Version::Unified(controllers) => {
                // What a cgroup's children can limit is said in the cgroup itself, from the top down.
                let mut directory = self.mount_point.clone();
                for part in Path::new(relative) {
                    for controller in CONTROLLERS.iter().filter(|name| controllers.contains(**name)) {
                        self.put(
                            &directory.join("cgroup.subtree_control"),
                            &format!("+{controller}"),
                        );
                    }
                    directory.push(part);
                    self.make_directory(&directory);
                }
            }
            Version::PerController => {
                for controller in CONTROLLERS {
                    let hierarchy = self.mount_point.join(controller);
                    if hierarchy.is_dir() {
                        self.make_directory(&hierarchy.join(relative));
                    }
                }
            }
        }
    }

    /// Sets a limit, where there is a controller for it.
    pub fn write(&self, controller: &str, path: &str, file: &str, value: &str) {
        let base = match self.version {
            Version::Unified(_) => self.mount_point.clone(),
            Version::PerController => self.mount_point.join(controller),
        };
        self.put(&base.join(path.trim_start_matches('/')).join(file), value);
    }

    /// Reads a file of a cgroup.
    pub fn read(&self, controller: &str, path: &str, file: &str) -> Option<String> {
        let base = match self.version {
            Version::Unified(_) => self.mount_point.clone(),
            Version::PerController => self.mount_point.join(controller),
        };
        std::fs::read_to_string(base.join(path.trim_start_matches('/')).join(file)).ok()
    }

    /// Removes a cgroup from every hierarchy the runtime may have made it in.
    pub fn remove(&self, path: &str) -> Result<(), RemoveError> {
        let relative = path.trim_start_matches('/');
        self.all()
            .iter()
            .try_for_each(|hierarchy| remove_tree(&hierarchy.join(relative)))
    }

    /// Removes a cgroup where it holds no other.
    pub fn remove_empty(&self, path: &str) {
        for hierarchy in self.all() {
            // What is left in it is somebody else's.
            let _ = std::fs::remove_dir(hierarchy.join(path.trim_start_matches('/')));
        }
    }

    fn all(&self) -> Vec<PathBuf> {
        match self.version {
            Version::Unified(_) => vec![self.mount_point.clone()],
            Version::PerController => below(&self.mount_point),
        }
    }

    fn make_directory(&self, directory: &Path) {
        if let Err(error) = std::fs::create_dir_all(directory) {
            self.tell(directory, &error);
        }
    }

    fn put(&self, path: &Path, value: &str) {
        if let Err(error) = std::fs::write(path, value) {
            self.tell(path, &error);
        }
    }

    /// Says once per kind of file what isn't enforced on this machine.
    fn tell(&self, path: &Path, error: &std::io::Error) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let kind = if name.contains('.') {
            name.into_owned()
        } else {
            "directory".to_owned()
        };
        if self.told.lock().insert(kind) {
            tracing::warn!(path = %path.display(), %error, "limits of pods are not enforced here");
        }
    }
}

/// Directories directly below, in order. Links are other names of the same hierarchies (`cpu` of `cpu,cpuacct`).
fn below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let directories = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut paths: Vec<PathBuf> = directories.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Cgroups are removed bottom up; the files in them go with them.
fn remove_tree(directory: &Path) -> Result<(), RemoveError> {
    below(directory).iter().try_for_each(|child| remove_tree(child))?;
    gone(std::fs::remove_dir(directory)).map_err(|source| RemoveError {
        path: directory.to_owned(),
        source,
    })
}
