//! The programs under test and the images they need.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Directory of the binaries that cargo built beside this test.
pub(crate) fn target_dir() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test knows its own path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path
}

/// The orlop binary of the same profile as this test (or `ORLOP_BIN`).
pub fn orlop() -> PathBuf {
    if let Some(path) = std::env::var_os("ORLOP_BIN") {
        return path.into();
    }
    let path = target_dir().join("orlop");
    assert!(
        path.is_file(),
        "{} is missing: run `make test`, which builds it first",
        path.display()
    );
    path
}

/// The lab's program of the same profile as this test.
pub fn lab_program() -> PathBuf {
    let path = target_dir().join("orlop-lab");
    assert!(
        path.is_file(),
        "{} is missing: run `make test`, which builds it first",
        path.display()
    );
    path
}

/// A directory with the example's OCI archives.
pub fn images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| built("example", &[xtask()], Command::new(xtask()).arg("example-images")))
}

/// A directory with the archives of a control plane, and busybox's.
pub fn cluster_images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let mut command = Command::new(xtask());
        command.arg("cluster-images").arg("--orlop").arg(orlop());
        let directory = built("cluster", &[xtask(), orlop()], &mut command);
        let busybox = "busybox.tar";
        std::fs::copy(images().join(busybox), directory.join(busybox)).expect("busybox's image");
        directory
    })
}

fn xtask() -> PathBuf {
    target_dir().join("xtask")
}

/// Runs a command that writes archives into the directory given with `--out`: beside the binaries, once for all test
/// programs until one of `sources` has changed.
fn built(name: &str, sources: &[PathBuf], command: &mut Command) -> PathBuf {
    let directory = target_dir().join("test-images").join(name);
    std::fs::create_dir_all(&directory).expect("a directory beside the binaries");
    let lock = File::create(directory.with_extension("lock")).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.expect("nobody else builds them meanwhile");
    let made = directory.with_extension("made");
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let current = changed(&made).is_some_and(|made| {
        sources
            .iter()
            .all(|source| changed(source).is_none_or(|changed| changed < made))
    });
    if !current {
        let _ = std::fs::remove_file(&made);
        let status = command
            .arg("--out")
            .arg(&directory)
            .status()
            .unwrap_or_else(|e| panic!("{command:?}: {e}: run `make test`, which builds it first"));
        assert!(status.success(), "{command:?} failed: {status}");
        File::create(&made).expect("a note of it");
    }
    directory
}
