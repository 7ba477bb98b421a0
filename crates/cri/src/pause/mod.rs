//! The sandbox image: our own program, shipped inside the binary, so that a node needs no registry to start a pod.

use orlop_oci::{ImageBuilder, OciError};

/// The program's bytes: static, a few KiB.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// Name of the sandbox image, as the runtime's configuration has it.
pub const IMAGE: &str = concat!("orlop.local/pause:", env!("CARGO_PKG_VERSION"));

/// The image as an archive, ready for [`crate::images::Importer`].
pub fn archive() -> Result<Vec<u8>, OciError> {
    archive_as(IMAGE)
}

/// The same under another name: the one a runtime that isn't ours is configured to use.
pub fn archive_as(name: &str) -> Result<Vec<u8>, OciError> {
    ImageBuilder::new(name)?
        .file("/pause", PROGRAM, 0o755)?
        .entrypoint(["/pause"])
        .to_archive()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::io::{ErrorKind, Read};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    /// A running program, killed when the test ends in whatever way.
    struct Running {
        child: Child,
        _dir: tempfile::TempDir,
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    impl Running {
        fn start() -> Self {
            let running = Self::given(&[]);
            running.wait_until_asleep();
            running
        }

        /// With these words after its name.
        fn given(words: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("pause");
            std::fs::write(&path, PROGRAM).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            let mut command = Command::new(&path);
            command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
            let child = loop {
                match command.spawn() {
                    // A child of another test has the file open until it becomes its own program.
                    Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                    spawned => break spawned.unwrap(),
                }
            };
            Self { child, _dir: dir }
        }

        /// It sleeps nowhere but where it waits for signals.
        fn wait_until_asleep(&self) {
            let path = format!("/proc/{}/stat", self.child.id());
            for _ in 0..100_000 {
                let stat = std::fs::read_to_string(&path).unwrap_or_default();
                if stat.contains("(pause) S") {
                    return;
                }
                std::thread::yield_now();
            }
            panic!("the sandbox program does not come up");
        }

        fn signal(&self, signal: Signal) {
            let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
            kill(pid, signal).unwrap();
        }
    }

    #[test]
    fn it_runs_until_told_to_stop_and_then_exits_0() {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut running = Running::start();
            assert!(running.child.try_wait().unwrap().is_none());
            running.signal(signal);
            let status = running.child.wait().unwrap();
            assert_eq!((status.code(), status.signal()), (Some(0), None));
        }
    }

    /// kubeadm's upgrade waits for a Job of `pause -v`, and goes no further without its end.
    #[test]
    fn asked_for_its_version_it_says_it_and_ends() {
        for word in ["-v", "-V"] {
            let mut running = Running::given(&["x", "", "-", "-vv", word]);
            let status = (0..100_000).find_map(|_| {
                std::thread::yield_now();
                running.child.try_wait().unwrap()
            });
            assert!(status.is_some_and(|status| status.success()), "{status:?}");
            let mut said = String::new();
            let mut stdout = running.child.stdout.take().unwrap();
            stdout.read_to_string(&mut said).unwrap();
            assert_eq!(said, format!("pause of orlop {}\n", env!("CARGO_PKG_VERSION")));
        }
        let mut running = Running::given(&["version", "--v", "-vv"]);
        running.wait_until_asleep();
        running.signal(Signal::SIGTERM);
        assert!(running.child.wait().unwrap().success());
    }

    #[test]
    fn other_childrens_end_does_not_stop_it() {
        let mut running = Running::start();
        running.signal(Signal::SIGCHLD);
        running.wait_until_asleep();
        assert!(running.child.try_wait().unwrap().is_none());
        running.signal(Signal::SIGTERM);
        assert!(running.child.wait().unwrap().success());
    }

    #[test]
    fn it_is_static_and_small() {
        assert_eq!(&PROGRAM[..4], b"\x7fELF");
        assert!(PROGRAM.len() < 16 * 1024, "{} bytes", PROGRAM.len());
        let text = String::from_utf8_lossy(PROGRAM);
        assert!(!text.contains("ld-linux"), "it asks for a dynamic loader");
    }
}
