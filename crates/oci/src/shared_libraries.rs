//! Which shared libraries a program of this machine needs.

use crate::OciError;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The libraries and the dynamic loader `program` needs, all of them resolved; empty for static programs and scripts.
pub fn needed_by(program: &Path) -> Result<Vec<PathBuf>, OciError> {
    if !is_elf(program)? {
        return Ok(Vec::new());
    }
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| OciError::Command {
            command: format!("ldd {}", program.display()),
            reason: error.to_string(),
        })?;
    // ldd fails for static programs; that is an answer, not an error.
    parse_ldd(&String::from_utf8_lossy(&output.stdout)).map_err(|library| OciError::LibraryMissing {
        program: program.to_owned(),
        library,
    })
}

/// `Err` holds the name of a library that wasn't found.
fn parse_ldd(listing: &str) -> Result<Vec<PathBuf>, String> {
    let mut libraries = Vec::new();
    for line in listing.lines().map(str::trim) {
        if let Some((name, target)) = line.split_once(" => ") {
            if target.starts_with("not found") {
                return Err(name.to_owned());
            }
            libraries.extend(path_of(target));
        } else {
            libraries.extend(path_of(line));
        }
    }
    Ok(libraries)
}

fn path_of(text: &str) -> Option<PathBuf> {
    let path = text.split(" (").next()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn is_elf(path: &Path) -> Result<bool, OciError> {
    let mut file = File::open(path).map_err(OciError::file("reading", path))?;
    let mut magic = [0; 4];
    Ok(file.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_lines_become_paths() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffe)\n\
             \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f28)\n\
             \t/lib64/ld-linux-x86-64.so.2 (0x00007f28)\n";
        let want = [
            PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"),
            PathBuf::from("/lib64/ld-linux-x86-64.so.2"),
        ];
        assert_eq!(parse_ldd(listing).unwrap(), want);
        assert!(parse_ldd("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn missing_library_is_named() {
        assert_eq!(
            parse_ldd("\tlibfoo.so.1 => not found\n").unwrap_err(),
            "libfoo.so.1"
        );
    }
}
