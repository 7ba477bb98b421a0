//! Certificates end and are renewed while the parts that present them run.
use orlop_e2e::{Cluster, eventually};
use orlop_pki::{Asking, Authority, CertificateRequest, Identity, LeafRequest, Usage, names_of};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long what the test signs is valid: enough for all of it to be taken up.
const LIFETIME: Duration = Duration::from_secs(45);
const WORKER: &str = "worker-01";
/// What the API server shows to others, and whose authority they trust.
const CLIENTS: [(&str, &str); 3] = [
    ("apiserver-kubelet-client", "ca"),
    ("apiserver-etcd-client", "etcd/ca"),
    ("front-proxy-client", "front-proxy-ca"),
];

/// Issue 7: expire a certificate and renew, without a restart; Events before expiry.
pub fn renew_under_running_parts(cluster: &Cluster) {
    let master = Master { cluster };
    let before = master.containers();
    let aggregated = Aggregated::start(cluster);
    aggregated.sees(&master.read("front-proxy-client"));

    let ended = master.shorten("apiserver", "ca", Usage::Server);
    for (name, signer) in CLIENTS {
        master.shorten(name, signer, Usage::Client);
    }
    master.presents_anew("the one that ends soon");
    aggregated.sees(&master.read("front-proxy-client"));
    let kubectl = &cluster.kubectl;
    kubectl.patiently(
        "wait -n default --for=jsonpath={.reason}=CertificateExpiresSoon --timeout=60s events \
         --field-selector=involvedObject.kind=Node,reason=CertificateExpiresSoon",
    );
    let mut certificates = vec!["apiserver"];
    certificates.extend(CLIENTS.map(|(name, _)| name));
    eventually("Events tell of each", || {
        let events =
            kubectl.ok("get events -n default -o json --field-selector=reason=CertificateExpiresSoon");
        let told = |name: &&&str| !events.contains(&format!("`orlop certs renew {name}`"));
        let untold: Vec<_> = certificates.iter().filter(told).collect();
        untold
            .is_empty()
            .then_some(())
            .ok_or(format!("{untold:?}: {events}"))
    });

    // Nobody is let to an API server whose own has ended, until it is renewed, for which no API server is needed.
    let error = eventually("the certificate ends", || {
        let output = kubectl.run("get nodes");
        match output.status.success() {
            true => Err(format!(
                "{:?} left",
                ended.saturating_duration_since(Instant::now())
            )),
            false => Ok(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    });
    assert!(error.contains("certificate has expired"), "{error}");
    cluster.ok("master-01", "certs renew apiserver");
    kubectl.patiently("get nodes");

    // What it shows to others has ended as well. Connections that are there go on: they are cut.
    refused(cluster, "the aggregated server", &Aggregated::line());
    cluster.ok("master-01", "down --keep-pods");
    cluster.ok("master-01", "up --detach");
    refused(cluster, "the node agent", LOGS);
    cluster
        .lab
        .signal("master-01", "etcd", nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    refused(
        cluster,
        "etcd",
        "create configmap -n default during-expiry --request-timeout=5s",
    );
    for (name, _) in CLIENTS {
        cluster.ok("master-01", &format!("certs renew {name}"));
    }
    kubectl.patiently("create configmap -n default after-renewal");
    kubectl.patiently(LOGS);
    aggregated.sees(&master.read("front-proxy-client"));
    assert_eq!(
        master.containers()["kube-apiserver"],
        before["kube-apiserver"],
        "it was not restarted"
    );
}

const LOGS: &str = "logs -n kube-system kube-apiserver-master-01 --tail=1";

/// What the API server cannot do for us any more.
fn refused(cluster: &Cluster, by: &str, line: &str) {
    eventually(&format!("{by} refuses the certificate"), || {
        let output = cluster.kubectl.run(line);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Err(said)
        } else {
            Ok(())
        }
    });
}

/// A server behind the API server that lets in whom the front proxy's authority vouches for, and tells what it was shown.
struct Aggregated<'a> {
    cluster: &'a Cluster,
    server: Child,
}

impl<'a> Aggregated<'a> {
    fn start(cluster: &'a Cluster) -> Self {
        const SCRIPT: &str = "cd /tmp && openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=lab \
             && exec openssl s_server -accept 8443 -cert cert -key key -CAfile authority -Verify 1 -verify_return_error -www";
        let authority = cluster
            .lab
            .path("master-01", "/etc/kubernetes/pki/front-proxy-ca.crt");
        let authority = std::fs::read_to_string(authority.unwrap()).unwrap();
        let mut server = cluster.lab.command(WORKER, "sh").unwrap();
        let script = format!("echo '{authority}' >/tmp/authority; {SCRIPT}");
        let server = server.arg("-c").arg(script);
        let server = server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = server.spawn().unwrap();
        cluster.kubectl.feed("apply", &Self::objects(cluster).to_string());
        Self { cluster, server }
    }

    fn objects(cluster: &Cluster) -> Value {
        let address = cluster.lab.machine(WORKER).unwrap().address.to_string();
        let metadata = json!({"name": "lab", "namespace": "default"});
        json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 443}]}},
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": "lab-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "lab"}},
                "addressType": "IPv4",
                "ports": [{"port": 8443}],
                "endpoints": [{"addresses": [address]}],
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": "v1.lab.example"},
                "spec": {
                    "group": "lab.example",
                    "version": "v1",
                    "service": {"name": "lab", "namespace": "default"},
                    "insecureSkipTLSVerify": true,
                    "groupPriorityMinimum": 1,
                    "versionPriority": 1,
                },
            },
        ]})
    }

    fn line() -> String {
        "get --raw /apis/lab.example/v1/shown".to_owned()
    }

    /// Waits until it is shown this certificate.
    fn sees(&self, certificate: &str) {
        let without_ends = |text: &str| text.replace(['\r', '\n'], "");
        let end = certificate.find("-----END").unwrap();
        eventually("the aggregated server sees the certificate", || {
            let shown = String::from_utf8_lossy(&self.cluster.kubectl.run(&Self::line()).stdout).into_owned();
            let is_it = without_ends(&shown).contains(&without_ends(&certificate[..end]));
            is_it.then_some(()).ok_or(shown)
        });
    }
}

