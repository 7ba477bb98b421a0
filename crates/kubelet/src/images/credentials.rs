//! Who the node says it is to a registry: the pod's pull secrets and the node's own `config.json` (contract, node agent
//! §9.5). Pure.
use super::providers::host_fits;
use orlop_cri::v1::AuthConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Names under which Docker's own registry is known.
const DOCKER: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// One entry of a secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    username: String,
    password: String,
    /// `user:password` in base64, as the runtime takes it too.
    auth: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
}

/// `.dockerconfigjson`, and the agent's `config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Entry>,
}

/// What pods may be let in with: the place that each entry is for, and the entry.
#[derive(Clone, Debug, Default)]
pub struct Credentials(Vec<(Place, Login)>);

/// What a login is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pull secret.
    Secret,
    /// A provider was asked on behalf of a pod's account.
    Account,
}

/// The object that a login is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: Kind,
    pub uid: String,
    pub namespace: String,
    pub name: String,
}

impl Owner {
    pub fn secret(uid: String, namespace: String, name: String) -> Self {
        Self {
            kind: Kind::Secret,
            uid,
            namespace,
            name,
        }
    }

    pub fn account(uid: String, namespace: String, name: String) -> Self {
        Self {
            kind: Kind::Account,
            uid,
            namespace,
            name,
        }
    }
}

/// What one registry may be told.
#[derive(Clone, Debug)]
pub struct Login {
    pub auth: AuthConfig,
    /// `None`: it is the node's own.
    pub owner: Option<Owner>,
}

impl Login {
    /// All that it says, in one text: logins that say the same are the same.
    pub(super) fn words(&self) -> String {
        let auth = &self.auth;
        let plain = || String::from_utf8(decode(&auth.auth)?).ok();
        let (username, password) = (auth.username.clone(), auth.password.clone());
        let (username, password) = match (username.is_empty(), plain()) {
            (true, Some(both)) => match both.split_once(':') {
                Some((username, password)) => (username.to_owned(), password.to_owned()),
                None => (both, String::new()),
            },
            _ => (username, password),
        };
        serde_json::json!([username, password, auth.identity_token]).to_string()
    }
}

/// Base64, as secrets have it.
fn decode(text: &str) -> Option<Vec<u8>> {
    serde_json::from_value::<k8s_openapi::ByteString>(text.into())
        .ok()
        .map(|bytes| bytes.0)
}

/// A registry, and the beginning of the images' paths in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: String,
    path: String,
}

impl Credentials {
    /// Adds those of a file in the newer form, or of a `.dockercfg`; one that is neither has none.
    pub fn add(&mut self, content: &[u8], owner: Option<Owner>) {
        let entries = match serde_json::from_slice::<File>(content) {
            Ok(file) if !file.auths.is_empty() => file.auths,
            _ => serde_json::from_slice::<BTreeMap<String, Entry>>(content).unwrap_or_default(),
        };
        for (place, entry) in entries {
            let auth = AuthConfig {
                username: entry.username,
                password: entry.password,
                auth: entry.auth,
                identity_token: entry.identity_token,
                // Runtimes take no address but a URL; which registry it is for has been looked at here.
                ..AuthConfig::default()
            };
            let owner = owner.clone();
            self.0.push((Place::of_key(&place), Login { auth, owner }));
        }
    }

    /// Adds one for a registry, or the beginning of its repositories.
    pub fn add_login(&mut self, place: &str, username: &str, password: &str, owner: Option<Owner>) {
        let auth = AuthConfig {
            username: username.to_owned(),
            password: password.to_owned(),
            ..AuthConfig::default()
        };
        self.0.push((Place::of_key(place), Login { auth, owner }));
    }

    /// Those that fit an image, the most particular first.
    pub fn of(&self, image: &str) -> Vec<Login> {
        let image = Place::of_image(image);
        let mut fitting: Vec<&(Place, Login)> =
            self.0.iter().filter(|(place, _)| place.covers(&image)).collect();
        fitting.sort_by_key(|(place, _)| std::cmp::Reverse(place.path.len()));
        fitting.into_iter().map(|(_, login)| login.clone()).collect()
    }
}

impl Place {
    /// `https://host/v1/` and `host/path` alike.
    fn of_key(key: &str) -> Self {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let path = path.trim_matches('/');
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        Self {
            host: usual(host),
            path: path.to_owned(),
        }
    }

    fn of_image(image: &str) -> Self {
        let image = image.split('@').next().unwrap_or_default();
        let (host, path) = match image.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (DOCKER[0], image),
        };
        // A port is the host's, what follows a colon in the path is the tag.
        let path = path.split(':').next().unwrap_or_default();
        Self {
            host: usual(host),
            path: path.to_owned(),
        }
    }

    fn covers(&self, image: &Self) -> bool {
        let is_below = self.path.is_empty()
            || image.path == self.path
            || image
                .path
                .strip_prefix(&self.path)
                .is_some_and(|rest| rest.starts_with('/'));
        is_below && host_fits(&self.host, &image.host)
    }
}

fn usual(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if DOCKER.contains(&host.as_str()) {
        return DOCKER[0].to_owned();
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B05.
    #[test]
    fn b05_credentials_are_for_their_registry_and_the_paths_below_theirs() {
        let mut credentials = Credentials::default();
        credentials.add(
            br#"{"auths": {"https://index.docker.io/v1/": {"auth": "ZG9ja2Vy"}, "quay.io/team": {"username": "team"},
                "quay.io": {"username": "all"}, "127.0.0.1:5000": {"username": "local"}, "*.example.com": {"username": "any"}}}"#,
            None,
        );
        credentials.add(br#"{"old.registry": {"username": "old", "password": "p"}}"#, None);
        credentials.add(b"nonsense", None);
        let names = |image: &str| -> Vec<String> {
            let found = credentials.of(image);
            found
                .into_iter()
                .map(|login| format!("{}{}", login.auth.username, login.auth.auth))
                .collect()
        };
        for (image, expected) in [
            ("busybox:1", vec!["ZG9ja2Vy"]),
            ("library/busybox", vec!["ZG9ja2Vy"]),
            ("quay.io/team/app:1", vec!["team", "all"]),
            ("quay.io/teams/app@sha256:ab", vec!["all"]),
            ("127.0.0.1:5000/busybox:debian", vec!["local"]),
            ("127.0.0.1:5001/busybox", vec![]),
            ("eu.example.com/x", vec!["any"]),
            ("a.eu.example.com/x", vec![]),
            ("old.registry/x", vec!["old"]),
        ] {
            assert_eq!(names(image), expected, "{image}");
        }
    }

    #[test]
    fn logins_that_say_the_same_are_the_same() {
        let words = |entry: &str| {
            let mut credentials = Credentials::default();
            credentials.add(format!(r#"{{"auths": {{"r.io": {entry}}}}}"#).as_bytes(), None);
            credentials.of("r.io/x").remove(0).words()
        };
        let plain = words(r#"{"username": "u", "password": "p:q"}"#);
        assert_eq!(words(r#"{"auth": "dTpwOnE="}"#), plain);
        assert_eq!(
            words(r#"{"auth": "dTpwOnE=", "username": "u", "password": "p:q"}"#),
            plain
        );
        assert_ne!(words(r#"{"username": "u", "password": "p"}"#), plain);
    }
}
