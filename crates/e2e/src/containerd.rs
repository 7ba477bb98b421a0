//! A containerd that somebody else started, for `--container-runtime-endpoint`.
use crate::{cleanup, eventually};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A containerd with its own root, state and socket; stopped when dropped.
pub struct SeparateContainerd {
    directory: TempDir,
    process: Child,
}

impl SeparateContainerd {
    /// Starts it. `sandbox_image` is the image its sandboxes run; it must be imported before pods start.
    pub fn start(sandbox_image: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("ctd-")
            .tempdir_in("/tmp")
            .expect("a directory");
        let at = |path: &str| directory.path().join(path).display().to_string();
        let lacks_resource = !has_cap_sys_resource();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {sandbox_image:?}\n\
             restrict_oom_score_adj = {lacks_resource}\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = {:?}\n",
            at("root"),
            at("state"),
            at("containerd.sock"),
            at("cni"),
        );
        std::fs::create_dir(directory.path().join("cni")).expect("the CNI directory");
        std::fs::write(
            directory.path().join("cni/10-loopback.conflist"),
            r#"{"cniVersion":"0.4.0","name":"lo","plugins":[{"type":"loopback"}]}"#,
        )
        .expect("the CNI configuration");
        std::fs::write(directory.path().join("config.toml"), config).expect("the configuration");
        let log = std::fs::File::create(directory.path().join("log")).expect("the log");
        let process = Command::new("containerd")
            .arg("--config")
            .arg(directory.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd runs");
        let containerd = Self { directory, process };
        eventually("containerd's socket", || {
            let socket = containerd.directory.path().join("containerd.sock");
            socket.exists().then_some(()).ok_or_else(|| containerd.log())
        });
        containerd
    }

    pub fn endpoint(&self) -> String {
        format!(
            "unix://{}",
            self.directory.path().join("containerd.sock").display()
        )
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for SeparateContainerd {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.wait();
        cleanup::unmount_below(self.directory.path());
    }
}

fn has_cap_sys_resource() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0);
    bits & (1 << CAP_SYS_RESOURCE) != 0
}