impl Drop for Aggregated<'_> {
    fn drop(&mut self) {
        for name in ["apiservice/v1.lab.example", "-n default service/lab"] {
            self.cluster.kubectl.run(&format!("delete {name}"));
        }
        // It came from outside: it is none of the machine's own children.
        let _ = self.cluster.lab.run(WORKER, "busybox killall openssl");
        let _ = self.server.wait();
    }
}

struct Master<'a> {
    cluster: &'a Cluster,
}

impl Master<'_> {
    fn path(&self, path: &str) -> PathBuf {
        self.cluster
            .lab
            .path("master-01", &format!("/etc/kubernetes/{path}"))
            .unwrap()
    }

    /// A certificate of its API server.
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("pki/{name}.crt"))).unwrap()
    }

    /// Which container each static pod has.
    fn containers(&self) -> Value {
        let pods = self
            .cluster
            .kubectl
            .patiently("get pods -n kube-system -l tier=control-plane -o json");
        let pods: Value = serde_json::from_str(&pods).unwrap();
        let mut all = json!({});
        for pod in pods["items"].as_array().unwrap() {
            let component = pod["metadata"]["labels"]["component"].as_str().unwrap();
            all[component] = pod["status"]["containerStatuses"][0]["containerID"].clone();
        }
        all
    }

    /// The end of what the API server presents, as openssl tells it.
    fn presented(&self) -> String {
        let mut connect = Command::new("openssl");
        let address = format!("127.0.0.1:{}", self.cluster.api_port());
        connect.args(["s_client", "-connect", &address]);
        let output = connect.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let end = "-----END CERTIFICATE-----";
        let Some((from, to)) = text.find("-----BEGIN CERTIFICATE").zip(text.find(end)) else {
            return text;
        };
        text[from..to + end.len()].to_owned()
    }

    /// Waits until the API server presents what is in its file.
    fn presents_anew(&self, what: &str) {
        let file = self.read("apiserver");
        eventually(&format!("the API server presents {what}"), || {
            let presented = self.presented();
            let without_ends = |text: &str| text.replace(['\r', '\n'], "");
            match without_ends(&file).starts_with(&without_ends(&presented)) {
                true => Ok(()),
                false => Err(presented),
            }
        });
    }

    /// Puts a certificate in the place of another that is like it but ends soon; when.
    fn shorten(&self, name: &str, signer: &str, usage: Usage) -> Instant {
        let file = |ending: &str| self.path(&format!("pki/{name}.{ending}"));
        let old = std::fs::read_to_string(file("crt")).unwrap();
        let (certificate, key) = self.signed(signer, &old, usage);
        replace(&file("key"), &key);
        replace(&file("crt"), &certificate);
        Instant::now() + LIFETIME
    }

    /// Certificate and key for the names and the identity of another.
    fn signed(&self, signer: &str, old: &str, usage: Usage) -> (String, String) {
        let authority = self.path(&format!("pki/{signer}.crt"));
        let authority = Authority::open(&authority, &authority.with_extension("key")).unwrap();
        let (dns_names, addresses) = names_of(old).unwrap();
        let identity: Identity = orlop_pki::identity_of(old).unwrap();
        let asking = Asking::new(
            &LeafRequest {
                identity,
                usage,
                dns_names,
                addresses,
            },
            None,
        )
        .unwrap();
        let request = CertificateRequest::parse(asking.request()).unwrap();
        let certificate = authority.sign_request(&request, usage, LIFETIME).unwrap();
        (certificate, asking.key())
    }
}

fn replace(path: &PathBuf, text: &str) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}
