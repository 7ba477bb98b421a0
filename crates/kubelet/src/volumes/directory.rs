//! The directories volumes live in: made once, marked when they are ready, found again after a restart.
use super::ownership::{self, FsGroup};
use super::{Fault, table};
use crate::whole::gone;
use nix::mount::{MsFlags, mount};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The kinds of volumes that have a directory below the pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    EmptyDir,
    ConfigMap,
    Secret,
    DownwardApi,
    Projected,
}

impl Plugin {
    fn directory(self) -> &'static str {
        match self {
            Self::EmptyDir => "kubernetes.io~empty-dir",
            Self::ConfigMap => "kubernetes.io~configmap",
            Self::Secret => "kubernetes.io~secret",
            Self::DownwardApi => "kubernetes.io~downward-api",
            Self::Projected => "kubernetes.io~projected",
        }
    }
}

/// What a directory is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    Disk,
    /// A tmpfs, of at most so many bytes.
    Memory(Option<i64>),
    /// A hugetlbfs with the mount options.
    HugePages(String),
}

/// The directory of a volume whose files the agent writes: secrets and the like never touch a disk.
pub fn wrapped(pod: &Path, plugin: Plugin, volume: &str, group: Option<FsGroup>) -> Result<PathBuf, Fault> {
    let medium = if plugin == Plugin::ConfigMap {
        Medium::Disk
    } else {
        Medium::Memory(None)
    };
    prepare(pod, plugin, volume, &medium, group.map(|group| (group, true)))
}

/// Makes a volume's directory, open to everybody, unless it is ready. `group`: with whether files are read-only.
pub fn prepare(
    pod: &Path,
    plugin: Plugin,
    volume: &str,
    medium: &Medium,
    group: Option<(FsGroup, bool)>,
) -> Result<PathBuf, Fault> {
    let path = pod.join("volumes").join(plugin.directory()).join(volume);
    let mark = if plugin == Plugin::EmptyDir {
        volume.to_owned()
    } else {
        format!("wrapped_{volume}")
    };
    let mark = pod
        .join("plugins/kubernetes.io~empty-dir")
        .join(mark)
        .join("ready");
    let mounted = match medium {
        Medium::Disk => true,
        _ => table::is_mount_point(&path).map_err(Fault::io("cannot tell what is mounted on", &path))?,
    };
    if mounted && path.is_dir() && mark.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(&path).map_err(Fault::io("cannot create", &path))?;
    if !mounted {
        // One of a mount that is gone, as after the machine has started again, says nothing of the next.
        gone(std::fs::remove_file(&mark)).map_err(Fault::io("cannot remove", &mark))?;
        mount_medium(&path, medium).map_err(Fault::io("cannot mount", &path))?;
    }
    // A tmpfs is open already, and has the sticky bit besides, which what is made below it takes over.
    let opened = std::fs::metadata(&path).and_then(|metadata| match metadata.mode() & 0o777 {
        0o777 => Ok(()),
        _ => std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)),
    });
    opened.map_err(Fault::io("cannot open up", &path))?;
    if let Some((group, read_only)) = group {
        ownership::apply(&path, group, read_only).map_err(Fault::io("cannot set the group of", &path))?;
    }
    let marks = mark.parent().unwrap_or(pod);
    std::fs::create_dir_all(marks)
        .and_then(|()| std::fs::write(&mark, b""))
        .map_err(Fault::io("cannot create", &mark))?;
    Ok(path)
}

fn mount_medium(path: &Path, medium: &Medium) -> io::Result<()> {
    let (kind, options) = match medium {
        Medium::Disk => return Ok(()),
        Medium::HugePages(options) => ("hugetlbfs", options.clone()),
        Medium::Memory(size) => (
            "tmpfs",
            size.map(|bytes| format!("size={bytes}")).unwrap_or_default(),
        ),
    };
    let with = |options: &str| mount(Some(kind), path, Some(kind), MsFlags::empty(), Some(options));
    if kind == "tmpfs" {
        // Kernels before 6.4 don't know noswap.
        let no_swap = if options.is_empty() {
            "noswap".to_owned()
        } else {
            format!("{options},noswap")
        };
        if with(&no_swap).is_ok() {
            return Ok(());
        }
    }
    with(&options).map_err(io::Error::from)
}
