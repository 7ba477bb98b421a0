//! Keys and certificate requests of all that a control plane needs, for who keeps the authorities' keys elsewhere: in kubeadm's
//! layout, each request beside the file that its certificate belongs to.
use crate::certificates::{self, Signer};
use crate::config::{ClusterConfig, NodeConfig};
use crate::{ClusterError, files, kubeconfigs, yaml};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_pki::Asking;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What is written: the key or the kubeconfig with it, and the request.
struct Asked {
    path: PathBuf,
    text: String,
    request: String,
}

impl Asked {
    fn request_path(&self) -> PathBuf {
        let mut name = self.path.file_stem().unwrap_or_default().to_os_string();
        // `apiserver.key` and `apiserver.csr`, but `admin.conf` and `admin.conf.csr`.
        if self.path.extension().is_some_and(|ending| ending == "conf") {
            name.push(".conf");
        }
        name.push(".csr");
        self.path.with_file_name(name)
    }
}

/// Writes them: those of certificates below `pki`, those of kubeconfigs in `directory`, with the certificate of their authority
/// if that lies in `pki`. What was written, in order.
///
/// # Errors
/// One of the files is there already, or cannot be written; none is there that was not before.
pub fn generate(
    cluster: &ClusterConfig,
    node: &NodeConfig,
    pki: &Path,
    directory: &Path,
) -> Result<Vec<PathBuf>, ClusterError> {
    let mut all = Vec::new();
    for wanted in certificates::wanted(cluster, node)? {
        let asking = Asking::new(&wanted.request, None)?;
        all.push(Asked {
            path: pki.join(format!("{}.key", wanted.file)),
            text: asking.key(),
            request: asking.request().to_owned(),
        });
    }
    let (_, authority, _) = Signer::Cluster.place();
    let authority = files::read_optional(&pki.join(format!("{authority}.crt")))?;
    for (name, identity, local) in kubeconfigs::wanted(node) {
        let user = identity.user.clone();
        let asking = Asking::new(&kubeconfigs::request(identity), None)?;
        let server = kubeconfigs::server(cluster, node, local);
        let key = json!({"client-key-data": STANDARD.encode(asking.key())});
        let text = authority.as_deref().unwrap_or_default();
        let mut document = kubeconfigs::of_user(&server, text, &cluster.cluster_name, &user, &key);
        if authority.is_none() {
            forget_authority(&mut document);
        }
        all.push(Asked {
            path: directory.join(format!("{name}.conf")),
            text: yaml::write(&document)?,
            request: asking.request().to_owned(),
        });
    }
    let paths = all.iter().flat_map(|one| [one.path.clone(), one.request_path()]);
    let paths: Vec<PathBuf> = paths.collect();
    if let Some(present) = paths.iter().find(|path| path.exists()) {
        return Err(ClusterError::Configuration(format!(
            "nothing was written, for there is {} already: move it away, or give other directories",
            present.display()
        )));
    }
    let written = all.iter().try_for_each(|one| {
        files::write_private(&one.path, &one.text)?;
        files::write_public(&one.request_path(), &one.request)
    });
    if written.is_err() {
        // What is there of them would be in the way of the next try; the error that counts is the first.
        for path in &paths {
            let _ = files::remove(path);
        }
    }
    written.map(|()| paths)
}

/// Whoever signs puts it in.
fn forget_authority(kubeconfig: &mut Value) {
    let cluster = kubeconfig.pointer_mut("/clusters/0/cluster");
    if let Some(fields) = cluster.and_then(Value::as_object_mut) {
        fields.remove("certificate-authority-data");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::external;
    use crate::layout::Layout;
    use orlop_pki::{Authority, CertificateRequest, Leaf};
    use std::time::Duration;

    fn node() -> NodeConfig {
        crate::testing::node("m1")
    }

    fn signed(authority: &Authority, path: &Path, usage: orlop_pki::Usage) -> String {
        let request = CertificateRequest::parse(&files::read(path).unwrap()).unwrap();
        let lifetime = Duration::from_secs(3600);
        authority.sign_request(&request, usage, lifetime).unwrap()
    }

    /// What is asked for, signed elsewhere and put in its place, is what `init` looks for.
    #[test]
    fn what_is_signed_of_the_requests_is_all_that_is_needed() {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (layout, elsewhere) = (Layout::new(here.path()), Layout::new(there.path()));
        let cluster = ClusterConfig::new("v1.36.0");
        for signer in Signer::ALL {
            signer.ensure(&elsewhere).unwrap();
            let text = files::read(&signer.certificate(&elsewhere)).unwrap();
            files::write_public(&signer.certificate(&layout), &text).unwrap();
        }
        let made = generate(&cluster, &node(), &layout.pki(), &layout.kubernetes()).unwrap();
        assert_eq!(made.len(), 2 * (7 + 5));
        assert!(external::check(&layout, &cluster, &node()).is_err());
        for wanted in certificates::wanted(&cluster, &node()).unwrap() {
            let authority = wanted.signer.ensure(&elsewhere).unwrap();
            let text = signed(&authority, &wanted.path(&layout, "csr"), wanted.request.usage);
            files::write_public(&wanted.path(&layout, "crt"), &text).unwrap();
        }
        let authority = Signer::Cluster.ensure(&elsewhere).unwrap();
        for (name, ..) in kubeconfigs::wanted(&node()) {
            let path = layout.kubeconfig(name);
            let request = path.with_file_name(format!("{name}.conf.csr"));
            let document = yaml::read("it", &files::read(&path).unwrap()).unwrap();
            let key = document.pointer("/users/0/user/client-key-data").unwrap();
            let key = STANDARD.decode(key.as_str().unwrap()).unwrap();
            let leaf = Leaf {
                certificate: signed(&authority, &request, orlop_pki::Usage::Client),
                key: String::from_utf8(key).unwrap(),
            };
            let text = files::read(&path).unwrap();
            let text = kubeconfigs::with_identity(name, &text, &leaf).unwrap();
            files::write_private(&path, &text).unwrap();
        }
        external::check(&layout, &cluster, &node()).unwrap();
    }

    #[test]
    fn nothing_that_is_there_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let cluster = ClusterConfig::new("v1.36.0");
        let generated = || generate(&cluster, &node(), &layout.pki(), &layout.kubernetes());
        let present = layout.kubernetes().join("scheduler.conf.csr");
        files::write_public(&present, "mine").unwrap();
        let error = generated().unwrap_err().to_string();
        assert!(error.contains("scheduler.conf.csr already"), "{error}");
        assert!(!layout.pki().exists());
        std::fs::remove_file(&present).unwrap();
        // The last of the directories cannot be made: what was written before goes.
        let elsewhere = present.join("kubernetes");
        files::write_public(&present, "no directory").unwrap();
        assert!(generate(&cluster, &node(), &layout.pki(), &elsewhere).is_err());
        assert!(!layout.pki().join("apiserver.key").exists());
        std::fs::remove_file(&present).unwrap();
        generated().unwrap();
        let text = files::read(&layout.kubeconfig("admin")).unwrap();
        let document = yaml::read("it", &text).unwrap();
        let entry = document.pointer("/clusters/0/cluster").unwrap();
        assert_eq!(*entry, json!({"server": "https://10.0.0.1:6443"}));
        assert!(layout.pki().join("etcd/peer.csr").is_file());
    }
}
