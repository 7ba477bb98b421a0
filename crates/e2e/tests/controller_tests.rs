//! The API server as the one that tests of controllers start: upstream's name and the flags that such test environments
//! pass, on an etcd of their own.
#![allow(clippy::unwrap_used)]
use orlop_e2e::{Kubectl, eventually, free_port, orlop};
use orlop_pki::{Authority, Identity, Kubeconfig, LeafRequest, Usage};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn start(program: &Path, log: &Path, arguments: &[String]) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let errors = log.try_clone().unwrap();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_flags_of_test_environments_start_a_server() {
    start_as_test_environments_do(Path::new("etcd"));
}

/// Both programs of such an environment can be links to this one.
#[test]
fn the_flags_of_test_environments_start_a_server_and_its_store() {
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("etcd");
    std::os::unix::fs::symlink(orlop(), &link).unwrap();
    start_as_test_environments_do(&link);
}

/// What keeps nothing is used at once: it says how.
#[test]
fn an_ephemeral_server_comes_with_a_kubeconfig() {
    let temporary = tempfile::tempdir().unwrap();
    let mut server = Command::new(orlop())
        .args([
            "apiserver",
            "--ephemeral",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
        ])
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    let server = Program(server);
    let path = said.trim().strip_prefix("export KUBECONFIG=").unwrap();
    assert!(Path::new(path).starts_with(temporary.path()), "{path}");
    let kubectl = Kubectl {
        kubeconfig: path.into(),
        cache: temporary.path().join("cache"),
    };
    kubectl.ok("create configmap c --from-literal=a=b");
    assert!(kubectl.ok("auth whoami").contains("kubernetes-admin"));
    let pid = server.0.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    eventually("nothing is left of it", || {
        (!Path::new(path).exists()).then_some(()).ok_or(path.to_owned())
    });
}

fn start_as_test_environments_do(etcd: &Path) {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).display().to_string();
    let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
    let _etcd = Program::start(
        etcd,
        &root.path().join("etcd.log"),
        &[
            format!("--data-dir={}", at("etcd")),
            format!("--listen-client-urls=http://127.0.0.1:{etcd_port}"),
            format!("--advertise-client-urls=http://127.0.0.1:{etcd_port}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
            "--unsafe-no-fsync".to_owned(),
        ],
    );

    // Certificates as such an environment makes them, its own authority included.
    let authority = Authority::ensure(root.path(), "client-cert-auth-ca", "environment").unwrap();
    let serving = LeafRequest {
        identity: Identity::new("apiserver", &[]),
        usage: Usage::Server,
        dns_names: vec!["localhost".to_owned()],
        addresses: vec!["127.0.0.1".parse().unwrap()],
    };
    authority.ensure_leaf("apiserver", &serving).unwrap();
    let signer = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=signer",
            "-days",
            "1",
        ])
        .args(["-keyout", &at("sa-signer.key"), "-out", &at("sa-signer.crt")])
        .output()
        .unwrap();
    assert!(
        signer.status.success(),
        "{}",
        String::from_utf8_lossy(&signer.stderr)
    );
    let kubectl = Kubectl {
        kubeconfig: root.path().join("kubeconfig"),
        cache: root.path().join("cache"),
    };
    let kubeconfig = Kubeconfig {
        server: &format!("https://127.0.0.1:{port}"),
        cluster: "environment",
        identity: Identity::new("admin", &["system:masters"]),
    };
    kubeconfig.ensure(&kubectl.kubeconfig, &authority).unwrap();

    let link = root.path().join("kube-apiserver");
    std::os::unix::fs::symlink(orlop(), &link).unwrap();
    let log = root.path().join("kube-apiserver.log");
    let _server = Program::start(
        &link,
        &log,
        &[
            "--advertise-address=127.0.0.1".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", root.path().display()),
            format!("--client-ca-file={}", at("client-cert-auth-ca.crt")),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
            format!("--secure-port={port}"),
            format!("--service-account-issuer=https://127.0.0.1:{port}/"),
            format!("--service-account-key-file={}", at("sa-signer.crt")),
            format!("--service-account-signing-key-file={}", at("sa-signer.key")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        ],
    );
    eventually("the server is ready", || {
        let ready = kubectl.run("get --raw /readyz");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        ready.status.success().then_some(()).ok_or_else(said)
    });
    // Nobody makes service accounts here, and no pod needs one.
    kubectl.ok("run p --image=i");
    assert_eq!(
        kubectl.ok("get svc kubernetes -o jsonpath={.spec.clusterIP}"),
        "10.0.0.1"
    );
    kubectl.feed("apply", include_str!("crontab.yaml"));
    kubectl.ok("wait --for=condition=Established --timeout=10s crd/crontabs.stable.example.com");
    kubectl.ok("create sa robot");
    let token = kubectl.ok("create token robot");
    assert!(
        kubectl
            .ok(&format!("--token={} auth whoami", token.trim()))
            .contains("system:")
    );
}
