//! kubeadm's commands beside `init` and `join`: kubeconfigs and certificates of users, configuration files, and authorities
//! whose keys are kept elsewhere.
use crate::joining::fails;
use crate::traces;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_e2e::{Cluster, Kubectl, eventually};
use orlop_lab::steps::kubeconfig_here;
use orlop_pki::{Authority, CertificateRequest, Identity, Usage, identity_of};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const MASTER: &str = "master-01";
/// Nothing runs there yet.
const WORKER: &str = "worker-01";
const LIFETIME: Duration = Duration::from_secs(3600);

pub fn beside_init_and_join(cluster: &Cluster) {
    another_user(cluster);
    a_user_who_asks(cluster);
    configuration_files(cluster);
    keys_kept_elsewhere(cluster);
}

/// Speaks for the user and both groups, and may what they may.
fn another_user(cluster: &Cluster) {
    let line = "kubeconfig user --client-name alice --org devs,ops --validity-period 1h";
    let text = cluster.ok(MASTER, line);
    let kubeconfig = cluster.directory().join("alice.conf");
    std::fs::write(&kubeconfig, kubeconfig_here(&text, cluster.api_port())).unwrap();
    let alice = Kubectl {
        kubeconfig,
        cache: cluster.directory().join("alice-cache"),
    };
    let refused = alice.fails("get configmaps -n default");
    assert!(refused.contains("User \"alice\" cannot list"), "{refused}");
    for group in ["devs", "ops"] {
        let binding = format!("rolebinding {group} -n default");
        let rights = format!("--clusterrole=view --group={group}");
        cluster.kubectl.ok(&format!("create {binding} {rights}"));
        alice.patiently("get configmaps -n default");
        cluster.kubectl.ok(&format!("delete {binding}"));
        eventually("she may no longer", || {
            match alice.attempt("get configmaps -n default") {
                Ok(told) => Err(told),
                Err(_) => Ok(()),
            }
        });
    }
}

/// With a request of openssl's, which says each organisation by itself.
fn a_user_who_asks(cluster: &Cluster) {
    let mut ask = Command::new("openssl");
    ask.args([
        "req", "-new", "-batch", "-newkey", "rsa:2048", "-nodes", "-keyout",
    ])
    .arg(cluster.directory().join("bob.key"))
    .args(["-subj", "/O=ops/O=devs/CN=bob"]);
    let asked = ask.stdin(Stdio::null()).output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let kubectl = &cluster.kubectl;
    let request = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "bob"},
        "spec": {
            "request": STANDARD.encode(asked.stdout),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    });
    kubectl.feed("apply", &request.to_string());
    kubectl.ok("certificate approve bob");
    let signed = eventually("the certificate is signed", || {
        let request = kubectl.json("get csr bob");
        let certificate = request["status"]["certificate"].as_str();
        certificate.map(str::to_owned).ok_or(request.to_string())
    });
    let signed = String::from_utf8(STANDARD.decode(signed).unwrap()).unwrap();
    assert_eq!(identity_of(&signed), Some(Identity::new("bob", &["ops", "devs"])));
    kubectl.ok("delete csr bob");
}

fn configuration_files(cluster: &Cluster) {
    let file = cluster.lab.path(WORKER, "/root/kubeadm.yaml").unwrap();
    let validate = "config validate --config /root/kubeadm.yaml";
    for which in ["init-defaults", "join-defaults"] {
        let text = cluster.ok(WORKER, &format!("config print {which}"));
        std::fs::write(&file, text).unwrap();
        assert_eq!(cluster.ok(WORKER, validate), "ok\n");
    }
    let bad = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n\
               networking: {serviceSubnet: none}\n";
    std::fs::write(&file, bad).unwrap();
    let error = fails(cluster, WORKER, validate);
    assert!(error.contains("service range"), "{error}");
    std::fs::remove_file(&file).unwrap();
}

