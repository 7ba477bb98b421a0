//! EncryptionConfiguration (apiserver.config.k8s.io/v1): which resource is sealed by whom.
use super::kms::Kms;
use super::provider::{Key, Provider, Providers};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_api::wire;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long a plugin is waited for if nothing else is said; upstream's.
const KMS_TIMEOUT: Duration = Duration::from_secs(3);
const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";

/// A configuration that cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionError {
    #[error("the encryption configuration cannot be read: {0}")]
    Unreadable(String),
    #[error(
        "the encryption configuration is a {0}: it has to be an EncryptionConfiguration of apiserver.config.k8s.io/v1"
    )]
    Kind(String),
    #[error("the encryption configuration names no resources")]
    Empty,
    #[error("{field}: {why}")]
    Invalid { field: String, why: String },
}

/// Which resources an entry is about.
#[derive(Debug, PartialEq, Eq)]
enum Selector {
    All,
    Group(String),
    One { group: String, plural: String },
}

impl Selector {
    fn parse(text: &str) -> Option<Self> {
        let (plural, group) = text.split_once('.').unwrap_or((text, ""));
        Some(match (plural, group) {
            ("", _) => return None,
            ("*", "*") => Self::All,
            ("*", _) if !text.contains('.') => return None,
            ("*", group) => Self::Group(group.to_owned()),
            (_, "*") => return None,
            (plural, group) => Self::One {
                group: group.to_owned(),
                plural: plural.to_owned(),
            },
        })
    }

    /// How closely it names a resource; `None`: it doesn't.
    fn rank(&self, group: &str, plural: &str) -> Option<u8> {
        match self {
            Self::All => Some(2),
            Self::Group(own) => (own == group).then_some(1),
            Self::One {
                group: own,
                plural: name,
            } => (own == group && name == plural).then_some(0),
        }
    }
}

/// Who seals and opens what.
pub struct Plan(Vec<(Selector, Arc<Providers>)>);

impl Plan {
    /// # Errors
    /// It is no configuration, or one that cannot be followed.
    pub fn parse(text: &str) -> Result<Self, EncryptionError> {
        let config =
            wire::from_yaml(text.as_bytes()).map_err(|e| EncryptionError::Unreadable(e.to_string()))?;
        let named = |key: &str| config[key].as_str().unwrap_or_default();
        if named("apiVersion") != API_VERSION || named("kind") != KIND {
            let found = format!("{} of {}", named("kind"), named("apiVersion"));
            return Err(EncryptionError::Kind(found));
        }
        let mut plan: Vec<(Selector, Arc<Providers>)> = Vec::new();
        for (number, entry) in items(&config["resources"]).iter().enumerate() {
            let at = format!("resources[{number}]");
            let providers = Arc::new(providers(&entry["providers"], &format!("{at}.providers"))?);
            for (place, resource) in items(&entry["resources"]).iter().enumerate() {
                let field = format!("{at}.resources[{place}]");
                let text = resource.as_str().unwrap_or_default().to_lowercase();
                let selector = Selector::parse(&text).ok_or_else(|| EncryptionError::Invalid {
                    why: format!("{text:?} is no resource: secrets, deployments.apps, *.apps, *. or *.*"),
                    field: field.clone(),
                })?;
                if plan.iter().any(|(other, _)| *other == selector) {
                    let why = format!("{text:?} is named more than once");
                    return Err(EncryptionError::Invalid { field, why });
                }
                plan.push((selector, providers.clone()));
            }
        }
        if plan.is_empty() {
            return Err(EncryptionError::Empty);
        }
        Ok(Self(plan))
    }

    /// The plugins that keep keys.
    pub fn plugins(&self) -> Vec<Arc<Kms>> {
        let mut found: Vec<Arc<Kms>> = Vec::new();
        for provider in self.0.iter().flat_map(|(_, providers)| &providers.0) {
            if let Provider::Kms(kms) = provider
                && !found.iter().any(|other| Arc::ptr_eq(other, kms))
            {
                found.push(kms.clone());
            }
        }
        found
    }

