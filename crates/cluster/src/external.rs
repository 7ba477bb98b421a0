//! Authorities whose keys are kept elsewhere, as in kubeadm's external CA mode: their certificates are here alone, so that all
//! that they would sign must be here, too.
use crate::certificates::{self, Signer, Wanted};
use crate::config::{ClusterConfig, NodeConfig};
use crate::layout::Layout;
use crate::{ClusterError, extras, files, kubeconfigs, yaml};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use orlop_pki::{Identity, KeylessAuthority, Leaf, Unfit};
use serde_json::Value;
use std::path::Path;

impl Signer {
    /// Whether its key is kept elsewhere: its certificate is here alone.
    pub fn is_external(self, layout: &Layout) -> bool {
        self.certificate(layout).is_file() && !self.key(layout).exists()
    }
}

/// The first authority whose key is kept elsewhere.
pub fn first(layout: &Layout) -> Option<Signer> {
    Signer::ALL.into_iter().find(|signer| signer.is_external(layout))
}

/// Whether a certificate that is meant by `which`, its name or `all`, can be signed anew here.
///
/// # Errors
/// It is meant by its name, and the key is kept elsewhere.
pub fn may_sign(layout: &Layout, signer: Signer, which: &str) -> Result<bool, ClusterError> {
    match (signer.is_external(layout), which) {
        (false, _) => Ok(true),
        (true, "all") => Ok(false),
        (true, name) => Err(ClusterError::Configuration(format!(
            "{name} cannot be signed here, for there is no {}: whoever has that key can",
            signer.key(layout).display()
        ))),
    }
}

/// Changes nothing.
///
/// # Errors
/// Something that such an authority would sign is missing or does not do; all of that is named.
pub fn check(layout: &Layout, cluster: &ClusterConfig, node: &NodeConfig) -> Result<(), ClusterError> {
    let now = Timestamp::now();
    for signer in Signer::ALL
        .into_iter()
        .filter(|signer| signer.is_external(layout))
    {
        let authority = KeylessAuthority::open(&signer.certificate(layout))?;
        let mut troubles = Vec::new();
        let all = certificates::wanted(cluster, node)?;
        for wanted in all.iter().filter(|wanted| wanted.signer == signer) {
            troubles.extend(of_certificate(layout, wanted, &authority, now)?);
        }
        // No other has signed whom kubeconfigs speak for.
        let kubeconfigs = kubeconfigs::wanted(node).into_iter();
        for (name, identity, _) in kubeconfigs.filter(|_| signer == Signer::Cluster) {
            let path = layout.kubeconfig(name);
            troubles.extend(match files::read_optional(&path)? {
                None => Some(format!("{} is missing", path.display())),
                Some(text) => of_kubeconfig(&text, &authority, identity, now)
                    .err()
                    .map(|why| unfit(&path, why)),
            });
        }
        if !troubles.is_empty() {
            return Err(ClusterError::Configuration(format!(
                "there is no {} beside the certificate of the authority {}, so that all it signs must be here, and is not: {}",
                signer.key(layout).display(),
                signer.label(),
                troubles.join("; ")
            )));
        }
    }
    Ok(())
}

fn unfit(path: &Path, why: impl std::fmt::Display) -> String {
    format!("{} does not do: {why}", path.display())
}

/// What is wrong with a certificate and its key, if something is.
fn of_certificate(
    layout: &Layout,
    wanted: &Wanted,
    authority: &KeylessAuthority,
    now: Timestamp,
) -> Result<Option<String>, ClusterError> {
    let [certificate, key] = ["crt", "key"].map(|ending| wanted.path(layout, ending));
    let missing = |path: &Path| Ok(Some(format!("{} is missing", path.display())));
    let Some(text) = files::read_optional(&certificate)? else {
        return missing(&certificate);
    };
    let Some(key) = files::read_optional(&key)? else {
        return missing(&key);
    };
    let leaf = Leaf {
        certificate: text,
        key,
    };
    let judged = authority.judge(&leaf, &wanted.request, now);
    Ok(judged.err().map(|why| unfit(&certificate, why)))
}

