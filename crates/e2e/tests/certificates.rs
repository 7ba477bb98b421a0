//! A node agent that is given nothing but a bootstrap token: it gets certificates of its own, and renews them.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{ControlPlane, SeparateContainerd, eventually, free_port, orlop};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const TOKEN: &str = "abcdef.0123456789abcdef";

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the cluster must have so that a token is worth a certificate, as kubeadm lays it down.
const BOOTSTRAP: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: abcdef
  token-secret: 0123456789abcdef
  usage-bootstrap-authentication: "true"
  auth-extra-groups: system:bootstrappers:kubeadm:default-node-token
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "kubeadm:kubelet-bootstrap"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:node-bootstrapper"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers:kubeadm:default-node-token"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "kubeadm:node-autoapprove-bootstrap"}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers:kubeadm:default-node-token"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "kubeadm:node-autoapprove-certificate-rotation"}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:nodes"}]
"#;

fn bootstrap_kubeconfig(plane: &ControlPlane, directory: &Path) -> String {
    std::fs::write(directory.join("cluster.crt"), plane.authority()).unwrap();
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bootstrap",
        "clusters": [{"name": "kubernetes", "cluster":
            {"server": plane.server(), "certificate-authority": "cluster.crt"}}],
        "users": [{"name": "tls-bootstrap-token-user", "user": {"token": TOKEN}}],
        "contexts": [{"name": "bootstrap", "context": {"cluster": "kubernetes", "user": "tls-bootstrap-token-user"}}],
    })
    .to_string()
}

/// N06: CSR auto-approved / bootstrap / client certificate file and kubeconfig written; near expiry / rotated without
/// restart. And serverTLSBootstrap: the certificate is served once somebody has approved it.
#[test]
fn n06_client_certificate_is_bootstrapped_and_rotated_without_restart() {
    let plane = ControlPlane::start_with(
        "--enable-bootstrap-token-auth",
        "--cluster-signing-cert-file={pki}/ca.crt --cluster-signing-key-file={pki}/ca.key \
         --cluster-signing-duration=20s",
    );
    plane.kubectl.feed("apply", BOOTSTRAP);
    let runtime = SeparateContainerd::start("orlop.dev/pause:1");
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    std::fs::write(
        at("bootstrap-kubelet.conf"),
        bootstrap_kubeconfig(&plane, root.path()),
    )
    .unwrap();
    let port = free_port();
    let config = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nport: {port}\nhealthzPort: 0\n\
         rotateCertificates: true\nserverTLSBootstrap: true\nfailCgroupV1: false\nfailSwapOn: false\n\
         authentication: {{x509: {{clientCAFile: {}}}}}\n",
        at("cluster.crt").display()
    );
    std::fs::write(at("config.yaml"), config).unwrap();
    let log = std::fs::File::create(at("agent.log")).unwrap();
    let mut command = Command::new(orlop());
    command
        .arg("kubelet")
        .arg(format!("--root={}", root.path().display()))
        .arg(format!("--config={}", at("config.yaml").display()))
        .arg(format!(
            "--bootstrap-kubeconfig={}",
            at("bootstrap-kubelet.conf").display()
        ))
        .arg(format!("--kubeconfig={}", at("kubelet.conf").display()))
        .arg(format!("--container-runtime-endpoint={}", runtime.endpoint()))
        .args(["--hostname-override=n1", "--node-ip=127.0.0.1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let _agent = Agent(command.spawn().unwrap());
    let complaint = || std::fs::read_to_string(at("agent.log")).unwrap_or_default();

    let current = at("var/lib/kubelet/pki/kubelet-client-current.pem");
    let first = eventually("the first certificate", || {
        std::fs::read_link(&current).map_err(|_| complaint())
    });
    let name = first.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("kubelet-client-2") && name.ends_with(".pem"),
        "{name}"
    );
    eventually("the kubeconfig", || {
        let text = std::fs::read_to_string(at("kubelet.conf")).unwrap_or_default();
        let link = current.display().to_string();
        text.contains(&format!("client-certificate: {link}"))
            .then_some(())
            .ok_or(text)
    });
    eventually("the node", || {
        let node = plane.kubectl.run("get node n1");
        node.status.success().then_some(()).ok_or_else(complaint)
    });
    let requests = plane.kubectl.json("get csr");
    let of_bootstrap = &requests["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|request| {
            request["metadata"]["name"]
                .as_str()
                .unwrap()
                .starts_with("node-csr-")
        })
        .unwrap()["spec"];
    assert_eq!(of_bootstrap["username"], "system:bootstrap:abcdef");
    assert_eq!(
        of_bootstrap["usages"],
        serde_json::json!(["digital signature", "client auth"])
    );

    // Nobody approves serving certificates but people.
    let serving = eventually("the request for a serving certificate", || {
        let requests = plane.kubectl.json("get csr");
        let items = requests["items"].as_array().unwrap();
        let found = items.iter().find(|request| {
            request["spec"]["signerName"] == "kubernetes.io/kubelet-serving"
                && request["status"]["conditions"].is_null()
        });
        found
            .map(|request| request["metadata"]["name"].as_str().unwrap().to_owned())
            .ok_or_else(complaint)
    });
    plane.kubectl.ok(&format!("certificate approve {serving}"));
    eventually("a serving certificate that the cluster has signed", || {
        let output = Command::new("curl")
            .args(["-sS", "--cacert"])
            .arg(at("cluster.crt"))
            .arg(format!("https://127.0.0.1:{port}/pods"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (said == "Unauthorized")
            .then_some(())
            .ok_or_else(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    });

    let second = eventually("the next client certificate", || {
        let now = std::fs::read_link(&current).unwrap();
        (now != first).then_some(now).ok_or_else(complaint)
    });
    let lease = || {
        plane
            .kubectl
            .field("lease/n1 -n kube-node-lease", "/spec/renewTime")
    };
    let before = lease();
    eventually("a lease renewed with a certificate after the second", || {
        let now = std::fs::read_link(&current).unwrap();
        (now != second && lease() != before)
            .then_some(())
            .ok_or_else(complaint)
    });
}
