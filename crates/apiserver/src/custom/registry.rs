//! The custom resources that are served now.
use super::Custom;
use super::declare::{Declared, Shape, declare, replace};
use super::names::{Names, is_established};
use crate::outbound::Ways;
use crate::resources::Resource;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The storage prefix of CustomResourceDefinitions.
pub const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// One version of a definition's resource.
#[derive(Clone, Copy)]
struct Version {
    resource: &'static Resource,
    served: bool,
}

/// What is kept of a definition.
struct Known {
    versions: Vec<Version>,
    names: Names,
    /// Tells what a definition says from what it said before.
    meaning: u64,
}

/// What the definitions declare, by definition.
#[derive(Default)]
pub struct Registry {
    definitions: RwLock<BTreeMap<String, Known>>,
    /// All resources that there ever were: a definition that comes again has those that it had.
    settled: Mutex<HashMap<Shape, &'static Resource>>,
    /// To those who convert.
    ways: Ways,
}

impl Registry {
    /// Takes a definition as it is now.
    pub fn put(&self, crd: &Value) -> Taken {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        let declared = if is_established(crd) {
            declare(crd, &self.ways).unwrap_or_else(|errors| {
                let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
                tracing::error!(
                    crd = name,
                    found = found.join("; "),
                    "a stored definition has no structural schema and is not served; write it again"
                );
                Vec::new()
            })
        } else {
            Vec::new()
        };
        let served = |version: &str| {
            let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
            versions
                .filter(|v| v["name"] == version)
                .any(|v| v["served"] == true)
        };
        let mut definitions = self.definitions.write();
        let before = definitions.get(name);
        let meaning = meaning(crd);
        let superseded = before
            .filter(|before| before.meaning != meaning)
            .and_then(Known::any);
        let before = before.map_or(&[][..], |before| before.versions.as_slice());
        let mut stored = None;
        let mut versions = Vec::with_capacity(declared.len());
        let mut settled = self.settled.lock();
        for version in declared {
            let storage = version.storage;
            let (resource, renewed) = kept_or_settled(&mut settled, version);
            if storage {
                stored = Some((resource, renewed));
            }
            versions.push(Version {
                resource,
                served: served(resource.version),
            });
        }
        drop(settled);
        follow_others(before, &versions);
        versions.sort_by_key(|v| version_rank(v.resource.version));
        let known = Known {
            versions,
            names: Names::of(crd),
            meaning,
        };
        definitions.insert(name.to_owned(), known);
        Taken { stored, superseded }
    }

    /// Forgets all definitions but these.
    pub fn keep(&self, names: &HashSet<&str>) {
        self.definitions
            .write()
            .retain(|name, _| names.contains(name.as_str()));
    }

    /// Forgets a definition that is gone; one of its resources, if it had any.
    pub fn remove(&self, name: &str) -> Option<&'static Resource> {
        self.definitions.write().remove(name)?.any()
    }

    /// The names that all definitions have.
    pub fn names(&self) -> Vec<Names> {
        let definitions = self.definitions.read();
        definitions.values().map(|known| known.names.clone()).collect()
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        let definitions = self.definitions.read();
        let mut versions = definitions.values().flat_map(|known| &known.versions);
        let is_it = |v: &&Version| {
            let r = v.resource;
            v.served && r.plural == plural && r.group == group && r.version == version
        };
        versions.find(is_it).map(|found| found.resource)
    }

    /// A version of a resource, served or not.
    pub fn find_any(&self, group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
        let mut declared = self.declared(group, plural).into_iter();
        declared.find(|resource| resource.version == version)
    }

    /// All versions of a resource, served or not; the preferred one comes first.
    pub fn declared(&self, group: &str, plural: &str) -> Vec<&'static Resource> {
        let definitions = self.definitions.read();
        let versions = definitions.values().flat_map(|known| &known.versions);
        let resources = versions.map(|version| version.resource);
        resources
            .filter(|r| r.plural == plural && r.group == group)
            .collect()
    }

    /// One version of each resource of namespaces that isn't served in any.
    pub fn unserved(&self) -> Vec<&'static Resource> {
        let definitions = self.definitions.read();
        let hidden = definitions
            .values()
            .filter(|known| !known.versions.iter().any(|version| version.served));
        let any = hidden.filter_map(Known::any);
        any.filter(|resource| resource.namespaced).collect()
    }

    /// Every served resource; the preferred version of each comes first.
    pub fn all(&self) -> Vec<&'static Resource> {
        let definitions = self.definitions.read();
        let versions = definitions.values().flat_map(|known| &known.versions);
        versions.filter(|v| v.served).map(|v| v.resource).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.definitions.read().is_empty()
    }

    /// The groups, each with its versions, the preferred one first.
    pub fn groups(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        let mut groups: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
        for resource in self.all() {
            let versions = groups.entry(resource.group).or_default();
            if !versions.contains(&resource.version) {
                versions.push(resource.version);
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|version| version_rank(version));
        }
        groups.into_iter().collect()
    }
}

impl Known {
    /// One of the resources, which all have the same objects.
    fn any(&self) -> Option<&'static Resource> {
        self.versions.first().map(|version| version.resource)
    }
}

/// What a definition's state brings about.
pub struct Taken {
    /// The resource whose form its objects are stored in, if they are to be kept, and how they are to be read anew.
    pub stored: Option<(&'static Resource, Renewal)>,
    /// One of the resources it declared before, if what it says has changed: who watches them is to look anew.
    pub superseded: Option<&'static Resource>,
}

/// A number for what a definition says about its objects, its names included.
fn meaning(crd: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for said in [&crd["spec"], &crd["status"]["acceptedNames"]] {
        said.hash(&mut hasher);
    }
    hasher.finish()
}

/// What a change of a definition means for the objects that were read under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing.
    Needless,
    /// They get what the schema gives them now.
    OfCached,
    /// The same, and they may have what it gave them before, which nobody has stored.
    OfStored,
}

