//! The volume that a claim is bound to, mounted for a pod.
use crate::volumes::ownership::{self, FsGroup};
use crate::volumes::{Fault, Mounted, host_path, mount_options, table};
use crate::whole::gone;
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// Below a pod's `volumes`.
pub const LOCAL: &str = "kubernetes.io~local-volume";
/// What follows the name of a pod's volume in the mark of its being ready: names have no underscores.
const MARK: &str = "_ready";

/// Where a claim leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The PersistentVolume's name.
    pub(super) volume: String,
    pub(super) source: Source,
    /// By the pod or by the volume's options.
    pub(super) read_only: bool,
    pub(super) options: mount_options::Change,
}

/// What lies on the node itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    HostPath(HostPathVolumeSource),
    Local(PathBuf),
}

impl Bound {
    /// Makes it ready as the volume called `as_volume` of the pod whose directory is given. Touches what may hang: not for
    /// async code.
    pub(in crate::volumes) fn mount(
        &self,
        pod: &Path,
        as_volume: &str,
        group: Option<FsGroup>,
    ) -> Result<Mounted, Fault> {
        let path = match &self.source {
            Source::HostPath(source) => {
                host_path::check(source)?;
                PathBuf::from(&source.path)
            }
            Source::Local(path) => self.bind(pod, as_volume, path, group)?,
        };
        Ok(Mounted::At {
            path,
            read_only: self.read_only,
        })
    }

    fn bind(
        &self,
        pod: &Path,
        as_volume: &str,
        path: &Path,
        group: Option<FsGroup>,
    ) -> Result<PathBuf, Fault> {
        let place = self.place();
        let (at, marks) = (point(pod, &place), marks(pod, &place));
        let mark = marks.join(format!("{as_volume}{MARK}"));
        let is_mounted =
            table::is_mount_point(&at).map_err(Fault::io("cannot tell what is mounted on", &at))?;
        if is_mounted && mark.exists() {
            return Ok(at);
        }
        if !is_mounted {
            // Those of a mount that is gone, as after the machine has started again, say nothing of the next.
            gone(std::fs::remove_dir_all(&marks)).map_err(Fault::io("cannot remove", &marks))?;
        }
        if marked(&marks).is_empty() {
            self.make_ready(pod, path, (&at, is_mounted), group)?;
        }
        std::fs::create_dir_all(&marks)
            .and_then(|()| std::fs::write(&mark, b""))
            .map_err(Fault::io("cannot create", &mark))?;
        Ok(at)
    }

    /// Mounts it, unless it is, and does all that follows.
    fn make_ready(
        &self,
        pod: &Path,
        path: &Path,
        (at, is_mounted): (&Path, bool),
        group: Option<FsGroup>,
    ) -> Result<(), Fault> {
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(Fault::Invalid(format!(
                "the path {} must not contain '..'",
                path.display()
            )));
        }
        let kind = match std::fs::metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Fault::Invalid(format!(
                    "path {:?} does not exist",
                    path.display().to_string()
                )));
            }
            Err(error) => return Err(Fault::io("cannot look at", path)(error)),
        };
        if kind.is_block_device() {
            return Err(Fault::Unsupported(format!(
                "local on the block device {}",
                path.display()
            )));
        }
        if !kind.is_dir() {
            return Err(Fault::Invalid(
                "only directory and block device are supported".to_owned(),
            ));
        }
        let is_in_use = self
            .is_used_by_others(pod)
            .map_err(Fault::io("cannot tell who else uses", path))?;
        // It may be mounted by an agent that ended before it was done.
        if !is_mounted {
            std::fs::create_dir_all(at).map_err(Fault::io("cannot create", at))?;
            let bound = mount(Some(path), at, None::<&str>, MsFlags::MS_BIND, None::<&str>);
            bound
                .map_err(std::io::Error::from)
                .map_err(Fault::io("cannot mount", at))?;
        }
        self.set_options(at)
            .and_then(|()| match group {
                // Whoever came first has given the files to a group; taking them away would shut them out.
                Some(group) if !self.read_only && !is_in_use => ownership::apply(at, group, false),
                _ => Ok(()),
            })
            .map_err(Fault::io("cannot prepare", at))
    }

    /// Flags of a bind mount take effect in a second step only.
    fn set_options(&self, at: &Path) -> std::io::Result<()> {
        if self.options == mount_options::Change::NONE {
            return Ok(());
        }
        let flags = self.options.on(statvfs(at)?.flags());
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags;
        Ok(mount(None::<&str>, at, None::<&str>, flags, None::<&str>)?)
    }

    /// Whether another pod of this node has it, ready to be used.
    fn is_used_by_others(&self, pod: &Path) -> std::io::Result<bool> {
        let pods = pod.parent().and_then(|pods| std::fs::read_dir(pods).ok());
        let others = pods.into_iter().flatten().flatten().map(|other| other.path());
        for other in others.filter(|other| other != pod) {
            for place in [self.volume.clone(), read_only_place(&self.volume)] {
                let is_ready = !marked(&marks(&other, &place)).is_empty();
                if is_ready && table::is_mount_point(&point(&other, &place))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The directory that it is mounted in: a pod may have two volumes of one claim, one of which is read-only.
    fn place(&self) -> String {
        if self.read_only {
            read_only_place(&self.volume)
        } else {
            self.volume.clone()
        }
    }
}

/// No volume's name has an underscore.
fn read_only_place(volume: &str) -> String {
    format!("{volume}_ro")
}

fn point(pod: &Path, place: impl AsRef<Path>) -> PathBuf {
    pod.join("volumes").join(LOCAL).join(place)
}

/// Where the marks lie of the pod's volumes that are mounted in one place.
fn marks(pod: &Path, place: &str) -> PathBuf {
    pod.join("plugins").join(LOCAL).join(place)
}

/// Names of the volumes whose marks are in a directory: all is done of them that follows the mount.
fn marked(marks: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(marks).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| Some(name.strip_suffix(MARK)?.to_owned()))
        .collect()
}

/// Where those volumes of a pod are mounted that are local volumes of claims: by the volume's name. Only the agent's own
/// directories are looked at.
pub fn mounted(pod: &Path) -> BTreeMap<String, PathBuf> {
    let volumes = std::fs::read_dir(pod.join("plugins").join(LOCAL));
    let volumes = volumes.into_iter().flatten().flatten();
    let of_one = |directory: std::fs::DirEntry| {
        let at = point(pod, directory.file_name());
        let names = marked(&directory.path());
        names.into_iter().map(move |name| (name, at.clone()))
    };
    volumes.flat_map(of_one).collect()
}