/// `init` asks for all that the authorities would sign, and is content with what they signed of the requests. It makes no
/// cluster here.
fn keys_kept_elsewhere(cluster: &Cluster) {
    let before = traces::of(cluster, WORKER);
    let here = Files { cluster };
    let address = cluster.lab.machine(WORKER).unwrap().address;
    let config = format!(
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n\
         localAPIEndpoint: {{advertiseAddress: {address}}}\nnodeRegistration: {{name: {WORKER}}}\n"
    );
    let config_file = cluster.lab.path(WORKER, "/root/kubeadm.yaml").unwrap();
    std::fs::write(&config_file, config).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let [ca, front_proxy, etcd] = ["ca", "front-proxy-ca", "etcd/ca"].map(|name| {
        let path = elsewhere.path().join(name);
        let (directory, file) = (path.parent().unwrap(), path.file_name().unwrap());
        std::fs::create_dir_all(directory).unwrap();
        let made = Authority::ensure(directory, file.to_str().unwrap(), &name.replace('/', "-")).unwrap();
        here.write(&format!("pki/{name}.crt"), made.certificate());
        made
    });

    let generate = "certs generate-csr --config /root/kubeadm.yaml";
    cluster.ok(WORKER, generate);
    let again = fails(cluster, WORKER, generate);
    assert!(again.contains("apiserver.key already"), "{again}");
    for name in ["pki/apiserver.key", "admin.conf"] {
        let mode = here.path(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let init = "init --config /root/kubeadm.yaml --dry-run";
    let error = fails(cluster, WORKER, init);
    for want in [
        "apiserver.crt is missing",
        "it has no certificate beside its user's key",
    ] {
        assert!(error.contains(want), "{error}");
    }
    for (name, signer, usage) in [
        ("apiserver", &ca, Usage::Server),
        ("apiserver-kubelet-client", &ca, Usage::Client),
        ("front-proxy-client", &front_proxy, Usage::Client),
        ("etcd/server", &etcd, Usage::ServerAndClient),
        ("etcd/peer", &etcd, Usage::ServerAndClient),
        ("etcd/healthcheck-client", &etcd, Usage::Client),
        ("apiserver-etcd-client", &etcd, Usage::Client),
    ] {
        let signed = here.signed(&format!("pki/{name}.csr"), signer, usage);
        here.write(&format!("pki/{name}.crt"), &signed);
    }
    let users = [
        "admin",
        "super-admin",
        "kubelet",
        "controller-manager",
        "scheduler",
    ];
    for name in users {
        let signed = here.signed(&format!("{name}.conf.csr"), &ca, Usage::Client);
        let text = here.read(&format!("{name}.conf"));
        let mut document: Value = serde_saphyr::from_str(&text).unwrap();
        document["users"][0]["user"]["client-certificate-data"] = STANDARD.encode(signed).into();
        here.write(&format!("{name}.conf"), &document.to_string());
    }
    let told = cluster.ok(WORKER, init);
    assert!(told.contains("All checks passed"), "{told}");

    std::fs::remove_dir_all(here.path("pki")).unwrap();
    for name in users {
        for file in [format!("{name}.conf"), format!("{name}.conf.csr")] {
            std::fs::remove_file(here.path(&file)).unwrap();
        }
    }
    std::fs::remove_file(config_file).unwrap();
    traces::assert_none(cluster, WORKER, &before, "what is taken away again");
}

/// The worker's, in `/etc/kubernetes`.
struct Files<'a> {
    cluster: &'a Cluster,
}

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        let path = Path::new("/etc/kubernetes").join(name);
        self.cluster.lab.path(WORKER, path.to_str().unwrap()).unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What an authority signs of a request.
    fn signed(&self, request: &str, authority: &Authority, usage: Usage) -> String {
        let request = CertificateRequest::parse(&self.read(request)).unwrap();
        authority.sign_request(&request, usage, LIFETIME).unwrap()
    }
}
