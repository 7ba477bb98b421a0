//! Which of the built-in resources are served (`--runtime-config`): all, unless some are turned off, by kind of version,
//! by group and version, or one by one. What is turned off stays stored, and the server itself still works with it.
use crate::resources::{self, Resource};
use std::collections::{BTreeMap, HashSet};

/// Groups that upstream knows and this server doesn't serve: naming one is no mistake.
const ELSEWHERE: &[&str] = &[
    "extensions",
    "imagepolicy.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
];
/// What others bring to upstream's servers: turned off by its name only.
const ADDED: &str = "metrics.k8s.io";

/// Whether a version is of a kind.
type IsOne = fn(&str) -> bool;

/// Kinds of versions, in the order in which they are looked at.
const KINDS: &[(&str, IsOne)] = &[
    ("api/all", |_| true),
    ("api/ga", |version| {
        !version.contains("alpha") && !version.contains("beta")
    }),
    ("api/beta", |version| version.contains("beta")),
    ("api/alpha", |version| version.contains("alpha")),
];

/// What is served of what could be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    off: HashSet<(&'static str, &'static str, &'static str)>,
}

/// What cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeConfigError {
    #[error("runtime-config invalid key {0}")]
    Key(String),
    #[error("invalid value of {key}: {value}; it has to be true or false")]
    Value { key: String, value: String },
    #[error("unknown api groups {0}")]
    Groups(String),
    #[error(
        "invalid key with only api/all=false: name what is to be served, such as api/all=false,api/v1=true"
    )]
    Nothing,
}

impl RuntimeConfig {
    /// From items such as `api/beta=false`, `batch/v1`, `apps/v1/deployments=false`; of one key the last counts. With it,
    /// the keys of what is never served here.
    ///
    /// # Errors
    /// An item says nothing that can be done.
    pub fn parse(items: &[String]) -> Result<(Self, Vec<String>), RuntimeConfigError> {
        let mut given: BTreeMap<&str, bool> = BTreeMap::new();
        for item in items
            .iter()
            .map(|item| item.trim())
            .filter(|item| !item.is_empty())
        {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            given.insert(key.trim(), flag(key, value.trim())?);
        }
        if given.len() == 1 && given.get("api/all") == Some(&false) {
            return Err(RuntimeConfigError::Nothing);
        }
        let mut config = Self::default();
        for (kind, is_meant) in KINDS {
            if let Some(on) = given.remove(kind) {
                config.turn(on, |r| r.group != ADDED && is_meant(r.version));
            }
        }
        let (mut unknown, mut never) = (Vec::new(), Vec::new());
        let mut named = Vec::new();
        for (key, on) in given {
            let name = Name::parse(key).ok_or_else(|| RuntimeConfigError::Key(key.to_owned()))?;
            if !name.is_known_group() {
                unknown.push(name.group);
            } else if !resources::all().iter().any(|resource| name.means(resource)) {
                never.push(key.to_owned());
            }
            named.push((name, on));
        }
        if !unknown.is_empty() {
            return Err(RuntimeConfigError::Groups(unknown.join(",")));
        }
        // A resource by itself counts more than its version.
        named.sort_by_key(|(name, _)| name.resource.is_some());
        for (name, on) in named {
            config.turn(on, |resource| name.means(resource));
        }
        Ok((config, never))
    }

    fn turn(&mut self, on: bool, is_meant: impl Fn(&Resource) -> bool) {
        for resource in resources::all().iter().filter(|resource| is_meant(resource)) {
            match on {
                true => self.off.remove(&place(resource)),
                false => self.off.insert(place(resource)),
            };
        }
    }

    /// Whether nothing is turned off.
    pub(crate) fn serves_all(&self) -> bool {
        self.off.is_empty()
    }

    /// Whether a built-in resource is served; others always are.
    pub(crate) fn serves(&self, resource: &Resource) -> bool {
        self.off.is_empty() || !self.off.contains(&place(resource))
    }

