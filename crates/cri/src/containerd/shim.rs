//! Which program stands between containerd and a pod's containers. It is one for each pod, so its memory counts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Ours, a program of its own beside orlop's.
const PROGRAM: &str = "containerd-shim-orlop-v2";

/// The shim of new pods. Pods that run keep theirs, whatever is chosen later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Shim {
    /// Ours if it lies beside this program, else containerd's.
    Orlop,
    /// The one that came with containerd.
    #[default]
    Containerd,
    /// The one at this path, if it is there.
    At(PathBuf),
}

/// A name that is no shim's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("shim {0:?}: must be \"orlop\" or \"containerd\"")]
pub struct UnknownShim(pub String);

impl std::str::FromStr for Shim {
    type Err = UnknownShim;

    /// From a configuration's word; none is the default.
    fn from_str(word: &str) -> Result<Self, UnknownShim> {
        match word {
            "" => Ok(Self::default()),
            "orlop" => Ok(Self::Orlop),
            "containerd" => Ok(Self::Containerd),
            other => Err(UnknownShim(other.to_owned())),
        }
    }
}

impl Shim {
    /// Where the program lies, if it isn't containerd's own. `here` is the directory of the program that runs.
    fn source(&self, here: Option<&Path>) -> Option<PathBuf> {
        match self {
            Self::Orlop => here.map(|directory| directory.join(PROGRAM)),
            Self::Containerd => None,
            Self::At(path) => Some(path.clone()),
        }
    }

    /// Path of the program, copied into the node's own directory: containerd keeps the path with each pod and needs it for
    /// as long as the pod lives, wherever orlop goes meanwhile. A missing program is no reason not to start pods.
    pub(super) fn install(&self, directory: &Path) -> Option<PathBuf> {
        let own = std::env::current_exe().ok();
        let source = self.source(own.as_deref().and_then(Path::parent))?;
        match copy(&source, directory) {
            Ok(path) => Some(path),
            Err(error) => {
                tracing::warn!(
                    path = %source.display(),
                    %error,
                    "orlop's shim can't be installed: new pods get containerd's, which takes some 12 MB each"
                );
                None
            }
        }
    }
}

/// The copy; left alone if it is there already, put in place at once if not: pods may be starting.
fn copy(source: &Path, directory: &Path) -> std::io::Result<PathBuf> {
    let program = std::fs::read(source)?;
    let path = directory.join(PROGRAM);
    if std::fs::read(&path).is_ok_and(|present| present == program) {
        return Ok(path);
    }
    std::fs::create_dir_all(directory)?;
    let partial = path.with_extension("partial");
    std::fs::write(&partial, program)?;
    std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(partial, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_word_chooses_the_shim() {
        for (word, expected) in [
            ("", Ok(Shim::default())),
            ("orlop", Ok(Shim::Orlop)),
            ("containerd", Ok(Shim::Containerd)),
            ("kata", Err(UnknownShim("kata".to_owned()))),
        ] {
            assert_eq!(word.parse::<Shim>(), expected, "{word}");
        }
    }

    #[test]
    fn ours_lies_beside_this_program() {
        let here = Path::new("/usr/bin");
        let beside = PathBuf::from("/usr/bin/containerd-shim-orlop-v2");
        assert_eq!(Shim::Orlop.source(Some(here)), Some(beside));
        assert_eq!(Shim::Orlop.source(None), None);
        assert_eq!(Shim::Containerd.source(Some(here)), None);
    }

    #[test]
    fn missing_program_leaves_containerds() {
        let node = tempfile::tempdir().unwrap();
        let directory = node.path().join("bin");
        assert_eq!(Shim::At(node.path().join("shim")).install(&directory), None);
        assert_eq!(Shim::Containerd.install(&directory), None);
        assert!(!directory.exists());
    }

    #[test]
    fn program_is_copied_and_replaced_when_it_is_another() {
        let node = tempfile::tempdir().unwrap();
        let (source, directory) = (node.path().join("shim"), node.path().join("bin"));
        let inode = || {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(directory.join(PROGRAM)).unwrap().ino()
        };
        std::fs::write(&source, "one").unwrap();
        let path = Shim::At(source.clone()).install(&directory).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let first = inode();
        assert_eq!(Shim::At(source.clone()).install(&directory), Some(path.clone()));
        assert_eq!(inode(), first);
        std::fs::write(&source, "two").unwrap();
        Shim::At(source).install(&directory).unwrap();
        assert_ne!(inode(), first, "shims that run keep the file they have");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
