//! Kubeconfig files with embedded certificates.
use crate::files::{self, Secrecy};
use crate::{Authority, Identity, Leaf, LeafRequest, PkiError, Usage};
use base64::Engine;
use serde_json::{Value, json};
use std::path::Path;

/// What a kubeconfig points at, and as whom.
#[derive(Clone, Debug)]
pub struct Kubeconfig<'a> {
    /// URL of the API server, such as `https://10.0.0.1:6443`.
    pub server: &'a str,
    /// Name of the cluster entry.
    pub cluster: &'a str,
    pub identity: Identity,
}

impl Kubeconfig<'_> {
    /// Writes the kubeconfig to `path` (mode 0600), keeping a file that is still good: same server,
    /// same authority, same identity, certificate not about to end.
    pub fn ensure(&self, path: &Path, authority: &Authority) -> Result<(), PkiError> {
        let request = LeafRequest {
            identity: self.identity.clone(),
            usage: Usage::Client,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        };
        if let Some(text) = files::read_optional(path)?
            && self.still_good(&text, authority, &request)
        {
            return Ok(());
        }
        self.write(path, authority)
    }

    /// Writes it with a new certificate.
    pub fn write(&self, path: &Path, authority: &Authority) -> Result<(), PkiError> {
        let leaf = authority.sign(&LeafRequest {
            identity: self.identity.clone(),
            usage: Usage::Client,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        })?;
        let text = self.render(authority.certificate(), &leaf);
        files::write(path, text.as_bytes(), Secrecy::Private)
    }

    fn still_good(&self, text: &str, authority: &Authority, request: &LeafRequest) -> bool {
        // The files are written as JSON, which is YAML; one that a person rewrote is left to them
        // only as long as it is still JSON.
        let Ok(config) = serde_json::from_str::<Value>(text) else {
            return false;
        };
        let pem = |pointer: &str| {
            let bytes = base64_engine().decode(config.pointer(pointer)?.as_str()?).ok()?;
            String::from_utf8(bytes).ok()
        };
        config
            .pointer("/clusters/0/cluster/server")
            .and_then(Value::as_str)
            == Some(self.server)
            && pem("/clusters/0/cluster/certificate-authority-data").as_deref()
                == Some(authority.certificate())
            && matches!(
                (pem("/users/0/user/client-certificate-data"), pem("/users/0/user/client-key-data")),
                (Some(certificate), Some(key)) if authority.still_good(&certificate, &key, request)
            )
    }

    fn render(&self, authority: &str, leaf: &Leaf) -> String {
        let encode = |text: &str| base64_engine().encode(text);
        let user = &self.identity.user;
        let context = format!("{user}@{}", self.cluster);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.cluster, "cluster": {
                "server": self.server,
                "certificate-authority-data": encode(authority),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": encode(&leaf.certificate),
                "client-key-data": encode(&leaf.key),
            }}],
            "contexts": [{"name": context, "context": {"cluster": self.cluster, "user": user}}],
            "current-context": context,
        });
        format!("{config:#}\n")
    }
}

fn base64_engine() -> base64::engine::GeneralPurpose {
    base64::engine::general_purpose::STANDARD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfig_is_kept_until_its_server_changes() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::ensure(dir.path(), "ca", "kubernetes").unwrap();
        let path = dir.path().join("admin.conf");
        let identity = Identity::new("kubernetes-admin", &["system:masters"]);
        let write = |server: &str| {
            let config = Kubeconfig {
                server,
                cluster: "kubernetes",
                identity: identity.clone(),
            };
            config.ensure(&path, &authority).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let first = write("https://127.0.0.1:6443");
        assert_eq!(first, write("https://127.0.0.1:6443"));
        let moved = write("https://127.0.0.1:7443");
        assert_ne!(first, moved);
        assert!(moved.contains("https://127.0.0.1:7443"));
    }
}