/// Why a kubeconfig does not do in the place of one that is written here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum UnfitKubeconfig {
    #[error("{0}")]
    Unreadable(String),
    #[error("it has no {0}")]
    Without(&'static str),
    #[error("the authority that it trusts is another")]
    OtherAuthority,
    #[error("of its user's certificate: {0}")]
    Certificate(#[from] Unfit),
    #[error("its user's certificate is that of {0:?}, not of {1:?}")]
    OtherUser(String, String),
}

/// Judges a kubeconfig by its current context. Credentials that lie in other files, or are no certificate, are taken at
/// their word.
fn of_kubeconfig(
    text: &str,
    authority: &KeylessAuthority,
    identity: Identity,
    now: Timestamp,
) -> Result<(), UnfitKubeconfig> {
    use UnfitKubeconfig::{OtherAuthority, OtherUser, Unreadable, Without};
    let document = yaml::read("it", text).map_err(|error| Unreadable(error.to_string()))?;
    let find = |list: &str, name: &Value| {
        let mut items = document[list].as_array().into_iter().flatten();
        items.find(|item| name.is_string() && item["name"] == *name)
    };
    let context = find("contexts", &document["current-context"]).ok_or(Without("current context"))?;
    let context = &context["context"];
    let cluster = find("clusters", &context["cluster"]).ok_or(Without("cluster in its current context"))?;
    let cluster = &cluster["cluster"];
    if extras::is_empty(&cluster["server"]) {
        return Err(Without("server"));
    }
    match data(cluster, "certificate-authority-data") {
        Some(trusted) if !is_same(&trusted, authority.certificate()) => return Err(OtherAuthority),
        None if extras::is_empty(&cluster["certificate-authority"]) => {
            return Err(Without("authority to trust"));
        }
        _ => {}
    }
    let user = find("users", &context["user"]).ok_or(Without("user in its current context"))?;
    let user = &user["user"];
    let is_in_file = |field: &str| !extras::is_empty(&user[field]);
    let certificate = data(user, "client-certificate-data");
    match (certificate, data(user, "client-key-data")) {
        (Some(certificate), Some(key)) => {
            let named = orlop_pki::identity_of(&certificate);
            let leaf = Leaf { certificate, key };
            // Node agents are nobody but their nodes; for others people may have rights of their own.
            let wanted = identity.user.clone();
            authority.judge(&leaf, &kubeconfigs::request(identity), now)?;
            match named {
                Some(named) if wanted.starts_with("system:node:") && named.user != wanted => {
                    Err(OtherUser(named.user, wanted))
                }
                _ => Ok(()),
            }
        }
        (None, Some(_)) if !is_in_file("client-certificate") => {
            Err(Without("certificate beside its user's key"))
        }
        (Some(_), None) if !is_in_file("client-key") => Err(Without("key beside its user's certificate")),
        (None, None) if extras::is_empty(user) => Err(Without("credentials of its user")),
        _ => Ok(()),
    }
}

/// Whether two certificates are of one key.
fn is_same(one: &str, other: &str) -> bool {
    let hash = orlop_pki::public_key_hash(one);
    hash.is_some() && hash == orlop_pki::public_key_hash(other)
}

/// The PEM text of a field.
fn data(object: &Value, field: &str) -> Option<String> {
    let encoded = object[field].as_str().filter(|encoded| !encoded.is_empty())?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::UnfitKubeconfig::Without;
    use super::*;
    use serde_json::json;

    fn node() -> NodeConfig {
        crate::testing::node("m1")
    }

    /// A master that has everything but one authority's key.
    fn without_key(signer: Signer) -> (tempfile::TempDir, Layout, ClusterConfig) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let cluster = ClusterConfig::new("v1.36.0");
        certificates::ensure(&layout, &cluster, &node()).unwrap();
        let names = kubeconfigs::wanted(&node()).map(|(name, ..)| name);
        kubeconfigs::ensure(&layout, &cluster, &node(), &names).unwrap();
        std::fs::remove_file(signer.key(&layout)).unwrap();
        (dir, layout, cluster)
    }

    #[test]
    fn an_authority_without_its_key_does_where_all_is_here_that_it_signs() {
        for signer in Signer::ALL {
            let (_dir, layout, cluster) = without_key(signer);
            assert_eq!(first(&layout), Some(signer));
            certificates::check(&layout, &cluster, &node()).unwrap();
            let apiserver = layout.pki().join("apiserver.crt");
            let before = files::read(&apiserver).unwrap();
            certificates::ensure(&layout, &cluster, &node()).unwrap();
            kubeconfigs::ensure(&layout, &cluster, &node(), &["admin"]).unwrap();
            assert_eq!(files::read(&apiserver).unwrap(), before);
            assert!(!signer.key(&layout).exists());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (signer, file) in [
            (Signer::Cluster, "pki/apiserver.crt"),
            (Signer::Cluster, "pki/apiserver-kubelet-client.key"),
            (Signer::Cluster, "kubelet.conf"),
            (Signer::Cluster, "super-admin.conf"),
            (Signer::FrontProxy, "pki/front-proxy-client.crt"),
            (Signer::Etcd, "pki/etcd/peer.crt"),
            (Signer::Etcd, "pki/apiserver-etcd-client.key"),
        ] {
            let (_dir, layout, cluster) = without_key(signer);
            let path = layout.kubernetes().join(file);
            std::fs::remove_file(&path).unwrap();
            let told = |outcome: Result<(), ClusterError>| outcome.unwrap_err().to_string();
            let error = told(certificates::check(&layout, &cluster, &node()));
            let missing = format!("and is not: {} is missing", path.display());
            assert!(error.ends_with(&missing), "{error}");
            assert!(error.contains(signer.label()), "{error}");
            let error = told(certificates::ensure(&layout, &cluster, &node()));
            assert!(error.ends_with(&missing), "{error}");
        }
    }

    #[test]
    fn what_another_authority_signed_or_is_for_another_name_does_not_do() {
        let (_other, elsewhere, _) = without_key(Signer::FrontProxy);
        let (_dir, layout, cluster) = without_key(Signer::Cluster);
        let wider = ClusterConfig {
            cert_sans: vec!["lb.example".to_owned()],
            ..cluster.clone()
        };
        let error = check(&layout, &wider, &node()).unwrap_err().to_string();
        assert!(
            error.ends_with("apiserver.crt does not do: it is not for lb.example"),
            "{error}"
        );
        for name in ["pki/apiserver.crt", "pki/apiserver.key", "scheduler.conf"] {
            let from = elsewhere.kubernetes().join(name);
            std::fs::copy(from, layout.kubernetes().join(name)).unwrap();
        }
        let error = check(&layout, &cluster, &node()).unwrap_err().to_string();
        for want in [
            "apiserver.crt does not do: this authority has not signed it",
            "scheduler.conf does not do: the authority that it trusts is another",
        ] {
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_kubeconfig_is_judged_by_its_current_context() {
        let (_dir, layout, _) = without_key(Signer::Cluster);
        let authority = KeylessAuthority::open(&Signer::Cluster.certificate(&layout)).unwrap();
        let identity = || Identity::new("system:node:m1", &["system:nodes"]);
        let text = files::read(&layout.kubeconfig("kubelet")).unwrap();
        let good = yaml::read("it", &text).unwrap();
        let of_admin = files::read(&layout.kubeconfig("admin")).unwrap();
        let of_admin = yaml::read("it", &of_admin).unwrap();
        let user = "/users/0/user";
        let key_alone = json!({"client-key-data": good.pointer("/users/0/user/client-key-data")});
        let other = UnfitKubeconfig::OtherUser("kubernetes-admin".to_owned(), "system:node:m1".to_owned());
        for (at, value, want) in [
            ("/kind", json!("Config"), Ok(())),
            ("/current-context", json!("none"), Err(Without("current context"))),
            (
                "/clusters/0/name",
                json!("none"),
                Err(Without("cluster in its current context")),
            ),
            ("/clusters/0/cluster/server", json!(""), Err(Without("server"))),
            (
                "/clusters/0/cluster",
                json!({"server": "https://a:6443"}),
                Err(Without("authority to trust")),
            ),
            (
                "/clusters/0/cluster",
                json!({"server": "https://a:6443", "certificate-authority": "/etc/kubernetes/pki/ca.crt"}),
                Ok(()),
            ),
            (
                "/users/0/name",
                json!("none"),
                Err(Without("user in its current context")),
            ),
            // As `certs generate-csr` leaves it.
            (user, key_alone, Err(Without("certificate beside its user's key"))),
            (user, json!({}), Err(Without("credentials of its user"))),
            (user, json!({"token": "abc"}), Ok(())),
            (
                user,
                json!({"client-certificate": "/a", "client-key": "/a"}),
                Ok(()),
            ),
            (user, of_admin["users"][0]["user"].clone(), Err(other)),
        ] {
            let mut document = good.clone();
            *document.pointer_mut(at).unwrap() = value;
            let judged = of_kubeconfig(&document.to_string(), &authority, identity(), Timestamp::now());
            assert_eq!(judged, want, "{at}");
        }
        let judged = of_kubeconfig("a: [", &authority, identity(), Timestamp::now());
        assert!(
            matches!(judged, Err(UnfitKubeconfig::Unreadable(_))),
            "{judged:?}"
        );
    }
}
