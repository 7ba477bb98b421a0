//! When the certificates of a node end, and making new ones.
use crate::certificates::{Signer, Wanted};
use crate::config::{ClusterConfig, NodeConfig};
use crate::layout::Layout;
use crate::{ClusterError, certificates, external, files, kubeconfigs};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use orlop_pki::Authority;
use serde_json::{Value, json};

/// One line of `certs check-expiration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    pub name: String,
    pub expires: Timestamp,
    /// Empty for an authority.
    pub authority: &'static str,
    /// The key that could sign another is not on this node.
    pub is_external: bool,
}

impl Ends {
    /// As kubeadm prints it, in one unit.
    pub fn residual(&self, now: Timestamp) -> String {
        let left = self.expires.duration_since(now);
        if left.is_positive() {
            orlop_api::age::remaining(left.as_secs())
        } else {
            "<invalid>".to_owned()
        }
    }
}

/// All of them as `kubeadm certs check-expiration -o json` shows them (pure). `missing`: names of those that are not there.
pub fn described(leaves: &[Ends], missing: &[String], authorities: &[Ends], now: Timestamp) -> Value {
    let of = |ends: &Ends| {
        let mut one = json!({
            "expirationDate": ends.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "externallyManaged": ends.is_external,
            "missing": false,
            "name": ends.name,
            // In seconds.
            "residualTime": ends.expires.duration_since(now).as_secs(),
        });
        if !ends.authority.is_empty() {
            one["caName"] = json!(ends.authority);
        }
        one
    };
    let of_none = |name: &String| {
        json!({
            "expirationDate": Value::Null,
            "externallyManaged": false,
            "missing": true,
            "name": name,
            "residualTime": 0,
        })
    };
    let mut certificates: Vec<Value> = leaves.iter().map(of).collect();
    certificates.extend(missing.iter().map(of_none));
    certificates.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    json!({
        "apiVersion": "output.kubeadm.k8s.io/v1alpha3",
        "certificateAuthorities": authorities.iter().map(of).collect::<Vec<_>>(),
        "certificates": certificates,
        "kind": "CertificateExpirationInfo",
    })
}

/// From when on people are told that a certificate will end.
const TOLD_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What people are to know of a certificate that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// `CertificateExpiresSoon` or `CertificateExpired`.
    pub reason: &'static str,
    /// Which certificate it is about.
    pub name: String,
    pub message: String,
}

/// What is to be told by `now` (pure).
pub fn warnings(leaves: &[Ends], authorities: &[Ends], now: Timestamp) -> Vec<Warning> {
    let of = |ends: &Ends| {
        let left = ends.expires.duration_since(now);
        if left > TOLD_BEFORE {
            return None;
        }
        let name = &ends.name;
        let (reason, when) = match left.is_positive() {
            true => (
                "CertificateExpiresSoon",
                format!("ends in {}, at {}", ends.residual(now), ends.expires),
            ),
            false => ("CertificateExpired", format!("has ended at {}", ends.expires)),
        };
        let message = match ends.authority {
            "" => format!(
                "authority {name} of this master {when}: what it signed must be signed by another before"
            ),
            _ => format!(
                "certificate {name} of this master {when}: `orlop certs renew {name}` there signs a new one"
            ),
        };
        Some(Warning {
            reason,
            name: name.clone(),
            message,
        })
    };
    leaves.iter().chain(authorities).filter_map(of).collect()
}

/// When something is to be told next that is not by `now`; `None` when nothing is (pure).
pub fn next_warning(leaves: &[Ends], authorities: &[Ends], now: Timestamp) -> Option<Timestamp> {
    let moments = leaves
        .iter()
        .chain(authorities)
        .flat_map(|ends| [ends.expires.checked_sub(TOLD_BEFORE).ok(), Some(ends.expires)]);
    moments.flatten().filter(|moment| *moment > now).min()
}

