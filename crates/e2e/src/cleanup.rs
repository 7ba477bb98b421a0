//! Taking down what a killed node may have left.
use std::path::{Path, PathBuf};

/// What is mounted below a directory, deepest first.
pub fn mounted_below(directory: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(directory))
        .collect();
    points.sort_unstable_by_key(|point| std::cmp::Reverse(point.as_os_str().len()));
    points
}

/// Unmounts everything below a directory, so that it can be removed.
pub fn unmount_below(directory: &Path) {
    for point in mounted_below(directory) {
        let _ = nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH);
    }
}
