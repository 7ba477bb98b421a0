//! The parts alone, through links with upstream's names, over HTTPS, make the same cluster as
//! `orlop up` does in one process.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{Node, NodeOptions, free_port, orlop};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A part that ends with the test.
struct Part(Child);

impl Part {
    fn start(root: &Path, program: &str, arguments: &[String]) -> Self {
        let link = root.join(program);
        std::os::unix::fs::symlink(orlop(), &link).unwrap();
        let log = std::fs::File::create(root.join(format!("{program}.log"))).unwrap();
        let child = Command::new(link)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn parts_alone_run_a_daemon_set() {
    // A node lays out certificates, kubeconfigs and a runtime; then its single process goes.
    let mut node = Node::start(NodeOptions::default());
    assert!(node.orlop("down --keep-pods").status.success());
    node.ended();

    let root = node.root().to_path_buf();
    let at = |path: &str| root.join(path).display().to_string();
    let endpoint = std::fs::read_to_string(root.join("run/orlop/runtime-endpoint")).unwrap();
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let pki = at("etc/kubernetes/pki");
    let _apiserver = Part::start(
        &root,
        "kube-apiserver",
        &words(format!(
            "--root={} --bind-address=127.0.0.1 --secure-port={} --client-ca-file={pki}/ca.crt \
             --tls-cert-file={pki}/apiserver.crt --tls-private-key-file={pki}/apiserver.key \
             --kubelet-client-certificate={pki}/apiserver-kubelet-client.crt \
             --kubelet-client-key={pki}/apiserver-kubelet-client.key --allow-privileged=true",
            root.display(),
            node.api_port,
        )),
    );
    let (managed_port, scheduler_port) = (free_port(), free_port());
    let _controllers = Part::start(
        &root,
        "kube-controller-manager",
        &words(format!(
            "--kubeconfig={} --leader-elect=true --root-ca-file={pki}/ca.crt --secure-port={managed_port} \
             --use-service-account-credentials=true --controllers=*,bootstrapsigner,tokencleaner",
            at("etc/kubernetes/controller-manager.conf")
        )),
    );
    let config = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nclientConnection:\n  \
         kubeconfig: {}\nleaderElection:\n  leaderElect: true\n",
        at("etc/kubernetes/scheduler.conf")
    );
    std::fs::write(at("kube-scheduler.yaml"), config).unwrap();
    let _scheduler = Part::start(
        &root,
        "kube-scheduler",
        &words(format!(
            "--config={} --secure-port={scheduler_port}",
            at("kube-scheduler.yaml")
        )),
    );
    let _kubelet = Part::start(
        &root,
        "kubelet",
        &words(format!(
            "--root={} --config={} --kubeconfig={} --hostname-override={} --container-runtime-endpoint={endpoint}",
            root.display(),
            at("kubelet.yaml"),
            at("etc/kubernetes/kubelet.conf"),
            node.name,
        )),
    );
    node.wait_ready();
    let set = include_str!("../../../examples/kube-proxy-like.yaml").replace(
        "path: /run/xtables.lock",
        &format!("path: {}/run/xtables.lock", root.display()),
    );
    node.kubectl.feed("apply", &set);
    node.kubectl
        .ok("rollout status --namespace kube-system --timeout=90s daemonset/kube-proxy");
    let logs = node.kubectl.ok("logs -n kube-system daemonset/kube-proxy");
    assert!(
        logs.contains(&format!("kube-proxy-like on node {}", node.name)),
        "{logs}"
    );
    let executed = node
        .kubectl
        .ok("exec -n kube-system daemonset/kube-proxy -- echo through the parts");
    assert_eq!(executed, "through the parts\n");
    let leases = node.kubectl.ok("get leases -n kube-system");
    for lease in ["kube-controller-manager", "kube-scheduler"] {
        assert!(leases.contains(lease), "{leases}");
    }
    let accounts = node.kubectl.ok("get serviceaccounts -n kube-system");
    assert!(accounts.contains("daemon-set-controller"), "{accounts}");
    let log = std::fs::read_to_string(root.join("kube-controller-manager.log")).unwrap();
    assert!(!log.contains("cannot "), "{log}");
    // kubeadm asks so whether the node agent is of a version that it can take.
    let version = Command::new(root.join("kubelet"))
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.starts_with("Kubernetes v1."), "{version}");
    for port in [managed_port, scheduler_port] {
        let url = format!("https://127.0.0.1:{port}/healthz");
        let answer = Command::new("curl").args(["-sk", &url]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "ok", "{url}");
    }
}