    /// The built-in resources that are served.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &'static Resource> {
        resources::all().iter().filter(|resource| self.serves(resource))
    }

    /// Whether any built-in resource of this group-version is served.
    pub(crate) fn serves_version(&self, group: &str, version: &str) -> bool {
        self.resources()
            .any(|resource| resource.group == group && resource.version == version)
    }
}

fn place(resource: &Resource) -> (&'static str, &'static str, &'static str) {
    (resource.group, resource.version, resource.plural)
}

/// As Go reads flags; nothing is true.
fn flag(key: &str, value: &str) -> Result<bool, RuntimeConfigError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(RuntimeConfigError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
    }
}

/// A group-version, or a resource of one.
struct Name<'k> {
    group: &'k str,
    version: &'k str,
    resource: Option<&'k str>,
}

impl<'k> Name<'k> {
    fn parse(key: &'k str) -> Option<Self> {
        let mut words = key.splitn(3, '/');
        let (group, version) = (words.next()?, words.next()?);
        Some(Self {
            // So the group that has no name is called here.
            group: if group == "api" { "" } else { group },
            version,
            resource: words.next(),
        })
    }

    fn is_known_group(&self) -> bool {
        ELSEWHERE.contains(&self.group) || resources::all().iter().any(|r| r.group == self.group)
    }

    fn means(&self, resource: &Resource) -> bool {
        resource.group == self.group
            && resource.version == self.version
            && self.resource.is_none_or(|plural| plural == resource.plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(RuntimeConfig, Vec<String>), RuntimeConfigError> {
        let items: Vec<String> = text.split(',').map(str::to_owned).collect();
        RuntimeConfig::parse(&items)
    }

    #[test]
    fn what_is_turned_off_is_not_served() {
        let table = [
            ("", [true, true, true, true, true]),
            ("api/all=true,api/beta", [true, true, true, true, true]),
            ("apps/v1=false", [true, false, false, true, true]),
            ("apps/v1/daemonsets=false", [true, false, true, true, true]),
            (
                "apps/v1/daemonsets,apps/v1=false",
                [true, true, false, true, true],
            ),
            ("api/all=false,api/v1", [true, false, false, false, true]),
            ("api/ga=0,batch/v1=t,api/v1=1", [true, false, false, true, true]),
            (
                "metrics.k8s.io/v1beta1=false,api/beta=false",
                [true, true, true, true, false],
            ),
        ];
        for (text, expected) in table {
            let (config, never) = parse(text).unwrap();
            let served = [
                ("", "v1", "pods"),
                ("apps", "v1", "daemonsets"),
                ("apps", "v1", "deployments"),
                ("batch", "v1", "jobs"),
                ("metrics.k8s.io", "v1beta1", "pods"),
            ]
            .map(|(group, version, plural)| config.serves(resources::find(group, version, plural).unwrap()));
            assert_eq!(served, expected, "{text}");
            assert_eq!(never, [""; 0], "{text}");
            assert_eq!(config.serves_all(), !expected.contains(&false), "{text}");
            assert_eq!(config.serves_version("batch", "v1"), expected[3], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (text, error) in [
            ("api/all=false", "invalid key with only api/all=false"),
            ("apps=true", "runtime-config invalid key apps"),
            ("nobody.dev/v1=true", "unknown api groups nobody.dev"),
            ("apps/v1=perhaps", "invalid value of apps/v1: perhaps"),
        ] {
            let found = parse(text).unwrap_err().to_string();
            assert!(found.starts_with(error), "{text}: {found}");
        }
        let (_, never) =
            parse("internal.apiserver.k8s.io/v1alpha1,batch/v2alpha1=true,batch/v1=true").unwrap();
        assert_eq!(never, ["batch/v2alpha1", "internal.apiserver.k8s.io/v1alpha1"]);
    }
}
