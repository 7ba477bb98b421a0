//! Mounts on which files belong to other users than on disk: how a pod with users of its own finds an image's files to be
//! its own, without a copy of them.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// `MOUNT_ATTR_IDMAP` of mount_setattr(2).
const ID_MAPPED: u64 = 0x0010_0000;
/// `MOUNT_ATTR_RDONLY` of mount_setattr(2).
const READ_ONLY: u64 = 1;

/// What may be done through a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All that the file system itself allows.
    Whole,
    ReadOnly,
}

/// Whose the files are: users and groups, each `on disk:on the mount:how many`, by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maps {
    pub users: String,
    pub groups: String,
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    namespace: u64,
}

/// A user namespace of these maps, which is how the kernel is told of them.
pub fn namespace(maps: &Maps) -> Result<OwnedFd> {
    let (users, groups) = (lines(&maps.users)?, lines(&maps.groups)?);
    let keeper = Keeper::start()?;
    let of = |file: &str| format!("/proc/{}/{file}", keeper.0);
    std::fs::write(of("uid_map"), users)?;
    std::fs::write(of("gid_map"), groups)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(of("ns/user"), flags, Mode::empty())?)
}

/// As the kernel takes a map.
fn lines(map: &str) -> Result<String> {
    let mut lines = String::new();
    for range in map.split(',') {
        let numbers: Vec<&str> = range.split(':').collect();
        if numbers.len() != 3 || numbers.iter().any(|number| number.parse::<u32>().is_err()) {
            let message = format!("{map:?} is no map of users");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        lines.push_str(&numbers.join(" "));
        lines.push('\n');
    }
    Ok(lines)
}

/// A process that does nothing but have a user namespace.
struct Keeper(libc::pid_t);

impl Keeper {
    fn start() -> Result<Self> {
        let flags = libc::c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
        let none: libc::c_long = 0;
        // SAFETY: without CLONE_VM this is a fork.
        match unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) } {
            -1 => Err(Error::last_os_error()),
            0 => {
                // SAFETY: two calls that are allowed between fork and exec.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                loop {
                    unsafe { libc::pause() };
                }
            }
            pid => libc::pid_t::try_from(pid).map(Self).map_err(Error::other),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // SAFETY: the process is our child and nobody has waited for it: this is the one thread.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Attaches the file system at `source` to `target` once more, its files mapped.
pub fn attach(source: &Path, target: &Path, namespace: BorrowedFd<'_>, access: Access) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, source, flags)?;
    map(&tree, namespace, access)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(&tree, "", CWD, target, flags)?)
}

fn map(tree: &OwnedFd, namespace: BorrowedFd<'_>, access: Access) -> Result<()> {
    let set = match access {
        Access::Whole => ID_MAPPED,
        Access::ReadOnly => ID_MAPPED | READ_ONLY,
    };
    let attributes = Attributes {
        set,
        clear: 0,
        propagation: 0,
        namespace: u64::from(namespace.as_raw_fd().cast_unsigned()),
    };
    // SAFETY: both descriptors are open, and the kernel reads as many bytes of the attributes as it is told.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn maps_are_written_as_the_kernel_takes_them() {
        assert_eq!(lines("0:65536:65536").unwrap(), "0 65536 65536\n");
        assert_eq!(lines("0:1:2,5:6:7").unwrap(), "0 1 2\n5 6 7\n");
        for wrong in ["", "0:1", "0:1:2:3", "0:-1:2", "0:1:2,"] {
            assert!(lines(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn files_belong_to_the_mapped_users_and_stay_where_only_reading_is_allowed() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        std::fs::create_dir(&source).unwrap();
        std::fs::create_dir(&target).unwrap();
        std::fs::write(source.join("file"), "").unwrap();
        let maps = Maps {
            users: "0:100000:65536".to_owned(),
            groups: "0:200000:65536".to_owned(),
        };
        let namespace = namespace(&maps).unwrap();
        for (access, may_be_removed) in [(Access::ReadOnly, false), (Access::Whole, true)] {
            attach(&source, &target, namespace.as_fd(), access).unwrap();
            let seen = std::fs::metadata(target.join("file")).unwrap();
            let removed = std::fs::remove_file(target.join("file"));
            rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH).unwrap();
            assert_eq!((seen.uid(), seen.gid()), (100_000, 200_000), "{access:?}");
            assert_eq!(removed.is_ok(), may_be_removed, "{access:?}: {removed:?}");
        }
    }
}
