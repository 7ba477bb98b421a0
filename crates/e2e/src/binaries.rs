//! The programs under test and the images they need.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Directory of the binaries that cargo built beside this test.
fn target_dir() -> PathBuf {
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

/// A directory with the example's OCI archives, built once per run of a test program.
pub fn images() -> &'static Path {
    static IMAGES: OnceLock<tempfile::TempDir> = OnceLock::new();
    IMAGES
        .get_or_init(|| {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let xtask = target_dir().join("xtask");
            let status = Command::new(&xtask)
                .args(["example-images", "--out"])
                .arg(directory.path())
                .status()
                .unwrap_or_else(|e| {
                    panic!("{}: {e}: run `make test`, which builds it first", xtask.display())
                });
            assert!(status.success(), "xtask example-images failed: {status}");
            directory
        })
        .path()
}