    /// The providers of a resource: those of the entry that names it most closely.
    pub fn providers(&self, group: &str, plural: &str) -> Option<&Arc<Providers>> {
        let ranked = self
            .0
            .iter()
            .filter_map(|(selector, providers)| Some((selector.rank(group, plural)?, providers)));
        ranked
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, providers)| providers)
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn providers(list: &Value, at: &str) -> Result<Providers, EncryptionError> {
    let mut providers = Vec::new();
    for (number, entry) in items(list).iter().enumerate() {
        let at = format!("{at}[{number}]");
        let invalid = |why: &str| EncryptionError::Invalid {
            field: at.clone(),
            why: why.to_owned(),
        };
        let members = entry.as_object().ok_or_else(|| invalid("it is no provider"))?;
        let mut members = members.iter();
        let (Some((kind, settings)), None) = (members.next(), members.next()) else {
            return Err(invalid(
                "a provider has to be exactly one of aescbc, aesgcm, secretbox, kms, identity",
            ));
        };
        providers.push(match kind.as_str() {
            "identity" => Provider::Identity,
            "aescbc" => keys("aescbc", settings, &at)?,
            "aesgcm" => keys("aesgcm", settings, &at)?,
            "secretbox" => keys("secretbox", settings, &at)?,
            "kms" => Provider::Kms(kms(settings, &format!("{at}.kms"))?),
            _ => {
                return Err(invalid(
                    "a provider has to be one of aescbc, aesgcm, secretbox, kms, identity",
                ));
            }
        });
    }
    if providers.is_empty() {
        return Err(EncryptionError::Invalid {
            field: at.to_owned(),
            why: "at least one provider is required".to_owned(),
        });
    }
    Ok(Providers(providers))
}

/// Parses a plugin of version 2; upstream has turned the one before off.
fn kms(settings: &Value, at: &str) -> Result<Arc<Kms>, EncryptionError> {
    let invalid = |part: &str, why: &str| EncryptionError::Invalid {
        field: format!("{at}.{part}"),
        why: why.to_owned(),
    };
    let text = |key: &str| settings[key].as_str().unwrap_or_default();
    if text("apiVersion") != "v2" {
        return Err(invalid(
            "apiVersion",
            "it has to be v2: plugins of v1 are not asked",
        ));
    }
    let name = text("name");
    if name.is_empty() || name.contains(':') {
        return Err(invalid("name", "a plugin needs a name, without colons"));
    }
    if !settings["cachesize"].is_null() {
        return Err(invalid("cachesize", "it is not supported in v2"));
    }
    let socket = text("endpoint").strip_prefix("unix://").unwrap_or_default();
    let socket = socket
        .strip_prefix("/@")
        .map_or(socket.to_owned(), |name| format!("@{name}"));
    if socket.is_empty() {
        return Err(invalid(
            "endpoint",
            "it has to be a socket such as unix:///run/kms.sock",
        ));
    }
    let timeout = match settings["timeout"].as_str() {
        None => KMS_TIMEOUT,
        Some(text) => orlop_api::duration::parse_go_duration(text)
            .filter(|timeout| !timeout.is_zero())
            .ok_or_else(|| invalid("timeout", "it has to be a duration above zero, such as 3s"))?,
    };
    Ok(Kms::new(name, &socket, timeout))
}

