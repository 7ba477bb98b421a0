//! The well-known signers, and what each accepts.

use std::time::Duration;

use orlop_pki::{Asked, Usage};

use crate::cache::CertificateRequestView;

const NODES: &str = "system:nodes";
const NODE: &str = "system:node:";
const LIFETIME_MIN: Duration = Duration::from_secs(600);

/// A signer that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// Clients of the API server.
    Client,
    /// Node agents as clients of the API server.
    NodeClient,
    /// Node agents as servers.
    NodeServing,
    /// Anything, for no particular purpose.
    Legacy,
}

impl Signer {
    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "kubernetes.io/kube-apiserver-client" => Some(Self::Client),
            "kubernetes.io/kube-apiserver-client-kubelet" => Some(Self::NodeClient),
            "kubernetes.io/kubelet-serving" => Some(Self::NodeServing),
            "kubernetes.io/legacy-unknown" => Some(Self::Legacy),
            _ => None,
        }
    }

    /// What a certificate of the request may be used for, or why there is none.
    pub fn accepts(self, request: &Asked, usages: &[String]) -> Result<Usage, &'static str> {
        let asks_for = |usage: &str| usages.iter().any(|asked| asked == usage);
        let only = |allowed: &[&str]| usages.iter().all(|asked| allowed.contains(&asked.as_str()));
        let (client, server) = (asks_for("client auth"), asks_for("server auth"));
        match self {
            Self::Client => {
                if !only(&["client auth", "digital signature", "key encipherment"]) || !client {
                    return Err("usages did not match: client auth, digital signature, key encipherment");
                }
                Ok(Usage::Client)
            }
            Self::NodeClient => {
                is_node(request)?;
                if request.dns_names + request.addresses + request.other_names > 0 {
                    return Err("subject alternative names are not allowed");
                }
                if !only(&["client auth", "digital signature", "key encipherment"])
                    || !client
                    || !asks_for("digital signature")
                {
                    return Err("usages did not match: client auth, digital signature, key encipherment");
                }
                Ok(Usage::Client)
            }
            Self::NodeServing => {
                is_node(request)?;
                if request.other_names > 0 {
                    return Err("email addresses and URIs are not allowed");
                }
                if request.dns_names + request.addresses == 0 {
                    return Err("a DNS name or an IP address is required");
                }
                if !only(&["server auth", "digital signature", "key encipherment"])
                    || !server
                    || !asks_for("digital signature")
                {
                    return Err("usages did not match: server auth, digital signature, key encipherment");
                }
                Ok(Usage::Server)
            }
            Self::Legacy => match (client, server) {
                (true, true) => Ok(Usage::ServerAndClient),
                (true, false) => Ok(Usage::Client),
                (false, true) => Ok(Usage::Server),
                (false, false) => Err("usages must include client auth or server auth"),
            },
        }
    }
}

fn is_node(request: &Asked) -> Result<(), &'static str> {
    if request.identity.groups != [NODES] {
        return Err("subject organization is not system:nodes");
    }
    if !request.identity.user.starts_with(NODE) {
        return Err("subject common name does not begin with system:node:");
    }
    Ok(())
}

/// How long the certificate is valid: as asked, but not longer than `most`.
pub fn lifetime(request: &CertificateRequestView, most: Duration) -> Duration {
    let asked = request
        .spec
        .expiration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    asked.map_or(most, |seconds| {
        Duration::from_secs(seconds).max(LIFETIME_MIN).min(most)
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use orlop_pki::Identity;

    /// A request as a node agent makes it, with that many names.
    pub fn request(user: &str, group: &str, dns_names: usize) -> Asked {
        Asked {
            identity: Identity::new(user, &[group]),
            dns_names,
            addresses: 0,
            other_names: 0,
        }
    }

    #[test]
    fn each_signer_accepts_what_it_is_for() {
        let client: &[&str] = &["client auth", "digital signature"];
        let server: &[&str] = &["server auth", "digital signature", "key encipherment"];
        for (signer, user, group, names, usages, want) in [
            (
                Signer::NodeClient,
                "system:node:a",
                NODES,
                0,
                client,
                Some(Usage::Client),
            ),
            (Signer::NodeClient, "a", NODES, 0, client, None),
            (Signer::NodeClient, "system:node:a", "others", 0, client, None),
            (Signer::NodeClient, "system:node:a", NODES, 1, client, None),
            (Signer::NodeClient, "system:node:a", NODES, 0, server, None),
            (
                Signer::NodeServing,
                "system:node:a",
                NODES,
                1,
                server,
                Some(Usage::Server),
            ),
            (Signer::NodeServing, "system:node:a", NODES, 0, server, None),
            (Signer::NodeServing, "system:node:a", NODES, 1, client, None),
            (Signer::Client, "alice", "devs", 0, client, Some(Usage::Client)),
            (Signer::Client, "alice", "devs", 0, server, None),
            (Signer::Legacy, "alice", "devs", 1, server, Some(Usage::Server)),
        ] {
            let usages: Vec<String> = usages.iter().map(ToString::to_string).collect();
            let accepted = signer.accepts(&request(user, group, names), &usages);
            assert_eq!(
                accepted.ok(),
                want,
                "{signer:?} {user} {group} {names} {usages:?}"
            );
        }
    }
}
