//! What would stand in the way of a member on this machine: facts, and what they mean (pure).
use crate::ClusterError;
use crate::certificates::Signer;
use crate::config::ClusterConfig;
use crate::layout::{COMPONENTS, Layout};
use crate::manifests::{CA_DIRECTORIES, EtcdHealth};
use std::net::{IpAddr, TcpListener};
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
            ]);
        }
        ports
    }
}

/// The port at which a master's etcd tells of its health, which the cluster's configuration may change.
pub fn etcd_health(cluster: &ClusterConfig) -> (u16, &'static str) {
    (EtcdHealth::of(cluster.extras("etcd")).port, "etcd's health")
}

/// Those of ports that somebody listens on.
pub fn taken(ports: Vec<(u16, &'static str)>) -> Vec<(u16, &'static str)> {
    ports
        .into_iter()
        .filter(|(port, _)| orlop_sockets::is_taken(*port))
        .collect()
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
        let mut paths = vec![
            layout.kubeconfig("kubelet"),
            layout.kubeconfig("bootstrap-kubelet"),
        ];
        match role {
            Role::ControlPlane { .. } => {
                paths.extend(COMPONENTS.map(|component| layout.manifest(component)));
            }
            // A master's may have been copied there; a worker gets that of its cluster.
            Role::Worker => paths.push(Signer::Cluster.certificate(layout)),
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
            ports_taken: taken(role.ports()),
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

/// Something in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What kubeadm calls the checks that find it, by which it can be ignored.
    pub checks: Vec<String>,
    /// What is so, and what to do about it.
    pub text: String,
}

impl Complaint {
    pub fn of(check: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            checks: vec![check.into()],
            text: text.into(),
        }
    }

    /// `names`: what is to be ignored, whatever the case of its letters; `all` is everything.
    fn is_ignored(&self, names: &[String]) -> bool {
        let has = |check: &str| names.iter().any(|name| name.eq_ignore_ascii_case(check));
        has("all") || self.checks.iter().all(|check| has(check))
    }
}

/// Fails for what is in the way and is not ignored; the rest, for people to see.
pub fn judge(complaints: Vec<Complaint>, ignored: &[String]) -> Result<Vec<Complaint>, ClusterError> {
    let (ignored, kept): (Vec<Complaint>, Vec<Complaint>) = complaints
        .into_iter()
        .partition(|complaint| complaint.is_ignored(ignored));
    if kept.is_empty() {
        return Ok(ignored);
    }
    let with_names = |complaint: Complaint| format!("{} [{}]", complaint.text, complaint.checks.join(","));
    Err(ClusterError::NotReady(kept.into_iter().map(with_names).collect()))
}

/// What is in the way, each with what to do about it.
pub fn complaints(facts: &Facts, name: &str, address: IpAddr) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !facts.is_root {
        complaints.push(Complaint::of(
            "IsPrivilegedUser",
            "only root can do this: use sudo",
        ));
    }
    if let Some(reason) = name_complaint(name) {
        complaints.push(Complaint::of("Hostname", reason));
    }
    if !facts.has_address {
        complaints.push(Complaint::of(
            "AdvertiseAddress",
            format!("{address} is no address of this machine: give one with --apiserver-advertise-address"),
        ));
    }
    complaints.extend(facts.ports_taken.iter().map(port_complaint));
    if !facts.present.is_empty() {
        complaints.push(Complaint {
            checks: facts.present.iter().map(|path| available(path)).collect(),
            text: format!(
                "there is something of another cluster here ({}): `orlop reset` removes it",
                facts.present.join(", ")
            ),
        });
    }
    for program in &facts.programs_missing {
        complaints.push(Complaint::of(
            format!("FileExisting-{program}"),
            format!("{program} is not installed: apt-get install {program}"),
        ));
    }
    complaints
}

/// kubeadm's name of the check that something is not there.
fn available(path: &str) -> String {
    let kind = match Path::new(path).extension() {
        Some(_) => "File",
        None => "Dir",
    };
    format!("{kind}Available-{}", path.replace('/', "-"))
}

/// What there is to say of a port that somebody else has.
pub fn port_complaint((port, part): &(u16, &'static str)) -> Complaint {
    Complaint::of(
        format!("Port-{port}"),
        format!("port {port} is in use, which {part} needs: stop what has it"),
    )
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
            assert!(all[0].text.contains(want), "{:?}", all[0]);
        }
    }

    /// Under kubeadm's names.
    #[test]
    fn what_is_in_the_way_can_be_ignored_by_name() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let facts = Facts {
            ports_taken: vec![(10250, "kubelet")],
            present: vec![
                "/etc/kubernetes/kubelet.conf".to_owned(),
                "/var/lib/etcd".to_owned(),
            ],
            programs_missing: vec!["iptables"],
            ..ready()
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let judged = |ignored: &[&str]| judge(complaints(&facts, "a", address), &names(ignored));
        let all = [
            "port-10250",
            "FileAvailable--etc-kubernetes-kubelet.conf",
            "DirAvailable--var-lib-etcd",
            "FileExisting-iptables",
        ];
        assert_eq!(judged(&all).unwrap().len(), 3);
        assert_eq!(judged(&["all"]).unwrap().len(), 3);
        for left in 0..all.len() {
            let mut ignored = all.to_vec();
            let name = ignored.remove(left);
            let error = judged(&ignored).unwrap_err().to_string();
            assert!(error.to_lowercase().contains(&name.to_lowercase()), "{error}");
        }
        assert!(
            judged(&["Swap"])
                .unwrap_err()
                .to_string()
                .contains("[Port-10250]")
        );
    }

    #[test]
    fn a_worker_overwrites_no_authority_of_another_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let address = IpAddr::from([127, 0, 0, 1]);
        let present = |role| Facts::gather(&layout, role, address, &[]).present;
        assert!(present(Role::Worker).is_empty());
        let certificate = Signer::Cluster.certificate(&layout);
        std::fs::create_dir_all(layout.pki()).unwrap();
        std::fs::write(&certificate, "").unwrap();
        assert_eq!(present(Role::Worker), [certificate.display().to_string()]);
        assert!(present(Role::ControlPlane { api_port: 6443 }).is_empty());
        assert_eq!(
            available("/etc/kubernetes/pki/ca.crt"),
            "FileAvailable--etc-kubernetes-pki-ca.crt"
        );
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
    fn the_port_of_etcds_health_is_the_one_that_the_cluster_says() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = format!(
            "kubernetesVersion: v1.36.0\netcd: {{local: {{extraArgs: {{listen-metrics-urls: \"http://127.0.0.1:{port}\"}}}}}}\n"
        );
        let health = etcd_health(&ClusterConfig::from_yaml(&text).unwrap());
        assert_eq!(health, (port, "etcd's health"));
        assert_eq!(taken(vec![health]), [health]);
        assert_eq!(etcd_health(&ClusterConfig::new("v1.36.0")).0, 2381);
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
