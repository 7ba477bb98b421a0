//! What would stand in the way of a member on this machine: facts, and what they mean (pure).
use crate::layout::{COMPONENTS, Layout};
use crate::manifests::CA_DIRECTORIES;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

/// What the node is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    ControlPlane { api_port: u16 },
    Worker,
}

impl Role {
    /// Ports that the node's parts listen on, and which part.
    pub fn ports(self) -> Vec<(u16, &'static str)> {
        let mut ports = vec![(10250, "kubelet"), (10248, "kubelet's health")];
        if let Role::ControlPlane { api_port } = self {
            ports.extend([
                (api_port, "kube-apiserver"),
                (10257, "kube-controller-manager"),
                (10259, "kube-scheduler"),
                (2379, "etcd's clients"),
                (2380, "etcd's peers"),
                (2381, "etcd's health"),
            ]);
        }
        ports
    }
}

/// What is so on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub is_root: bool,
    pub ports_taken: Vec<(u16, &'static str)>,
    /// Files and directories that a member has, and which are there.
    pub present: Vec<String>,
    /// The advertised address is one of this machine's.
    pub has_address: bool,
    /// Programs that the runtime needs and nobody finds.
    pub programs_missing: Vec<&'static str>,
}

impl Facts {
    /// Looks at the machine; changes nothing.
    pub fn gather(layout: &Layout, role: Role, address: IpAddr, programs: &[&'static str]) -> Self {
        let taken = |port: u16| {
            let any = SocketAddr::from(([0, 0, 0, 0], port));
            matches!(TcpListener::bind(any), Err(error) if error.kind() == std::io::ErrorKind::AddrInUse)
        };
        let mut paths = vec![
            layout.kubeconfig("kubelet"),
            layout.kubeconfig("bootstrap-kubelet"),
        ];
        if let Role::ControlPlane { .. } = role {
            paths.extend(COMPONENTS.map(|component| layout.manifest(component)));
        }
        let mut present: Vec<String> = paths
            .iter()
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect();
        let has_entries =
            |path: &Path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if role != Role::Worker && has_entries(&layout.etcd_data()) {
            present.push(layout.etcd_data().display().to_string());
        }
        Self {
            is_root: is_root(),
            ports_taken: role
                .ports()
                .into_iter()
                .filter(|(port, _)| taken(*port))
                .collect(),
            present,
            has_address: TcpListener::bind((address, 0)).is_ok(),
            programs_missing: programs
                .iter()
                .copied()
                .filter(|program| !is_installed(program))
                .collect(),
        }
    }
}

/// The owner of what this process makes.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn is_installed(program: &str) -> bool {
    const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(SYSTEM_PATH.split(':'))
        .any(|directory| Path::new(directory).join(program).is_file())
}

/// Which directories with authorities the machine has.
pub fn ca_directories() -> Vec<&'static str> {
    CA_DIRECTORIES
        .iter()
        .map(|(_, path)| *path)
        .filter(|path| Path::new(path).is_dir())
        .collect()
}

/// What is in the way, each with what to do about it.
pub fn complaints(facts: &Facts, name: &str, address: IpAddr) -> Vec<String> {
    let mut complaints = Vec::new();
    if !facts.is_root {
        complaints.push("only root can do this: use sudo".to_owned());
    }
    if let Some(reason) = name_complaint(name) {
        complaints.push(reason);
    }
    if !facts.has_address {
        complaints.push(format!(
            "{address} is no address of this machine: give one with --apiserver-advertise-address"
        ));
    }
    for (port, part) in &facts.ports_taken {
        complaints.push(format!(
            "port {port} is in use, which {part} needs: stop what has it"
        ));
    }
    if !facts.present.is_empty() {
        complaints.push(format!(
            "there is something of another cluster here ({}): `orlop reset` removes it",
            facts.present.join(", ")
        ));
    }
    for program in &facts.programs_missing {
        complaints.push(format!("{program} is not installed: apt-get install {program}"));
    }
    complaints
}

/// Node names are DNS names in lower case.
fn name_complaint(name: &str) -> Option<String> {
    const LENGTH_MAX: usize = 253;
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let good = name.len() <= LENGTH_MAX && name.split('.').all(label);
    (!good).then(|| format!("{name:?} is no name for a node: give one in lower case with --node-name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Facts {
        Facts {
            is_root: true,
            has_address: true,
            ..Facts::default()
        }
    }

    #[test]
    fn each_obstacle_is_one_sentence_with_the_next_step() {
        let address = IpAddr::from([10, 0, 0, 1]);
        assert!(complaints(&ready(), "master-01", address).is_empty());
        type Change = fn(&mut Facts);
        let cases: [(Change, &str); 5] = [
            (|facts| facts.is_root = false, "sudo"),
            (|facts| facts.has_address = false, "--apiserver-advertise-address"),
            (
                |facts| facts.ports_taken = vec![(10250, "kubelet")],
                "port 10250 is in use, which kubelet needs",
            ),
            (
                |facts| facts.present = vec!["/var/lib/etcd".to_owned()],
                "orlop reset",
            ),
            (
                |facts| facts.programs_missing = vec!["containerd"],
                "apt-get install containerd",
            ),
        ];
        for (change, want) in cases {
            let mut facts = ready();
            change(&mut facts);
            let all = complaints(&facts, "master-01", address);
            assert_eq!(all.len(), 1, "{all:?}");
            assert!(all[0].contains(want), "{}", all[0]);
        }
    }

    #[test]
    fn names_that_no_node_can_have() {
        for (name, good) in [
            ("master-01", true),
            ("a.b.c", true),
            ("", false),
            ("Master", false),
            ("-a", false),
            ("a..b", false),
            ("a_b", false),
        ] {
            assert_eq!(name_complaint(name).is_none(), good, "{name:?}");
        }
    }

    #[test]
    fn a_taken_port_is_found_by_whose_it_would_be() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let role = Role::ControlPlane { api_port: port };
        let facts = Facts::gather(&layout, role, IpAddr::from([127, 0, 0, 1]), &[]);
        assert!(facts.ports_taken.contains(&(port, "kube-apiserver")), "{facts:?}");
        assert!(facts.present.is_empty() && facts.has_address);
    }
}
