//! The agent's own directory, and whom it is for.
use super::KubeletError;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// For root and its group.
const MODE: u32 = 0o750;

/// Makes the agent's directory and that of pods in it: there lie secrets and tokens, readable for every user of a container,
/// and not meant for users of the machine. Where the former is there already, somebody has said whose it is.
pub fn make(root: &Path) -> Result<(), KubeletError> {
    let failed = |directory: &Path| {
        let directory = directory.to_path_buf();
        move |source| KubeletError::Directory { directory, source }
    };
    let close = |directory: &Path| std::fs::set_permissions(directory, Permissions::from_mode(MODE));
    if !root.is_dir() {
        let made = std::fs::create_dir_all(root).and_then(|()| close(root));
        made.map_err(failed(root))?;
    }
    let pods = root.join("pods");
    let made = std::fs::create_dir_all(&pods).and_then(|()| close(&pods));
    made.map_err(failed(&pods))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_pods_are_not_for_everybody_on_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("lib/kubelet");
        let all = [root.clone(), root.join("pods")];
        let modes = || {
            make(&root).unwrap();
            let mode = |path: &std::path::PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
            all.each_ref().map(mode)
        };
        assert_eq!(modes(), [MODE, MODE]);
        for path in &all {
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        assert_eq!(modes(), [0o755, MODE]);
    }
}
