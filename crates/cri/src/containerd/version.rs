//! Which containerd is installed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// How long the program may take to say. It only prints a line; a disk that is busy with a start of the machine is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of a release. The smallest stands for one that doesn't say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Version {
    /// From here on a configuration names CRI's halves apart, and a shim by its path beside its type.
    pub(super) const WITH_HALVES: Self = Self { major: 2, minor: 0 };
    /// From here on CNI plugins may lie in several directories.
    pub(super) const WITH_BIN_DIRS: Self = Self { major: 2, minor: 1 };

    /// Asks the program; why it can't be known if there is no answer.
    pub(super) async fn of(program: &Path) -> Result<Self, String> {
        let mut command = Command::new(program);
        let asked = command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, asked.output()).await;
        let output = output
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(output.status.to_string());
        }
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)).unwrap_or_default())
    }

    /// `containerd github.com/containerd/containerd v1.7.0 <commit>`
    fn parse(line: &str) -> Option<Self> {
        let word = line.split_whitespace().nth(2)?;
        let mut numbers = word.trim_start_matches('v').split('.');
        let mut number = || numbers.next()?.parse().ok();
        Some(Self {
            major: number()?,
            minor: number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn program_that_cannot_be_asked_has_no_version() {
        let said = Version::of(Path::new("/bin/echo")).await;
        assert_eq!(said, Ok(Version::default()), "it says something else");
        assert!(Version::of(Path::new("/bin/false")).await.is_err());
        assert!(Version::of(Path::new("/nowhere/containerd")).await.is_err());
    }

    #[test]
    fn version_is_read_of_what_the_program_prints() {
        let version = |major, minor| Some(Version { major, minor });
        for (line, expected) in [
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1\n",
                version(1, 6),
            ),
            (
                "containerd github.com/containerd/containerd/v2 v2.0.5 fb4c30d4ede3531652d86197bf3fc9515e5276d9",
                version(2, 0),
            ),
            (
                "containerd github.com/containerd/containerd/v2 2.1.9+unknown \n",
                version(2, 1),
            ),
            ("containerd github.com/containerd/containerd/v2 main 12ab", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(line), expected, "{line}");
        }
        assert!(Version::default() < Version::WITH_HALVES);
    }
}
