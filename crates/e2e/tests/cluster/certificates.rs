//! Certificates end and are renewed while the parts that present them run.
use orlop_e2e::{Cluster, eventually};
use orlop_pki::{Asking, Authority, CertificateRequest, Identity, LeafRequest, Usage, names_of};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long what the test signs is valid: enough for all of it to be taken up.
const LIFETIME: Duration = Duration::from_secs(30);

/// Issue 7: expire a certificate and renew, without a restart; Events before expiry.
pub fn renew_under_running_parts(cluster: &Cluster) {
    let master = Master { cluster };
    let before = master.containers();
    let server = |containers: &Value| containers["kube-apiserver"].clone();

    // The API server's own ends: nobody is let to it any more, until it is renewed, for which it is not needed.
    let ended = master.shorten("apiserver", Usage::Server);
    master.presents_anew("the one that ends soon");
    cluster.kubectl.patiently(
        "wait -n default --for=jsonpath={.reason}=CertificateExpiresSoon --timeout=60s events \
         --field-selector=involvedObject.kind=Node,reason=CertificateExpiresSoon",
    );
    let events = cluster
        .kubectl
        .ok("get events -n default -o json --field-selector=reason=CertificateExpiresSoon");
    assert!(events.contains("`orlop certs renew apiserver`"), "{events}");
    let error = eventually("the certificate ends", || {
        let output = cluster.kubectl.run("get nodes");
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
    cluster.kubectl.patiently("get nodes");
    assert_eq!(
        server(&master.containers()),
        server(&before),
        "it was not restarted"
    );
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
        let file = std::fs::read_to_string(self.path("pki/apiserver.crt")).unwrap();
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
    fn shorten(&self, name: &str, usage: Usage) -> Instant {
        let file = |ending: &str| self.path(&format!("pki/{name}.{ending}"));
        let old = std::fs::read_to_string(file("crt")).unwrap();
        let (certificate, key) = self.signed("ca", &old, usage);
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
