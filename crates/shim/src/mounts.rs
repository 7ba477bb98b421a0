//! The container's root file system: mounted as containerd says, unmounted when the container goes.

use crate::id_mapped::{self, Access, Maps};
use crate::proto::Mount;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::ffi::CString;
use std::path::Path;

/// The kernel takes a page of options, less its own needs. Overlays of many layers need more.
const OPTIONS_MAX: usize = 4096 - 512;
/// Beside the root file system while it is mounted: its layers, their files mapped. Those of all other images are there, too,
/// so it is read-only: whoever removes the bundle of a shim that was killed meanwhile must not remove them.
pub(crate) const MAPPED_LAYERS: &str = "mapped-layers";

/// Why something isn't mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("mounting {kind} {source_path} on {target}: {error}")]
    Failed {
        kind: String,
        source_path: String,
        target: String,
        error: std::io::Error,
    },
    #[error("mount option {0} of {1} is not supported")]
    Unsupported(String, String),
    #[error("mount of {0}: users are mapped and groups are not, or the other way round")]
    HalfMapped(String),
}

/// What mount(2) is told.
#[derive(Debug, PartialEq)]
struct Plan {
    flags: MountFlags,
    propagation: Option<MountPropagationFlags>,
    options: String,
    /// Whose the files are to be; an overlay's are those of its layers.
    maps: Option<Maps>,
}

impl Plan {
    fn of(mount: &Mount) -> Result<Self, MountError> {
        let mut plan = Self {
            flags: MountFlags::empty(),
            propagation: None,
            options: String::new(),
            maps: None,
        };
        let mut rest = Vec::new();
        let (mut users, mut groups) = (None, None);
        for option in &mount.options {
            if let Some((flag, is_set)) = flag(option) {
                plan.flags.set(flag, is_set);
            } else if let Some(propagation) = propagation(option) {
                plan.propagation = Some(propagation);
            } else if let Some(map) = option.strip_prefix("uidmap=") {
                users = Some(map.to_owned());
            } else if let Some(map) = option.strip_prefix("gidmap=") {
                groups = Some(map.to_owned());
            } else if option == "loop" {
                return Err(MountError::Unsupported(option.clone(), mount.source.clone()));
            } else if option != "defaults" && !option.is_empty() {
                rest.push(&**option);
            }
        }
        plan.options = rest.join(",");
        plan.maps = match (users, groups) {
            (Some(users), Some(groups)) => Some(Maps { users, groups }),
            (None, None) => None,
            _ => return Err(MountError::HalfMapped(mount.source.clone())),
        };
        Ok(plan)
    }

    /// A bind mount takes other flags only when it is mounted again.
    fn needs_remount(&self) -> bool {
        self.flags.contains(MountFlags::BIND)
            && !(self.flags - (MountFlags::BIND | MountFlags::REC)).is_empty()
    }
}

fn flag(option: &str) -> Option<(MountFlags, bool)> {
    let (flag, is_set) = match option {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "bind" => (MountFlags::BIND, true),
        "rbind" => (MountFlags::BIND | MountFlags::REC, true),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        _ => return None,
    };
    Some((flag, is_set))
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    let (name, flags) = match option.strip_prefix('r') {
        Some(name) => (name, MountPropagationFlags::REC),
        None => (option, MountPropagationFlags::empty()),
    };
    let kind = match name {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(kind | flags)
}

/// Options in which every layer is named relative to the directory all layers share, and that directory.
fn relative_to_layers(options: &str) -> Option<(String, String)> {
    let layers = options
        .split(',')
        .find_map(|option| option.strip_prefix("lowerdir="))?;
    let mut common = layers.split(':').next()?.rsplit_once('/')?.0.to_owned();
    while !layers.split(':').all(|layer| {
        layer
            .strip_prefix(&*common)
            .is_some_and(|rest| rest.starts_with('/'))
    }) {
        common.truncate(common.rfind('/')?);
    }
    if common.is_empty() {
        return None;
    }
    let relative: Vec<&str> = layers
        .split(':')
        .map(|layer| &layer[common.len() + 1..])
        .collect();
    let shortened = options.replace(
        &format!("lowerdir={layers}"),
        &format!("lowerdir={}", relative.join(":")),
    );
    Some((common, shortened))
}

/// Mounts all on `target`, one over the other.
pub fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), MountError> {
    for mount in mounts {
        let failed = |error: std::io::Error| MountError::Failed {
            kind: mount.kind.clone(),
            source_path: mount.source.clone(),
            target: target.display().to_string(),
            error,
        };
        let plan = Plan::of(mount)?;
        let target = if mount.target.is_empty() {
            target.to_owned()
        } else {
            target.join(mount.target.trim_start_matches('/'))
        };
        carry_out(&plan, mount, &target).map_err(failed)?;
    }
    Ok(())
}

