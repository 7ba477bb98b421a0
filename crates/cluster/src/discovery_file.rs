//! How a machine comes to trust a cluster by a file (`--discovery-file`): a kubeconfig that somebody gave it, taken at its
//! word. It may also say as whom the node asks for its certificate.
use crate::discovery::Cluster;
use crate::{ClusterError, files, yaml};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::path::Path;

/// By which a node may be known. Programs that make credentials, and passwords, are not followed.
const CREDENTIALS: [&str; 6] = [
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "tokenFile",
];

/// A kubeconfig, with all that it refers to.
pub struct File<'a> {
    path: &'a Path,
    document: Value,
}

impl<'a> File<'a> {
    /// Reads it; what it refers to is read when it is asked for.
    pub fn open(path: &'a Path) -> Result<Self, ClusterError> {
        let document = yaml::read(&path.display().to_string(), &files::read(path)?)?;
        Ok(Self { path, document })
    }

    /// The cluster of its current context, or one without a name, as `cluster-info` has it.
    pub fn cluster(&self) -> Result<Cluster, ClusterError> {
        let named = self
            .named("clusters", "")
            .or_else(|| self.of_context("clusters", "cluster"));
        let named = named.ok_or_else(|| {
            self.unusable("it has no cluster without a name, and none of its current context")
        })?;
        self.trusted(&named["cluster"])
    }

    /// The user of its current context, as a kubeconfig has it, if there are credentials. Not looked at by who is known
    /// otherwise.
    pub fn user(&self) -> Result<Option<Value>, ClusterError> {
        match self.of_context("users", "user") {
            Some(named) => self.credentials(&named["user"]),
            None => Ok(None),
        }
    }

    /// What the current context refers to.
    fn of_context(&self, list: &str, field: &str) -> Option<&Value> {
        let current = self.document["current-context"].as_str().unwrap_or_default();
        let context = self.named("contexts", current)?;
        self.named(list, context["context"][field].as_str()?)
    }

    fn unusable(&self, reason: impl Into<String>) -> ClusterError {
        ClusterError::unusable(self.path, reason)
    }

    fn named(&self, list: &str, name: &str) -> Option<&Value> {
        let mut items = self.document[list].as_array()?.iter();
        items.find(|item| item["name"].as_str().unwrap_or_default() == name)
    }

