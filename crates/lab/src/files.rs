//! The files of a machine: programs and configuration of this one, everything that changes its own.
use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::path::Path;

/// Directories of this machine that programs come from; links are copied, what is changed in directories is the machine's own.
const SHARED: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "opt"];
/// Directories of `/etc` that a new machine has empty.
const FRESH: [&str; 4] = ["etc/kubernetes", "etc/cni", "etc/containerd", "etc/systemd"];
/// Devices that programs expect.
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// Where changes to the shared directories lie, below the machine's root.
const CHANGES: &str = ".changes";
/// Where the binary under test is put.
pub const BIN: &str = "/lab/bin";
/// The shim that the managed containerd is given where it lies beside orlop.
const SHIM: &str = "containerd-shim-orlop-v2";

fn bind(source: &Path, target: &Path, flags: MsFlags) -> Result<()> {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | flags,
        None::<&str>,
    )
    .with_context(|| format!("binding {} to {}", source.display(), target.display()))
}

/// A directory of the host, where what changes goes to `changes`: runtimes make the paths that pods ask for, such as
/// `/lib/modules`, which not every machine has.
fn overlay(host: &Path, target: &Path, changes: &Path) -> Result<()> {
    let (upper, work) = (changes.join("upper"), changes.join("work"));
    for path in [&upper, &work] {
        std::fs::create_dir_all(path)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        host.display(),
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| format!("laying {} over {}", target.display(), host.display()))
}

/// A file of the host in a place of its own.
fn place(program: &Path, target: &Path) -> Result<()> {
    std::fs::write(target, "")?;
    bind(program, target, MsFlags::empty())
}

fn fresh(kind: &str, target: &Path, options: &str) -> Result<()> {
    std::fs::create_dir_all(target)?;
    mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("mounting {kind} on {}", target.display()))
}

/// Builds the tree below `directory` and makes it the root of this mount namespace. `orlop` is the binary under test.
pub fn enter(directory: &Path, name: &str, hosts: &str, orlop: &Path) -> Result<()> {
    // Not where the machine's own `/root` is kept.
    let root = directory.join("tree");
    fresh("tmpfs", &root, "mode=755")?;
    for shared in SHARED {
        let host = Path::new("/").join(shared);
        let target = root.join(shared);
        match host.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                std::os::unix::fs::symlink(std::fs::read_link(&host)?, &target)?;
            }
            Ok(_) => {
                std::fs::create_dir_all(&target)?;
                overlay(&host, &target, &root.join(CHANGES).join(shared))?;
            }
            Err(_) => {}
        }
    }
    etc(directory, &root, name, hosts)?;
    for own in ["var", "root", "srv"] {
        let kept = directory.join(own);
        std::fs::create_dir_all(&kept)?;
        std::fs::create_dir_all(root.join(own))?;
        bind(&kept, &root.join(own), MsFlags::empty())?;
    }
    for path in ["var/lib", "var/log", "var/tmp", "var/cache"] {
        std::fs::create_dir_all(root.join(path))?;
    }
    fresh("tmpfs", &root.join("run"), "mode=755")?;
    std::os::unix::fs::symlink("/run", root.join("var/run")).or_else(exists)?;
    fresh("tmpfs", &root.join("tmp"), "mode=1777")?;
    fresh("proc", &root.join("proc"), "")?;
    // A file system of the new network namespace's own, with the host's cgroups.
    fresh("sysfs", &root.join("sys"), "")?;
    bind(
        Path::new("/sys/fs/cgroup"),
        &root.join("sys/fs/cgroup"),
        MsFlags::MS_REC,
    )?;
    devices(&root)?;
    let bin = root.join(BIN.trim_start_matches('/'));
    std::fs::create_dir_all(&bin)?;
    place(orlop, &bin.join("orlop"))?;
    // The shim lies beside it, as where it is installed; without it pods get containerd's.
    let shim = orlop.with_file_name(SHIM);
    if shim.is_file() {
        place(&shim, &bin.join(SHIM))?;
    }

    let old = root.join("old");
    std::fs::create_dir_all(&old)?;
    nix::unistd::pivot_root(&root, &old).context("entering the machine's root")?;
    nix::unistd::chdir("/")?;
    umount2("/old", MntFlags::MNT_DETACH)?;
    std::fs::remove_dir("/old")?;
    Ok(())
}

fn exists(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    }
}

/// This machine's `/etc` below changes of its own.
fn etc(directory: &Path, root: &Path, name: &str, hosts: &str) -> Result<()> {
    let (upper, work) = (directory.join("etc"), directory.join("etc.work"));
    for path in [&upper, &work, &root.join("etc")] {
        std::fs::create_dir_all(path)?;
    }
    let options = format!(
        "lowerdir=/etc,upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        &root.join("etc"),
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .context("mounting /etc")?;
    for fresh in FRESH {
        let kept = directory.join("fresh").join(fresh.replace('/', "-"));
        std::fs::create_dir_all(&kept)?;
        let target = root.join(fresh);
        std::fs::create_dir_all(&target)?;
        bind(&kept, &target, MsFlags::empty())?;
    }
    for (file, text) in [
        ("etc/hostname", format!("{name}\n")),
        ("etc/hosts", hosts.to_owned()),
        ("etc/resolv.conf", "# no names are resolved here\n".to_owned()),
    ] {
        // It may be a link, or mounted by what runs this machine.
        let path = root.join(file);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn devices(root: &Path) -> Result<()> {
    let dev = root.join("dev");
    fresh("tmpfs", &dev, "mode=755")?;
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&dev.join(name), SFlag::S_IFCHR, mode, makedev(major, minor))
            .with_context(|| format!("making /dev/{name}"))?;
        // The mask was applied to the mode.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(dev.join(name), permissions)?;
    }
    fresh("devpts", &dev.join("pts"), "newinstance,ptmxmode=0666,mode=620")?;
    std::os::unix::fs::symlink("pts/ptmx", dev.join("ptmx"))?;
    std::os::unix::fs::symlink("/proc/self/fd", dev.join("fd"))?;
    fresh("tmpfs", &dev.join("shm"), "mode=1777")?;
    fresh("mqueue", &dev.join("mqueue"), "")?;
    Ok(())
}