fn carry_out(plan: &Plan, mount: &Mount, target: &Path) -> std::io::Result<()> {
    let namespace = plan.maps.as_ref().map(id_mapped::namespace).transpose()?;
    let is_overlay = mount.kind == "overlay";
    let is_long = is_overlay && plan.options.len() > OPTIONS_MAX;
    let layers = (is_long || is_overlay && namespace.is_some())
        .then(|| relative_to_layers(&plan.options))
        .flatten();
    match (&namespace, layers) {
        (None, None) => call(plan, mount, target, &plan.options)?,
        (None, Some((directory, options))) => {
            call_in(Path::new(&directory), || call(plan, mount, target, &options))?;
        }
        (Some(namespace), Some((directory, options))) => {
            let mapped = target.with_file_name(MAPPED_LAYERS);
            std::fs::create_dir_all(&mapped)?;
            let outcome = id_mapped::attach(
                Path::new(&directory),
                &mapped,
                namespace.as_fd(),
                Access::ReadOnly,
            )
            .and_then(|()| call_in(&mapped, || call(plan, mount, target, &options)));
            // The overlay has the layers by itself.
            detach(&mapped);
            outcome?;
        }
        (Some(_), None) if is_overlay => {
            let message = "layers that share no directory cannot be mapped";
            return Err(std::io::Error::other(message));
        }
        (Some(namespace), None) => {
            call(plan, mount, target, &plan.options)?;
            id_mapped::attach(target, target, namespace.as_fd(), Access::Whole)?;
        }
    }
    if plan.needs_remount() {
        rustix::mount::mount_remount(target, plan.flags, "")?;
    }
    if let Some(propagation) = plan.propagation {
        rustix::mount::mount_change(target, propagation)?;
    }
    Ok(())
}

/// Does something in a directory. The one thread has the working directory to itself; nothing here waits meanwhile.
fn call_in(directory: &Path, call: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    let before = std::env::current_dir()?;
    std::env::set_current_dir(directory)?;
    let outcome = call();
    std::env::set_current_dir(before)?;
    outcome
}

fn call(plan: &Plan, mount: &Mount, target: &Path, options: &str) -> std::io::Result<()> {
    let options = CString::new(options)?;
    Ok(rustix::mount::mount(
        &*mount.source,
        target,
        &*mount.kind,
        plan.flags,
        Some(&*options),
    )?)
}

/// Unmounts all that is mounted on `target`. What is still in use goes when its last user has.
pub fn unmount_all(target: &Path) {
    loop {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::BUSY) => {
                if rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH).is_err() {
                    return;
                }
            }
            // Not a mount point (any more).
            Err(_) => return,
        }
    }
}

