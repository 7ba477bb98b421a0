//! Kubeconfig files, as far as they say where a server is and how one presents oneself to it.
use super::RemoteError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use orlop_api::wire;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file; paths in it are relative to its directory.
pub struct KubeconfigFile {
    path: PathBuf,
    config: Value,
}

/// How one presents oneself.
#[derive(Debug, Default)]
pub struct Credentials {
    /// Certificate and key, PEM.
    pub identity: Option<(String, String)>,
    pub authorization: Option<HeaderValue>,
}

impl KubeconfigFile {
    /// # Errors
    /// It cannot be read, or is no YAML.
    pub fn read(path: &Path) -> Result<Self, RemoteError> {
        let config = wire::from_yaml(&bytes(path)?);
        Ok(Self {
            config: config.map_err(|error| RemoteError::Unusable {
                path: path.to_owned(),
                reason: error.to_string(),
            })?,
            path: path.to_owned(),
        })
    }

    pub fn unusable(&self, reason: String) -> RemoteError {
        RemoteError::Unusable {
            path: self.path.clone(),
            reason,
        }
    }

    /// What the entry of a name has in one of the lists; nothing if there is none.
    fn named(&self, list: &str, name: &str, member: &str) -> Value {
        let entries = self.config[list].as_array().into_iter().flatten();
        let own = entries.filter(|entry| entry["name"] == name);
        own.map(|entry| entry[member].clone()).next().unwrap_or_default()
    }

    /// The cluster and the user of the current context.
    pub fn current(&self) -> (Value, Value) {
        let context = self.named("contexts", text(&self.config["current-context"]), "context");
        (
            self.named("clusters", text(&context["cluster"]), "cluster"),
            self.named("users", text(&context["user"]), "user"),
        )
    }

    /// A certificate or a key, PEM, in place or in a file.
    ///
    /// # Errors
    /// It is none.
    pub fn pem(&self, entry: &Value, key: &str) -> Result<Option<String>, RemoteError> {
        let bytes = match entry[format!("{key}-data")].as_str() {
            Some(data) => STANDARD
                .decode(data)
                .map_err(|e| self.unusable(format!("{key}-data: {e}")))?,
            None => match entry[key].as_str() {
                Some(named) => bytes(&self.beside(named))?,
                None => return Ok(None),
            },
        };
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| self.unusable(format!("{key} is no PEM")))
    }

    /// How a user presents itself.
    ///
    /// # Errors
    /// What it refers to is not there, or is none.
    pub fn credentials(&self, user: &Value) -> Result<Credentials, RemoteError> {
        let identity = self
            .pem(user, "client-certificate")?
            .zip(self.pem(user, "client-key")?);
        let token = match user["tokenFile"].as_str() {
            Some(named) => String::from_utf8_lossy(&bytes(&self.beside(named))?)
                .trim()
                .to_owned(),
            None => text(&user["token"]).to_owned(),
        };
        let name = text(&user["username"]);
        let scheme = if !token.is_empty() {
            Some(format!("Bearer {token}"))
        } else if !name.is_empty() {
            let pair = format!("{name}:{}", text(&user["password"]));
            Some(format!("Basic {}", STANDARD.encode(pair)))
        } else {
            None
        };
        let authorization = scheme
            .map(|scheme| HeaderValue::from_str(&scheme))
            .transpose()
            .map_err(|_| self.unusable("its token is none".to_owned()))?;
        Ok(Credentials {
            identity,
            authorization,
        })
    }

    fn beside(&self, named: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(named)
    }
}

/// As whom webhooks are asked: users of a kubeconfig file that are named as the webhooks' servers are.
#[derive(Debug, Default)]
pub struct WebhookClients {
    by_server: BTreeMap<String, Arc<Credentials>>,
    current: Option<Arc<Credentials>>,
}

impl WebhookClients {
    /// # Errors
    /// What one of the users refers to is not there, or is none.
    pub fn of(file: &KubeconfigFile) -> Result<Self, RemoteError> {
        let mut by_server = BTreeMap::new();
        for entry in file.config["users"].as_array().into_iter().flatten() {
            let credentials = Arc::new(file.credentials(&entry["user"])?);
            by_server.insert(text(&entry["name"]).to_owned(), credentials);
        }
        let (_, current) = file.current();
        let current = (!current.is_null())
            .then(|| file.credentials(&current))
            .transpose()?;
        Ok(Self {
            by_server,
            current: current.map(Arc::new),
        })
    }

    /// How one presents oneself to a server: as the user of its name and port, of its domain (`*.svc`), of its name alone
    /// where the port is 443, of any server (`*`), or of the current context.
    pub fn for_server(&self, host: &str, port: u16) -> Option<Arc<Credentials>> {
        let whole = format!("{host}:{port}");
        let bare = (port == 443).then_some(host);
        let names = std::iter::once(whole.as_str()).chain(bare);
        let found = names
            .flat_map(|name| std::iter::once(name.to_owned()).chain(domains(name)))
            .find_map(|name| self.by_server.get(&name))
            .or_else(|| self.by_server.get("*"))
            .or(self.current.as_ref());
        found.cloned()
    }
}

/// `*.b.c` and `*.c` of `a.b.c`.
fn domains(name: &str) -> impl Iterator<Item = String> {
    name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn bytes(path: &Path) -> Result<Vec<u8>, RemoteError> {
    std::fs::read(path).map_err(|error| RemoteError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_webhook_is_asked_as_the_user_that_is_named_most_like_its_server() {
        let user = |name: &str| json!({"name": name, "user": {"token": format!("of {name}")}});
        let file = |users: &[&str]| KubeconfigFile {
            path: PathBuf::from("/etc/k.conf"),
            config: json!({"current-context": "c", "contexts": [{"name": "c", "context": {"user": "mine"}}],
                "users": users.iter().map(|name| user(name)).collect::<Vec<_>>()}),
        };
        let all = [
            "hook.ns.svc:8443",
            "hook.ns.svc",
            "*.ns.svc",
            "*.svc",
            "*.svc:8443",
            "*",
            "mine",
        ];
        for (users, host, port, wanted) in [
            (&all[..], "hook.ns.svc", 8443, "hook.ns.svc:8443"),
            (&all, "hook.ns.svc", 443, "hook.ns.svc"),
            (&all, "other.ns.svc", 443, "*.ns.svc"),
            (&all, "other.x.svc", 443, "*.svc"),
            (&all, "other.x.svc", 8443, "*.svc:8443"),
            (&all, "127.0.0.1", 9443, "*"),
            (&["mine", "x"], "127.0.0.1", 9443, "mine"),
        ] {
            let clients = WebhookClients::of(&file(users)).unwrap();
            let found = clients.for_server(host, port).unwrap();
            let wanted = format!("Bearer of {wanted}");
            assert_eq!(found.authorization.as_ref().unwrap(), wanted.as_str());
        }
        let nobody = WebhookClients::of(&file(&["x"])).unwrap();
        assert!(nobody.for_server("127.0.0.1", 9443).is_none());
        let basic = file(&[])
            .credentials(&json!({"username": "u", "password": "p"}))
            .unwrap();
        assert_eq!(basic.authorization.unwrap(), "Basic dTpw");
    }
}
