//! The programs under test and the images they need.
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

/// A directory with the example's OCI archives, built once per run of a test program.
pub fn images() -> &'static Path {
    static IMAGES: OnceLock<tempfile::TempDir> = OnceLock::new();
    IMAGES
        .get_or_init(|| built(Command::new(xtask()).arg("example-images")))
        .path()
}

/// A directory with the archives of a control plane, and busybox's.
pub fn cluster_images() -> &'static Path {
    static IMAGES: OnceLock<tempfile::TempDir> = OnceLock::new();
    IMAGES
        .get_or_init(|| {
            let directory = built(
                Command::new(xtask())
                    .arg("cluster-images")
                    .arg("--orlop")
                    .arg(orlop()),
            );
            let busybox = "busybox.tar";
            std::fs::copy(images().join(busybox), directory.path().join(busybox)).expect("busybox's image");
            directory
        })
        .path()
}

fn xtask() -> PathBuf {
    target_dir().join("xtask")
}

/// Runs a command that writes archives into the directory given with `--out`.
fn built(command: &mut Command) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let status = command
        .arg("--out")
        .arg(directory.path())
        .status()
        .unwrap_or_else(|e| {
            panic!(
                "{}: {e}: run `make test`, which builds it first",
                xtask().display()
            )
        });
    assert!(status.success(), "{command:?} failed: {status}");
    directory
}