/// The certificate that a kubeconfig presents, PEM.
pub fn client_certificate(kubeconfig: &str) -> Option<String> {
    let document: Value = serde_saphyr::from_str(kubeconfig).ok()?;
    let data = document
        .pointer("/users/0/user/client-certificate-data")?
        .as_str()?;
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

/// Every certificate that a master may have, by its name, and when it ends, if it is there.
type Listed = Vec<(String, Signer, Option<Timestamp>)>;

fn listed(layout: &Layout, cluster: &ClusterConfig, node: &NodeConfig) -> Result<Listed, ClusterError> {
    let mut all = Vec::new();
    for (name, ..) in kubeconfigs::wanted(node) {
        // The agent's own is renewed by itself.
        if name == "kubelet" {
            continue;
        }
        let text = files::read_optional(&layout.kubeconfig(name))?;
        let certificate = text.as_deref().and_then(client_certificate);
        let expires = certificate.as_deref().and_then(orlop_pki::expires);
        all.push((format!("{name}.conf"), Signer::Cluster, expires));
    }
    for wanted in certificates::wanted(cluster, node)? {
        let text = files::read_optional(&layout.pki().join(format!("{}.crt", wanted.file)))?;
        let expires = text.as_deref().and_then(orlop_pki::expires);
        all.push((wanted.label(), wanted.signer, expires));
    }
    all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    Ok(all)
}

/// When each certificate of the node ends: leaves, then authorities. What is not there is left out.
pub fn check(
    layout: &Layout,
    cluster: &ClusterConfig,
    node: &NodeConfig,
) -> Result<(Vec<Ends>, Vec<Ends>), ClusterError> {
    let is_external = |signer: Signer| !signer.key(layout).is_file();
    let there = |(name, signer, expires): (String, Signer, Option<Timestamp>)| {
        Some(Ends {
            name,
            expires: expires?,
            authority: signer.label(),
            is_external: is_external(signer),
        })
    };
    let leaves = listed(layout, cluster, node)?.into_iter().filter_map(there);
    let leaves = leaves.collect();
    let mut authorities = Vec::new();
    for signer in Signer::ALL {
        let text = files::read_optional(&signer.certificate(layout))?;
        if let Some(expires) = text.as_deref().and_then(orlop_pki::expires) {
            authorities.push(Ends {
                name: signer.label().to_owned(),
                expires,
                authority: "",
                is_external: is_external(signer),
            });
        }
    }
    Ok((leaves, authorities))
}

/// Names of the certificates that a master may have and this one has not, in order.
pub fn missing(
    layout: &Layout,
    cluster: &ClusterConfig,
    node: &NodeConfig,
) -> Result<Vec<String>, ClusterError> {
    let missing = listed(layout, cluster, node)?.into_iter();
    Ok(missing
        .filter(|(.., expires)| expires.is_none())
        .map(|(name, ..)| name)
        .collect())
}

/// Signs certificates anew, however long the old ones would last: `which` is a name of the listing, or `all`. What they
/// are for is read out of the old ones, so that no API server is needed, which may be what a certificate has ended for. Those of
/// authorities whose keys are kept elsewhere are not among all.
pub fn renew(layout: &Layout, node: &NodeConfig, which: &str) -> Result<Vec<String>, ClusterError> {
    let is_meant = |name: &str| which == "all" || which == name;
    let mut renewed = Vec::new();
    for mut wanted in certificates::wanted(&ClusterConfig::new(""), node)? {
        let label = wanted.label();
        let path = wanted.path(layout, "crt");
        if !is_meant(&label) || !path.is_file() || !external::may_sign(layout, wanted.signer, which)? {
            continue;
        }
        let unreadable =
            || ClusterError::unusable(&path, "it holds no certificate whose names a new one could have");
        (wanted.request.dns_names, wanted.request.addresses) =
            orlop_pki::names_of(&files::read(&path)?).ok_or_else(unreadable)?;
        sign(layout, &wanted)?;
        renewed.push(label);
    }
    for (name, identity, _) in kubeconfigs::wanted(node) {
        let label = format!("{name}.conf");
        let path = layout.kubeconfig(name);
        if name == "kubelet"
            || !is_meant(&label)
            || !path.is_file()
            || !external::may_sign(layout, Signer::Cluster, which)?
        {
            continue;
        }
        files::finish_rewrite(&path)?;
        let leaf = authority(layout, Signer::Cluster)?.sign(&kubeconfigs::request(identity))?;
        let text = kubeconfigs::with_identity(&label, &files::read(&path)?, &leaf)?;
        files::rewrite(&path, &text)?;
        renewed.push(label);
    }
    let is_all_elsewhere = which == "all" && external::first(layout).is_some();
    if renewed.is_empty() && !is_all_elsewhere {
        return Err(ClusterError::Configuration(format!(
            "{which} is no certificate of this node: `orlop certs check-expiration` lists them"
        )));
    }
    Ok(renewed)
}

fn authority(layout: &Layout, signer: Signer) -> Result<Authority, ClusterError> {
    Ok(Authority::open(&signer.certificate(layout), &signer.key(layout))?)
}

fn sign(layout: &Layout, wanted: &Wanted) -> Result<(), ClusterError> {
    let leaf = authority(layout, wanted.signer)?.sign(&wanted.request)?;
    files::write_private(&wanted.path(layout, "key"), &leaf.key)?;
    files::write_public(&wanted.path(layout, "crt"), &leaf.certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn people_are_told_a_month_before_a_certificate_ends_and_when_it_has() {
        let at = |days: i64| Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap();
        let ends = |name: &str, days, authority| Ends {
            name: name.to_owned(),
            expires: at(days),
            authority,
            is_external: false,
        };
        let leaves = [ends("apiserver", 40, "ca"), ends("admin.conf", 100, "ca")];
        let authorities = [ends("ca", 1000, "")];
        for (day, told, next) in [
            (0, vec![], Some(at(10))),
            (11, vec!["CertificateExpiresSoon"], Some(at(40))),
            (40, vec!["CertificateExpired"], Some(at(70))),
            (
                80,
                vec!["CertificateExpired", "CertificateExpiresSoon"],
                Some(at(100)),
            ),
            (
                990,
                vec![
                    "CertificateExpired",
                    "CertificateExpired",
                    "CertificateExpiresSoon",
                ],
                Some(at(1000)),
            ),
            (1000, vec!["CertificateExpired"; 3], None),
        ] {
            let warnings = warnings(&leaves, &authorities, at(day));
            let reasons: Vec<&str> = warnings.iter().map(|warning| warning.reason).collect();
            assert_eq!(reasons, told, "day {day}");
            assert_eq!(next_warning(&leaves, &authorities, at(day)), next, "day {day}");
        }
        let shown = described(&leaves, &["admission".to_owned()], &authorities, at(0));
        let shown_names: Vec<&Value> = shown["certificates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["name"])
            .collect();
        assert_eq!(shown_names, ["admin.conf", "admission", "apiserver"]);
        assert_eq!(shown["certificates"][1]["missing"], true);
        assert_eq!(shown["certificates"][2]["residualTime"], 40 * 86_400);
        assert_eq!(shown["certificates"][2]["caName"], "ca");
        assert_eq!(
            shown["certificateAuthorities"][0]["expirationDate"],
            "2029-10-11T08:00:00Z"
        );
        let soon = &warnings(&leaves, &authorities, at(11))[0];
        assert!(
            soon.message
                .contains("certificate apiserver of this master ends in 29d")
                && soon.message.contains("`orlop certs renew apiserver`"),
            "{}",
            soon.message
        );
    }

    fn without_user(kubeconfig: &str) -> Value {
        let mut document: Value = serde_saphyr::from_str(kubeconfig).unwrap();
        document["users"][0]["user"] = Value::Null;
        document
    }

    #[test]
    fn certificates_are_listed_and_renewed_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let cluster = ClusterConfig {
            cert_sans: vec!["api.example".to_owned()],
            cluster_name: "mine".to_owned(),
            ..ClusterConfig::new("v1.36.0")
        };
        let node = NodeConfig {
            name: "master-01".to_owned(),
            address: IpAddr::from([10, 0, 0, 1]),
            api_port: 6443,
        };
        certificates::ensure(&layout, &cluster, &node).unwrap();
        kubeconfigs::ensure(&layout, &cluster, &node, &["admin", "scheduler"]).unwrap();
        let (leaves, authorities) = check(&layout, &cluster, &node).unwrap();
        let names: Vec<&str> = leaves.iter().map(|ends| ends.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "admin.conf",
                "apiserver",
                "apiserver-etcd-client",
                "apiserver-kubelet-client",
                "etcd-healthcheck-client",
                "etcd-peer",
                "etcd-server",
                "front-proxy-client",
                "scheduler.conf",
            ]
        );
        assert_eq!(authorities.len(), 3);
        let absent = ["controller-manager.conf", "super-admin.conf"];
        assert_eq!(missing(&layout, &cluster, &node).unwrap(), absent);
        let now = Timestamp::now();
        assert!(
            leaves[0].residual(now).ends_with('d'),
            "{}",
            leaves[0].residual(now)
        );

        let read = |name: &str| files::read(&layout.pki().join(name)).unwrap();
        let (apiserver, peer) = (read("apiserver.crt"), read("etcd/peer.crt"));
        assert_eq!(renew(&layout, &node, "etcd-peer").unwrap(), ["etcd-peer"]);
        assert_eq!(read("apiserver.crt"), apiserver);
        assert_ne!(read("etcd/peer.crt"), peer);
        let names = orlop_pki::names_of(&apiserver).unwrap();
        let scheduler = std::fs::read_to_string(layout.kubeconfig("scheduler")).unwrap();
        let all = renew(&layout, &node, "all").unwrap();
        assert_eq!(all.len(), 9);
        assert_ne!(read("apiserver.crt"), apiserver);
        assert!(names.0.contains(&"api.example".to_owned()), "{names:?}");
        assert_eq!(orlop_pki::names_of(&read("apiserver.crt")).unwrap(), names);
        let again = std::fs::read_to_string(layout.kubeconfig("scheduler")).unwrap();
        assert_ne!(client_certificate(&again), client_certificate(&scheduler));
        assert_eq!(without_user(&again), without_user(&scheduler));
        // An earlier run was killed while it wrote one.
        std::fs::write(layout.kubeconfig("admin"), "").unwrap();
        files::write_private(&files::next(&layout.kubeconfig("admin")), &again).unwrap();
        assert_eq!(renew(&layout, &node, "admin.conf").unwrap(), ["admin.conf"]);
        let mended = std::fs::read_to_string(layout.kubeconfig("admin")).unwrap();
        assert_eq!(without_user(&mended), without_user(&again));
        let error = renew(&layout, &node, "nonsense").unwrap_err().to_string();
        assert!(error.contains("check-expiration"), "{error}");

        // Where the key of an authority is kept elsewhere, what it signed is not renewed here.
        std::fs::remove_file(Signer::Etcd.key(&layout)).unwrap();
        let (leaves, authorities) = check(&layout, &cluster, &node).unwrap();
        for ends in leaves.iter().chain(&authorities) {
            let is_etcds = ends.authority == "etcd-ca" || ends.name == "etcd-ca";
            assert_eq!(ends.is_external, is_etcds, "{}", ends.name);
        }
        assert_eq!(renew(&layout, &node, "all").unwrap().len(), 5);
        let error = renew(&layout, &node, "etcd-peer").unwrap_err().to_string();
        assert!(error.contains("etcd/ca.key"), "{error}");
    }
}
