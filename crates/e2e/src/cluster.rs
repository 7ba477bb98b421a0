//! A cluster of machines, each with its own network and files, made member by member with orlop's own commands.
use crate::binaries::{cluster_images, lab_program};
use crate::{Kubectl, free_port, orlop};
use orlop_lab::steps::{JoinLines, init_line, kubeconfig_here, put_images};
use orlop_lab::{Lab, LabOptions};
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// The static pods of a master.
pub const CONTROL_PLANE: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// Machines and what was made of them; all gone when dropped.
pub struct Cluster {
    /// On this machine, as the administrator, through the port that leads to any master.
    pub kubectl: Kubectl,
    pub lab: Lab,
    api_port: u16,
    directory: TempDir,
}

impl Cluster {
    /// Switches machines on; they have images and nothing else.
    pub fn machines(names: &[&str]) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("lab-")
            .tempdir_in("/tmp")
            .expect("a directory");
        let api_port = free_port();
        for name in names {
            put_images(cluster_images(), &directory.path().join(name)).expect("images");
        }
        let lab = Lab::start(LabOptions {
            directory: directory.path().to_path_buf(),
            program: lab_program(),
            orlop: orlop(),
            machines: names.iter().map(ToString::to_string).collect(),
            api_port: Some(api_port),
        })
        .expect("the lab starts");
        Self {
            kubectl: Kubectl {
                kubeconfig: directory.path().join("admin.conf"),
                cache: directory.path().join("kubectl-cache"),
            },
            lab,
            api_port,
            directory,
        }
    }

    /// Runs orlop on a machine; whatever comes of it.
    pub fn orlop(&self, machine: &str, line: &str) -> Output {
        self.lab
            .run(machine, &format!("orlop {line}"))
            .expect("the machine runs")
    }

    /// Runs orlop on a machine, which must succeed; its standard output.
    pub fn ok(&self, machine: &str, line: &str) -> String {
        let output = self.orlop(machine, line);
        assert!(
            output.status.success(),
            "orlop {line} on {machine}: {}\n{}{}\n--- the node's log\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.log(machine),
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `orlop init` on a machine; what it printed.
    pub fn init(&self, machine: &str, more: &str) -> String {
        let address = self.lab.machine(machine).expect("a machine").address;
        let printed = self.ok(machine, &format!("{} {more}", init_line(address)));
        let admin = self
            .lab
            .path(machine, "/etc/kubernetes/admin.conf")
            .expect("a path");
        let admin = std::fs::read_to_string(&admin).expect("admin.conf");
        std::fs::write(&self.kubectl.kubeconfig, kubeconfig_here(&admin, self.api_port))
            .expect("a kubeconfig");
        printed
    }

    /// Three masters and three workers, or others: the first is made with `init`, the rest join.
    pub fn of(names: &[&str]) -> Self {
        let cluster = Self::machines(names);
        let (first, others) = names.split_first().expect("a master");
        let lines = JoinLines::of(&cluster.init(first, "")).expect("init says how to join");
        for name in others {
            cluster.ok(
                name,
                &lines.on(name, cluster.lab.machine(name).expect("a machine").address),
            );
        }
        for name in names {
            cluster
                .kubectl
                .ok(&format!("wait --for=condition=Ready --timeout=90s node/{name}"));
        }
        cluster
    }

    /// Gives a machine images of a version whose API server never starts.
    pub fn break_version(&self, machine: &str, version: &str) {
        let ctr = "ctr --address /run/orlop/containerd.sock --namespace k8s.io images tag --force";
        let present = "registry.k8s.io/kube-scheduler:v1.36.0";
        for (component, image) in [
            ("kube-apiserver", "orlop.local/busybox:debian"),
            ("kube-controller-manager", present),
            ("kube-scheduler", present),
        ] {
            let line = format!("{ctr} {image} registry.k8s.io/{component}:{version}");
            let output = self.lab.run(machine, &line).expect("the machine runs");
            assert!(
                output.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    /// Switches a machine on and starts its node.
    pub fn boot(&mut self, machine: &str) {
        self.lab.boot(machine).expect("the machine starts");
        self.ok(machine, "up --detach");
    }

    /// Waits until the static pods of a master are ready.
    pub fn wait_control_plane(&self, machine: &str) {
        for part in CONTROL_PLANE {
            let pod = format!("pod/{part}-{machine}");
            self.kubectl
                .patiently(&format!("wait -n kube-system --for=create --timeout=90s {pod}"));
            self.kubectl.patiently(&format!(
                "wait -n kube-system --for=condition=Ready --timeout=120s {pod}"
            ));
        }
    }

    /// The last lines of a machine's node agent.
    pub fn log(&self, machine: &str) -> String {
        let output = self.lab.run(machine, "tail -n 60 /run/orlop/orlop.log");
        output.map_or(String::new(), |output| {
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// The port of this machine that leads to any master.
    pub fn api_port(&self) -> u16 {
        self.api_port
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for machine in self.lab.machines() {
                eprintln!(
                    "--- the node agent of {}\n{}",
                    machine.name,
                    self.log(&machine.name)
                );
            }
        }
        self.lab.stop();
    }
}
