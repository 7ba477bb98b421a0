//! A control plane without a node: API server in memory, controllers, scheduler, each a process of its own.
use crate::{Kubectl, Part, eventually, free_port};
use orlop_pki::{Authority, Identity, Kubeconfig};
use tempfile::TempDir;

/// A running control plane; its parts end when it is dropped.
pub struct ControlPlane {
    /// As an administrator.
    pub kubectl: Kubectl,
    authority: Authority,
    server: String,
    // Before the directory: they write into it.
    _parts: Vec<Part>,
    root: TempDir,
}

impl ControlPlane {
    /// Starts it and waits until the namespace `default` has its service account, so that pods can be made.
    pub fn start() -> Self {
        Self::start_with("", "")
    }

    /// The same with further flags of the API server and of the controllers; `{pki}` in them is the directory of
    /// `ca.crt` and `ca.key`.
    pub fn start_with(apiserver_flags: &str, controller_flags: &str) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let apiserver = format!(
            "--ephemeral --bind-address=127.0.0.1 --secure-port={port} --root={} {apiserver_flags}",
            root.path().display()
        );
        let pki = root.path().join("etc/kubernetes/pki");
        let controller_flags = controller_flags.replace("{pki}", &pki.display().to_string());
        let authority = Authority::ensure(&pki, "ca", "kubernetes").expect("an authority");
        let mut plane = Self {
            kubectl: Kubectl {
                kubeconfig: root.path().join("admin.conf"),
                cache: root.path().join("kubectl-cache"),
            },
            server: format!("https://127.0.0.1:{port}"),
            authority,
            _parts: vec![Part::start(root.path(), "apiserver", &apiserver)],
            root,
        };
        plane.write_kubeconfig("admin.conf", Identity::new("admin", &["system:masters"]));
        eventually("the API server is ready", || {
            let ready = plane.kubectl.run("get --raw /readyz").status.success();
            ready.then_some(()).ok_or_else(|| plane.log("apiserver"))
        });
        for (part, user, flags) in [
            (
                "controller-manager",
                "system:kube-controller-manager",
                controller_flags.as_str(),
            ),
            ("scheduler", "system:kube-scheduler", ""),
        ] {
            let file = format!("{part}.conf");
            plane.write_kubeconfig(&file, Identity::new(user, &[]));
            let arguments = format!(
                "--kubeconfig={} --leader-elect=false --secure-port=0 {flags}",
                plane.root.path().join(file).display()
            );
            plane
                ._parts
                .push(Part::start(plane.root.path(), part, &arguments));
        }
        plane
            .kubectl
            .ok("wait --for=create --timeout=60s serviceaccount/default");
        plane
    }

    /// kubectl as somebody else.
    pub fn kubectl_as(&self, user: &str, groups: &[&str]) -> Kubectl {
        let file = format!("{user}.conf");
        self.write_kubeconfig(&file, Identity::new(user, groups));
        Kubectl {
            kubeconfig: self.root.path().join(file),
            cache: self.kubectl.cache.clone(),
        }
    }

    /// URL of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The authority that everybody trusts, PEM.
    pub fn authority(&self) -> &str {
        self.authority.certificate()
    }

    /// What a part has logged.
    pub fn log(&self, part: &str) -> String {
        std::fs::read_to_string(self.root.path().join(format!("{part}.log"))).unwrap_or_default()
    }

    fn write_kubeconfig(&self, file: &str, identity: Identity) {
        let kubeconfig = Kubeconfig {
            server: &self.server,
            cluster: "kubernetes",
            identity,
        };
        kubeconfig
            .ensure(&self.root.path().join(file), &self.authority)
            .expect("a kubeconfig");
    }
}
