//! Which program stands between containerd and a pod's containers. It is one for each pod, so its memory counts.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Ours, a program of its own beside orlop's.
const PROGRAM: &str = "containerd-shim-orlop-v2";
/// The one that was built with this program: what it writes down in bundles, the next call of it reads.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const READING: &str = "reading it";
/// A program that was just written may not run for as long as somebody else's child holds it open.
const BUSY_TRIES_MAX: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(2);

/// The shim of new pods. Pods that run keep theirs, whatever is chosen later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Shim {
    /// Ours if it lies beside this program and runs, else containerd's.
    #[default]
    Orlop,
    /// The one that came with containerd.
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
    /// as long as the pod lives, wherever orlop goes meanwhile. One that is missing, doesn't run here or is of another
    /// version is no reason not to start pods.
    pub(super) fn install(&self, directory: &Path) -> Option<PathBuf> {
        let own = std::env::current_exe().ok();
        let source = self.source(own.as_deref().and_then(Path::parent))?;
        match copy(&source, directory) {
            Ok(path) => Some(path),
            Err(reason) => {
                tracing::warn!(
                    "orlop's shim {} is not used ({reason}): new pods get containerd's, which takes some 12 MB each; \
                     install {PROGRAM} {VERSION} beside orlop, or set orlop.dev/shim: containerd",
                    source.display()
                );
                None
            }
        }
    }
}

/// Why a shim of ours cannot stand before pods.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it is not there")]
    Missing,
    #[error("{action}: {source}")]
    File {
        action: &'static str,
        source: std::io::Error,
    },
    #[error("it does not run: {0}")]
    NotRunning(std::io::Error),
    #[error("it says {found:?} when asked for its version, not \"{PROGRAM} {VERSION}\"")]
    OtherVersion { found: String },
}

impl Unusable {
    fn at(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::NotFound if action == READING => Self::Missing,
            _ => Self::File { action, source },
        }
    }
}

/// The copy; left alone if it is there already, put in place at once if not: pods may be starting. It is asked for its
/// version where it will run from: a directory may forbid programs.
fn copy(source: &Path, directory: &Path) -> Result<PathBuf, Unusable> {
    let program = std::fs::read(source).map_err(Unusable::at(READING))?;
    let path = directory.join(PROGRAM);
    if std::fs::read(&path).is_ok_and(|present| present == program) {
        check(&path)?;
        return Ok(path);
    }
    std::fs::create_dir_all(directory).map_err(Unusable::at("making its directory"))?;
    let partial = path.with_extension("partial");
    std::fs::write(&partial, program).map_err(Unusable::at("copying it"))?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&partial, executable).map_err(Unusable::at("copying it"))?;
    if let Err(unusable) = check(&partial) {
        let _ = std::fs::remove_file(&partial);
        return Err(unusable);
    }
    std::fs::rename(partial, &path).map_err(Unusable::at("copying it"))?;
    Ok(path)
}

fn check(program: &Path) -> Result<(), Unusable> {
    let mut tries = 0;
    let output = loop {
        match Command::new(program).arg("-v").stdin(Stdio::null()).output() {
            // A process that was started meanwhile had the file open for writing for a moment.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES_MAX => {
                tries += 1;
                std::thread::sleep(BUSY_WAIT);
            }
            outcome => break outcome.map_err(Unusable::NotRunning)?,
        }
    };
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && found == format!("{PROGRAM} {VERSION}") {
        return Ok(());
    }
    Err(Unusable::OtherVersion { found })
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

    fn script(path: &Path, text: &str) {
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
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
    fn program_that_does_not_run_or_is_of_another_version_leaves_containerds() {
        let node = tempfile::tempdir().unwrap();
        let (source, directory) = (node.path().join("shim"), node.path().join("bin"));
        for (text, reason) in [
            ("echo containerd-shim-orlop-v2 0.0.0-other", "0.0.0-other"),
            ("exit 1", "says \"\""),
        ] {
            script(&source, text);
            let unusable = copy(&source, &directory).unwrap_err().to_string();
            assert!(unusable.contains(reason), "{unusable}");
        }
        std::fs::write(&source, "\x7fELF of another machine").unwrap();
        let unusable = copy(&source, &directory).unwrap_err().to_string();
        assert!(unusable.starts_with("it does not run: "), "{unusable}");
        assert_eq!(Shim::At(source).install(&directory), None);
        assert_eq!(
            std::fs::read_dir(&directory).unwrap().count(),
            0,
            "nothing is left"
        );
    }

    #[test]
    fn program_is_copied_and_replaced_when_it_is_another() {
        let node = tempfile::tempdir().unwrap();
        let (source, directory) = (node.path().join("shim"), node.path().join("bin"));
        let inode = || {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(directory.join(PROGRAM)).unwrap().ino()
        };
        let says = format!("echo {PROGRAM} {VERSION}");
        script(&source, &says);
        let path = Shim::At(source.clone()).install(&directory).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let first = inode();
        assert_eq!(Shim::At(source.clone()).install(&directory), Some(path.clone()));
        assert_eq!(inode(), first);
        script(&source, &format!("{says} # two"));
        Shim::At(source).install(&directory).unwrap();
        assert_ne!(inode(), first, "shims that run keep the file they have");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("# two\n"));
    }
}