/// The resource of a version, and what has changed if it is one from before.
fn kept_or_settled(
    settled: &mut HashMap<Shape, &'static Resource>,
    version: Declared,
) -> (&'static Resource, Renewal) {
    let definition = version.definition;
    let Some(kept) = settled.get(&version.shape).copied() else {
        let resource = version.shape.settle(definition);
        settled.insert(version.shape, resource);
        return (resource, Renewal::Needless);
    };
    let was = kept.custom.map(Custom::definition);
    let renewal = match was {
        Some(was) if was.schemas_differ(&definition) && was.fills_some => Renewal::OfStored,
        Some(was) if was.schemas_differ(&definition) => Renewal::OfCached,
        _ => Renewal::Needless,
    };
    replace(kept, definition);
    (kept, renewal)
}

/// Gives resources that a definition has no more the present state of their versions: nobody keeps the one of before.
fn follow_others(before: &[Version], now: &[Version]) {
    for Version { resource, .. } in before {
        let mut same = now.iter().filter(|new| new.resource.version == resource.version);
        if let Some(new) = same.next()
            && !std::ptr::eq(new.resource, *resource)
            && let Some(custom) = new.resource.custom
        {
            replace(resource, custom.definition());
        }
    }
}

/// Sorts versions as upstream prefers them: stable before beta before alpha, higher before lower, others last.
pub(super) fn version_rank(version: &str) -> (u8, i64, i64, String) {
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: i64 = rest[..digits].parse().ok()?;
        let (stability, minor) = match &rest[digits..] {
            "" => (0, 0),
            stage => {
                let (rank, number) = stage
                    .strip_prefix("beta")
                    .map(|n| (1, n))
                    .or_else(|| stage.strip_prefix("alpha").map(|n| (2, n)))?;
                (rank, number.parse::<i64>().ok()?)
            }
        };
        Some((stability, -major, -minor, String::new()))
    };
    parsed().unwrap_or((3, 0, 0, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd(short: &str, schemas: [Value; 2]) -> Value {
        let [v1, v2] =
            schemas.map(|part| json!({"openAPIV3Schema": {"type": "object", "properties": {"a": part}}}));
        json!({"metadata": {"name": "widgets.g"},
            "spec": {"group": "g", "scope": "Namespaced", "versions": [
                {"name": "v1", "served": true, "storage": false, "schema": v1},
                {"name": "v2", "served": true, "storage": true, "schema": v2}]},
            "status": {"acceptedNames": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": [short]},
                "conditions": [{"type": "Established", "status": "True"}]}})
    }

    #[test]
    fn a_definition_that_comes_again_has_the_resources_it_had() {
        let registry = Registry::default();
        let plain = || [json!({"type": "string"}), json!({"type": "string"})];
        let put = |short: &str| {
            registry.put(&crd(short, plain()));
            registry.find("g", "v2", "widgets").unwrap()
        };
        let first = put("w");
        assert!(std::ptr::eq(first, put("w")), "nothing has changed");
        let other = put("x");
        assert!(!std::ptr::eq(first, other));
        assert_eq!(other.short_names, ["x"]);
        let state = |resource: &Resource| resource.custom.unwrap().definition();
        assert!(
            std::sync::Arc::ptr_eq(&state(first), &state(other)),
            "nobody keeps the state of before"
        );
        registry.remove("widgets.g");
        assert!(registry.find("g", "v2", "widgets").is_none());
        assert!(std::ptr::eq(first, put("w")));
    }

    #[test]
    fn objects_of_any_version_are_read_anew_when_its_defaults_change() {
        let registry = Registry::default();
        let string = || json!({"type": "string"});
        let default = |value: &str| json!({"type": "string", "default": value});
        let renewal = |schemas: [Value; 2]| registry.put(&crd("w", schemas)).stored.unwrap().1;
        assert_eq!(renewal([string(), string()]), Renewal::Needless);
        assert_eq!(renewal([default("x"), string()]), Renewal::OfCached);
        assert_eq!(
            renewal([default("y"), string()]),
            Renewal::OfStored,
            "v1 isn't stored any more"
        );
        assert_eq!(renewal([default("y"), string()]), Renewal::Needless);
    }

    #[test]
    fn versions_that_are_not_served_are_declared() {
        let registry = Registry::default();
        let mut crd = crd("w", [json!({"type": "string"}), json!({"type": "string"})]);
        crd["spec"]["versions"][1]["served"] = json!(false);
        registry.put(&crd);
        let versions = |found: Vec<&Resource>| found.iter().map(|r| r.version).collect::<Vec<_>>();
        assert_eq!(versions(registry.declared("g", "widgets")), ["v2", "v1"]);
        assert_eq!(versions(registry.all()), ["v1"]);
        assert!(registry.find("g", "v2", "widgets").is_none());
        assert!(registry.find_any("g", "v2", "widgets").is_some());
        assert!(registry.unserved().is_empty());
        crd["spec"]["versions"][0]["served"] = json!(false);
        registry.put(&crd);
        assert_eq!(registry.unserved().len(), 1);
    }

    #[test]
    fn versions_are_preferred_as_upstream_does() {
        let mut versions = [
            "foo1", "v1alpha1", "v2", "v1", "v10", "v2beta1", "v2beta3", "foo10",
        ];
        versions.sort_by_key(|v| version_rank(v));
        assert_eq!(
            versions,
            [
                "v10", "v2", "v1", "v2beta3", "v2beta1", "v1alpha1", "foo1", "foo10"
            ]
        );
    }
}