    fn trusted(&self, cluster: &Value) -> Result<Cluster, ClusterError> {
        let server = text(&cluster["server"]).filter(|server| server.starts_with("https://"));
        let server =
            server.ok_or_else(|| self.unusable("its cluster names no server that begins with https://"))?;
        let authority = self
            .bytes(cluster, "certificate-authority")?
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|authority| orlop_pki::public_key_hash(authority).is_some());
        let authority =
            authority.ok_or_else(|| self.unusable("its cluster has no authority to trust it by"))?;
        Ok(Cluster {
            server: server.to_owned(),
            authority,
        })
    }

    fn credentials(&self, user: &Value) -> Result<Option<Value>, ClusterError> {
        let mut fields = user.as_object().into_iter().flatten();
        let is_unknown = |(field, value): &(&String, &Value)| {
            !CREDENTIALS.contains(&field.as_str()) && !crate::extras::is_empty(value)
        };
        if let Some((field, _)) = fields.find(is_unknown) {
            return Err(self.unusable(format!(
                "{field} of its user is not followed: put a token or a client certificate there, or give --tls-bootstrap-token"
            )));
        }
        let mut own = Map::new();
        let token = match text(&user["token"]) {
            Some(token) => Some(token.to_owned()),
            None => self
                .referred(user, "tokenFile")?
                .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()),
        };
        if let Some(token) = token {
            own.insert("token".to_owned(), json!(token));
        }
        match (
            self.bytes(user, "client-certificate")?,
            self.bytes(user, "client-key")?,
        ) {
            (Some(certificate), Some(key)) => {
                own.insert(
                    "client-certificate-data".to_owned(),
                    json!(STANDARD.encode(certificate)),
                );
                own.insert("client-key-data".to_owned(), json!(STANDARD.encode(key)));
            }
            (None, None) => {}
            _ => return Err(self.unusable("of its user's certificate and key there is one only")),
        }
        Ok((!own.is_empty()).then_some(Value::Object(own)))
    }

    /// What is in the document itself, or in the file that it refers to.
    fn bytes(&self, of: &Value, field: &str) -> Result<Option<Vec<u8>>, ClusterError> {
        let within = format!("{field}-data");
        match text(&of[within.as_str()]) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map(Some)
                .map_err(|why| self.unusable(format!("{within}: {why}"))),
            None => self.referred(of, field),
        }
    }

    /// What is in a file that the document refers to, from where itself is.
    fn referred(&self, of: &Value, field: &str) -> Result<Option<Vec<u8>>, ClusterError> {
        let Some(name) = text(&of[field]) else {
            return Ok(None);
        };
        let path = self.path.with_file_name("").join(name);
        std::fs::read(&path)
            .map(Some)
            .map_err(ClusterError::file("read", &path))
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_pki::Authority;

    fn authority() -> String {
        Authority::ephemeral("kubernetes")
            .unwrap()
            .certificate()
            .to_owned()
    }

    /// What is read of a document in a directory with other files.
    fn found(
        document: &Value,
        beside: &[(&str, &str)],
    ) -> Result<(Cluster, Result<Option<Value>, ClusterError>), ClusterError> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in beside {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let path = directory.path().join("discovery.conf");
        std::fs::write(&path, document.to_string()).unwrap();
        let file = File::open(&path)?;
        Ok((file.cluster()?, file.user()))
    }

    fn document(cluster: &Value, user: &Value) -> Value {
        json!({
            "clusters": [{"name": "other", "cluster": {}}, {"name": "mine", "cluster": cluster}],
            "contexts": [{"name": "c", "context": {"cluster": "mine", "user": "u"}}],
            "current-context": "c",
            "users": [{"name": "u", "user": user}],
        })
    }

    #[test]
    fn what_the_cluster_tells_of_itself_is_a_discovery_file_without_a_user() {
        let authority = authority();
        let info = crate::kubeconfigs::cluster_info("https://10.0.0.1:6443", &authority);
        let (cluster, user) = found(&info, &[]).unwrap();
        assert_eq!(cluster.server, "https://10.0.0.1:6443");
        assert_eq!(cluster.authority, authority);
        assert_eq!(user.unwrap(), None);
    }

    #[test]
    fn the_current_context_counts_and_files_beside_it_are_read() {
        let authority = authority();
        let cluster = json!({"server": "https://a:6443", "certificate-authority": "ca.crt"});
        let beside = [
            ("ca.crt", authority.as_str()),
            ("t", "a.b\n"),
            ("c.pem", "C"),
            ("k.pem", "K"),
        ];
        for (user, want) in [
            (json!({}), None),
            (json!({"token": "a.b"}), Some(json!({"token": "a.b"}))),
            (json!({"tokenFile": "t"}), Some(json!({"token": "a.b"}))),
            (
                json!({"client-certificate": "c.pem", "client-key": "k.pem"}),
                Some(json!({
                    "client-certificate-data": STANDARD.encode("C"),
                    "client-key-data": STANDARD.encode("K"),
                })),
            ),
        ] {
            let (cluster, user) = found(&document(&cluster, &user), &beside).unwrap();
            assert_eq!(cluster.authority, authority);
            assert_eq!(user.unwrap(), want);
        }
    }

    #[test]
    fn what_cannot_be_trusted_or_followed_is_refused_with_the_file() {
        let good = json!({
            "server": "https://a:6443",
            "certificate-authority-data": STANDARD.encode(authority()),
        });
        let with = |field: &str, value: &str| {
            let mut cluster = good.clone();
            cluster[field] = json!(value);
            document(&cluster, &Value::Null)
        };
        for (document, want) in [
            (json!({"clusters": [{"name": "x"}]}), "no cluster without a name"),
            (with("server", "http://a:6443"), "https://"),
            (with("certificate-authority-data", ""), "no authority"),
            (with("certificate-authority-data", "AAAA"), "no authority"),
            (
                document(&good, &json!({"exec": {"command": "x"}})),
                "exec of its user is not followed",
            ),
            (document(&good, &json!({"client-key-data": "AAAA"})), "one only"),
        ] {
            let user = found(&document, &[]).and_then(|(_, user)| user);
            let error = user.unwrap_err().to_string();
            assert!(
                error.contains(want) && error.contains("discovery.conf"),
                "{error}"
            );
        }
    }

    /// Who has another token for that needs no credentials that can be followed.
    #[test]
    fn a_cluster_is_trusted_whatever_its_user_is() {
        let good = json!({
            "server": "https://a:6443",
            "certificate-authority-data": STANDARD.encode(authority()),
        });
        let (cluster, user) = found(&document(&good, &json!({"exec": {"command": "x"}})), &[]).unwrap();
        assert_eq!(cluster.server, "https://a:6443");
        assert!(user.is_err());
    }
}
