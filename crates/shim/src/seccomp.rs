//! The system call filter of a sandbox's process, made smaller. The runtime's own profile is one for every architecture that
//! the machine could run programs of, and putting it together takes runc 15 ms of processor, as much as all else it does for
//! a sandbox. The process of a sandbox is one program that is known beforehand: where it is this machine's own
//! architecture, the parts for others are left out. What they let through is refused then.

use crate::runc::write_private;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use serde_json::Value;
use std::fs::File;
use std::io::{ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

#[cfg(target_arch = "x86_64")]
const NATIVE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const NATIVE: &str = "SCMP_ARCH_AARCH64";

/// The beginning of a program of 64 bits, little-endian, and its machine's number at byte 18.
const ELF: &[u8] = b"\x7fELF\x02\x01";
const ELF_HEAD_BYTES: usize = 20;
#[cfg(target_arch = "x86_64")]
const ELF_MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const ELF_MACHINE: u16 = 183;

/// Leaves out of a bundle's filter what is for other architectures, if its program is of this one. The program lies in
/// `rootfs`, which is mounted.
pub fn narrow(bundle: &Path, rootfs: &Path) -> Result<()> {
    let path = bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    if !narrowed(&mut spec, |program| is_native(rootfs, program)) {
        return Ok(());
    }
    // It holds what containers are told in their environment.
    let permissions = std::fs::metadata(&path)?.permissions();
    let aside = put_aside(bundle, &serde_json::to_vec(&spec)?)?;
    std::fs::set_permissions(&aside, permissions)?;
    std::fs::rename(aside, path)
}

fn put_aside(bundle: &Path, content: &[u8]) -> Result<PathBuf> {
    let aside = bundle.join("config.json.narrowed");
    write_private(&aside, content)?;
    Ok(aside)
}

/// Whether something was left out.
fn narrowed(spec: &mut Value, is_native: impl FnOnce(&str) -> bool) -> bool {
    let program = spec.pointer("/process/args/0").and_then(Value::as_str);
    let Some(program) = program.map(str::to_owned) else {
        return false;
    };
    let architectures = spec.pointer_mut("/linux/seccomp/architectures");
    let Some(architectures) = architectures.and_then(Value::as_array_mut) else {
        return false;
    };
    let others = architectures.iter().any(|architecture| architecture != NATIVE);
    if !others || !architectures.iter().any(|own| own == NATIVE) || !is_native(&program) {
        return false;
    }
    architectures.retain(|architecture| architecture == NATIVE);
    true
}

/// Whether a program of a file system is one of this machine's architecture. What is looked up in a search path, or is no
/// such program, isn't known to be.
fn is_native(rootfs: &Path, program: &str) -> bool {
    let Some(program) = program.strip_prefix('/') else {
        return false;
    };
    let head = || -> Result<[u8; ELF_HEAD_BYTES]> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, rootfs, directory, Mode::empty())?;
        // Nothing is opened that only waits to be written to.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat2(&root, program, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        let mut file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut head = [0; ELF_HEAD_BYTES];
        file.read_exact(&mut head)?;
        Ok(head)
    };
    head().is_ok_and(|head| head.starts_with(ELF) && head[18..20] == ELF_MACHINE.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn spec(architectures: Value) -> Value {
        json!({"process": {"args": ["/pause"]}, "annotations": {"kept": "1"},
            "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures}}})
    }

    #[test]
    fn only_what_is_for_other_architectures_goes_and_only_if_the_program_is_of_this_one() {
        let all = || spec(json!([NATIVE, "SCMP_ARCH_OTHER"]));
        let mut narrow = all();
        assert!(narrowed(&mut narrow, |program| program == "/pause"));
        assert_eq!(narrow, spec(json!([NATIVE])));
        for (mut as_it_was, is_native) in [
            (all(), false),
            (spec(json!([NATIVE])), true),
            (spec(json!(["SCMP_ARCH_OTHER"])), true),
            (spec(json!([])), true),
            (spec(json!(null)), true),
            (json!({"process": {"args": ["/pause"]}, "linux": {}}), true),
            (json!({"linux": {"seccomp": null}}), true),
        ] {
            let before = as_it_was.clone();
            assert!(!narrowed(&mut as_it_was, |_| is_native), "{before}");
            assert_eq!(as_it_was, before);
        }
    }

    #[test]
    fn programs_are_told_by_what_they_begin_with_and_looked_for_inside_only() {
        let dir = tempfile::tempdir().unwrap();
        let (root, at) = (dir.path().join("root"), |name: &str| {
            dir.path().join("root").join(name)
        });
        std::fs::create_dir(&root).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), at("own")).unwrap();
        std::fs::copy(at("own"), dir.path().join("outside")).unwrap();
        let mut other = std::fs::read(at("own")).unwrap();
        other[18] ^= 0xff;
        std::fs::write(at("other"), other).unwrap();
        std::fs::write(at("script"), "#!/bin/sh\nexec sleep 1000000\n").unwrap();
        symlink("/own", at("link")).unwrap();
        symlink(dir.path().join("outside"), at("away")).unwrap();
        for (program, is) in [
            ("/own", true),
            ("/link", true),
            ("own", false),
            ("/other", false),
            ("/script", false),
            ("/missing", false),
            ("/", false),
            ("/away", false),
            ("/../outside", false),
        ] {
            assert_eq!(is_native(&root, program), is, "{program}");
        }
    }

    #[test]
    fn a_bundles_file_keeps_all_else_and_who_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let mut given = spec(json!([NATIVE, "SCMP_ARCH_OTHER"]));
        given["process"]["rlimits"] = json!([{"hard": u64::MAX, "soft": 1024}]);
        std::fs::write(&path, given.to_string()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), dir.path().join("pause")).unwrap();
        narrow(dir.path(), dir.path()).unwrap();
        let found: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        given["linux"]["seccomp"]["architectures"] = json!([NATIVE]);
        assert_eq!(found, given);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn what_is_put_aside_is_roots_alone() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let aside = put_aside(dir.path(), b"{}").unwrap();
            let mode = std::fs::metadata(&aside).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            // As an interrupted shim of before may have left it.
            std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}
