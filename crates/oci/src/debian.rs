//! What installed Debian packages put on this machine.

use crate::OciError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Parts of a package nobody needs inside a container.
const LEFT_OUT: [&str; 12] = [
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/bash-completion",
    "/usr/share/initramfs-tools",
    "/usr/share/bug",
    "/lib/systemd",
    "/usr/lib/systemd",
    "/etc/init.d",
    "/etc/default",
];

/// Files and links of an installed package that matter at run time.
pub fn runtime_files(package: &str) -> Result<Vec<PathBuf>, OciError> {
    let listing = run(Command::new("dpkg").args(["-L", package]), || {
        OciError::PackageMissing(package.to_owned())
    })?;
    Ok(listing
        .lines()
        .filter(|line| line.starts_with('/'))
        .filter(|line| !is_left_out(line))
        .map(PathBuf::from)
        .filter(|path| path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()))
        .collect())
}

/// The package's version without Debian's revision: `3.4.23-4+b4` → `3.4.23`.
pub fn upstream_version(package: &str) -> Result<String, OciError> {
    let version = run(
        Command::new("dpkg-query").args(["-W", "-f", "${Status}\t${Version}", package]),
        || OciError::PackageMissing(package.to_owned()),
    )?;
    let (status, version) = version
        .split_once('\t')
        .ok_or_else(|| OciError::PackageMissing(package.to_owned()))?;
    if !status.ends_with(" installed") {
        return Err(OciError::PackageMissing(package.to_owned()));
    }
    Ok(strip_version(version).to_owned())
}

/// Names of the applets a busybox has.
pub fn busybox_applets(busybox: &Path) -> Result<Vec<String>, OciError> {
    let command = format!("{} --list", busybox.display());
    let listing = run(Command::new(busybox).arg("--list"), || OciError::Command {
        command,
        reason: "it failed".to_owned(),
    })?;
    Ok(listing
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "busybox" && !name.contains('/'))
        .map(str::to_owned)
        .collect())
}

fn is_left_out(path: &str) -> bool {
    LEFT_OUT.iter().any(|prefix| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn strip_version(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(rest, _)| rest);
    // "+ds1" and "~rc1" are no part of an image tag that people would look for.
    version.split(['+', '~']).next().unwrap_or(version)
}

fn run(command: &mut Command, failed: impl FnOnce() -> OciError) -> Result<String, OciError> {
    let line = format!("{command:?}");
    let output = command
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| OciError::Command {
            command: line,
            reason: error.to_string(),
        })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_lose_epoch_and_revision() {
        let cases = [
            ("3.4.23-4+b4", "3.4.23"),
            ("1:1.35.0-4+deb12u1+b1", "1.35.0"),
            ("1.6.20~ds1-1+deb12u3", "1.6.20"),
        ];
        for (version, want) in cases {
            assert_eq!(strip_version(version), want);
        }
    }

    #[test]
    fn documentation_and_units_are_left_out() {
        assert!(is_left_out("/usr/share/doc/etcd-server/changelog.gz"));
        assert!(is_left_out("/lib/systemd/system/etcd.service"));
        assert!(!is_left_out("/usr/share/documents"));
        assert!(!is_left_out("/usr/bin/etcd"));
    }

    #[test]
    fn missing_package_is_named_with_the_next_step() {
        if !Path::new("/usr/bin/dpkg").exists() {
            return;
        }
        let error = runtime_files("no-such-package-here").unwrap_err();
        assert!(error.to_string().contains("apt-get install no-such-package-here"));
    }
}