fn keys(kind: &'static str, settings: &Value, at: &str) -> Result<Provider, EncryptionError> {
    let mut keys = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (number, entry) in items(&settings["keys"]).iter().enumerate() {
        let field = format!("{at}.{kind}.keys[{number}]");
        let invalid = |part: &str, why: &str| EncryptionError::Invalid {
            field: format!("{field}.{part}"),
            why: why.to_owned(),
        };
        let name = entry["name"].as_str().unwrap_or_default();
        if name.is_empty() || name.contains(':') {
            return Err(invalid("name", "a key needs a name, without colons"));
        }
        if names.contains(&name) {
            return Err(invalid("name", "another key has this name"));
        }
        names.push(name);
        let secret = STANDARD
            .decode(entry["secret"].as_str().unwrap_or_default())
            .map_err(|error| invalid("secret", &format!("it is no base64: {error}")))?;
        let sizes = match kind {
            "secretbox" => "32 bytes",
            _ => "16, 24 or 32 bytes",
        };
        let key = Key::new(kind, name, &secret);
        let why = || format!("a key of {} bytes: it has to be {sizes}", secret.len());
        keys.push(key.ok_or_else(|| invalid("secret", &why()))?);
    }
    if keys.is_empty() {
        return Err(EncryptionError::Invalid {
            field: format!("{at}.{kind}.keys"),
            why: "at least one key is required".to_owned(),
        });
    }
    Ok(Provider::Keys { kind, keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn plan(resources: &str) -> Result<Plan, String> {
        let text =
            format!("apiVersion: {API_VERSION}\nkind: {KIND}\nresources:\n{resources}").replace("KEY", KEY);
        Plan::parse(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_entry_that_names_a_resource_most_closely_counts() {
        let plan = plan(
            "- resources: ['*.*']\n  providers: [{identity: {}}]\n\
             - resources: ['*.apps', '*.']\n  providers: [{aesgcm: {keys: [{name: a, secret: KEY}]}}]\n\
             - resources: [secrets, doors.example.com]\n  providers: [{aescbc: {keys: [{name: b, secret: KEY}]}}]",
        )
        .unwrap();
        let kind = |group: &str, plural: &str| match &plan.providers(group, plural).unwrap().0[0] {
            Provider::Identity => "identity",
            Provider::Keys { kind, .. } => kind,
            Provider::Kms(_) => "kms",
        };
        for (group, plural, expected) in [
            ("", "secrets", "aescbc"),
            ("example.com", "doors", "aescbc"),
            ("", "configmaps", "aesgcm"),
            ("apps", "daemonsets", "aesgcm"),
            ("batch", "jobs", "identity"),
            ("example.com", "secrets", "identity"),
        ] {
            assert_eq!(kind(group, plural), expected, "{plural}.{group}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (resources, expected) in [
            ("", "the encryption configuration names no resources"),
            (
                "- resources: ['*']\n  providers: [{identity: {}}]",
                "resources[0].resources[0]: \"*\" is no resource: secrets, deployments.apps, *.apps, *. or *.*",
            ),
            (
                "- resources: [secrets, secrets]\n  providers: [{identity: {}}]",
                "resources[0].resources[1]: \"secrets\" is named more than once",
            ),
            (
                "- resources: [secrets]\n  providers: []",
                "resources[0].providers: at least one provider is required",
            ),
            (
                "- resources: [secrets]\n  providers: [{kms: {name: k, endpoint: 'unix:///k'}}]",
                "resources[0].providers[0].kms.apiVersion: it has to be v2: plugins of v1 are not asked",
            ),
            (
                "- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///k'}}]",
                "resources[0].providers[0].kms.name: a plugin needs a name, without colons",
            ),
            (
                "- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: k, endpoint: 'tcp://k'}}]",
                "resources[0].providers[0].kms.endpoint: it has to be a socket such as unix:///run/kms.sock",
            ),
            (
                "- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: k, endpoint: 'unix:///k', timeout: 0s}}]",
                "resources[0].providers[0].kms.timeout: it has to be a duration above zero, such as 3s",
            ),
            (
                "- resources: [secrets]\n  providers: [{aescbc: {keys: [{name: a, secret: AAAA}]}}]",
                "resources[0].providers[0].aescbc.keys[0].secret: a key of 3 bytes: it has to be 16, 24 or 32 bytes",
            ),
            (
                "- resources: [secrets]\n  providers: [{secretbox: {keys: []}}]",
                "resources[0].providers[0].secretbox.keys: at least one key is required",
            ),
            (
                "- resources: [secrets]\n  providers: [{aesgcm: {keys: [{name: a, secret: KEY}, {name: a, secret: KEY}]}}]",
                "resources[0].providers[0].aesgcm.keys[1].name: another key has this name",
            ),
        ] {
            assert_eq!(plan(resources).err().as_deref(), Some(expected), "{resources}");
        }
        let other = Plan::parse("apiVersion: v1\nkind: Pod").err();
        assert_eq!(other, Some(EncryptionError::Kind("Pod of v1".to_owned())));
    }
}
