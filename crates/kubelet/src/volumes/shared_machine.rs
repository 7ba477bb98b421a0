//! For tests: a machine of its own whose mounts are shared, as systemd leaves them.
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::Path;

/// Does this on a thread in a namespace of mounts of its own, all of which are shared within it; with an empty directory.
pub fn on(work: impl FnOnce(&Path) + Send) {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let root = Path::new("/");
            // Of the machine that the tests run on nothing is shared, and then all of it anew.
            for flags in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
                mount(
                    None::<&str>,
                    root,
                    None::<&str>,
                    MsFlags::MS_REC | flags,
                    None::<&str>,
                )
                .unwrap();
            }
            work(directory.path());
        });
        done.join().unwrap();
    });
}

/// A file system of its own, at a directory that is made.
pub fn tmpfs(at: &Path) {
    std::fs::create_dir_all(at).unwrap();
    mount(Some("t"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

/// A directory seen at another, without what is mounted below it so far.
pub fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}