/// Unmounts all that is mounted on `target`, and removes the directory.
pub fn detach(target: &Path) {
    unmount_all(target);
    // Of what is still mounted nothing can be removed this way.
    let _ = std::fs::remove_dir(target);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        Mount {
            kind: kind.to_owned(),
            source: "s".to_owned(),
            target: String::new(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    #[test]
    fn options_become_flags_or_go_to_the_file_system() {
        let overlay = Plan::of(&mount("overlay", &["index=off", "ro", "lowerdir=/a:/b", "nodev"])).unwrap();
        assert_eq!(overlay.flags, MountFlags::RDONLY | MountFlags::NODEV);
        assert_eq!(overlay.options, "index=off,lowerdir=/a:/b");
        assert!(!overlay.needs_remount());
        let bind = Plan::of(&mount("bind", &["rbind", "rw", "rprivate"])).unwrap();
        assert_eq!(bind.flags, MountFlags::BIND | MountFlags::REC);
        assert_eq!(
            bind.propagation,
            Some(MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        );
        assert!(!bind.needs_remount());
        assert!(Plan::of(&mount("bind", &["bind", "ro"])).unwrap().needs_remount());
        assert!(Plan::of(&mount("ext4", &["loop"])).is_err());
    }

    #[test]
    fn maps_are_no_options_of_the_file_system() {
        let options = ["uidmap=0:7:9,10:20:1", "gidmap=0:8:9", "lowerdir=/a:/b"];
        let mapped = Plan::of(&mount("overlay", &options)).unwrap();
        assert_eq!(mapped.options, "lowerdir=/a:/b");
        let maps = Maps {
            users: "0:7:9,10:20:1".to_owned(),
            groups: "0:8:9".to_owned(),
        };
        assert_eq!(mapped.maps, Some(maps));
        assert!(Plan::of(&mount("overlay", &options[..1])).is_err());
    }

    #[test]
    fn layers_are_named_from_the_directory_they_share() {
        let shortened = |options: &str| relative_to_layers(options);
        assert_eq!(
            shortened("workdir=/s/3/work,lowerdir=/s/1/fs:/s/2/fs,upperdir=/s/3/fs"),
            Some((
                "/s".to_owned(),
                "workdir=/s/3/work,lowerdir=1/fs:2/fs,upperdir=/s/3/fs".to_owned()
            ))
        );
        assert_eq!(
            shortened("lowerdir=/s/12/fs:/s/1/fs"),
            Some(("/s".to_owned(), "lowerdir=12/fs:1/fs".to_owned()))
        );
        assert_eq!(shortened("lowerdir=/a:/b"), None);
        assert_eq!(shortened("upperdir=/a"), None);
    }

    #[test]
    fn mapped_layers_become_one_that_can_be_written_and_are_not_left_beside_it() {
        use std::os::unix::fs::MetadataExt;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for made in ["s/1/fs", "s/2/fs", "s/3/fs", "s/3/work", "bundle/rootfs"] {
            std::fs::create_dir_all(at(made)).unwrap();
        }
        std::fs::write(at("s/1/fs/lower"), "").unwrap();
        std::fs::write(at("s/2/fs/upper"), "").unwrap();
        std::os::unix::fs::chown(at("s/3/fs"), Some(100_000), Some(100_000)).unwrap();
        let shown = |path: &str| at(path).display().to_string();
        let options = [
            format!("workdir={}", shown("s/3/work")),
            format!("upperdir={}", shown("s/3/fs")),
            format!("lowerdir={}:{}", shown("s/2/fs"), shown("s/1/fs")),
            "uidmap=0:100000:65536".to_owned(),
            "gidmap=0:100000:65536".to_owned(),
        ];
        let options: Vec<&str> = options.iter().map(|option| &**option).collect();
        let rootfs = at("bundle/rootfs");
        mount_all(&[mount("overlay", &options)], &rootfs).unwrap();
        let owners =
            ["lower", "upper"].map(|name| std::fs::metadata(rootfs.join(name)).map(|file| file.uid()));
        let written = std::fs::write(rootfs.join("lower"), "new");
        let is_left = at("bundle").join(MAPPED_LAYERS).exists();
        unmount_all(&rootfs);
        assert_eq!(owners.map(Result::unwrap), [100_000; 2]);
        assert!(written.is_ok(), "{written:?}");
        assert!(!is_left);
        assert_eq!(
            std::fs::read(at("s/1/fs/lower")).unwrap(),
            b"",
            "the layer is as it was"
        );
    }

    #[test]
    fn what_a_shim_that_was_killed_left_attached_is_detached() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (layers, mapped) = (dir.path().join("s"), dir.path().join(MAPPED_LAYERS));
        std::fs::create_dir(&layers).unwrap();
        std::fs::create_dir(&mapped).unwrap();
        std::fs::write(layers.join("layer"), "").unwrap();
        let maps = Maps {
            users: "0:100000:65536".to_owned(),
            groups: "0:100000:65536".to_owned(),
        };
        let namespace = id_mapped::namespace(&maps).unwrap();
        id_mapped::attach(&layers, &mapped, namespace.as_fd(), Access::ReadOnly).unwrap();
        assert!(
            std::fs::remove_dir_all(&mapped).is_err(),
            "nothing is removed through it"
        );
        detach(&mapped);
        assert!(!mapped.exists() && layers.join("layer").exists());
    }
}
