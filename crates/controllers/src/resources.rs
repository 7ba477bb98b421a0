//! Which kinds the API server serves, and any of them as nothing but its metadata.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList, ObjectMeta};
use kube::core::{ApiResource, DynamicResourceScope};
use kube::discovery::verbs;
use orlop_client::informer::Projection;
use serde::{Deserialize, Serialize};

/// One kind in the version that is preferred.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Served {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether it can be watched.
    pub watchable: bool,
    /// Whether many can be deleted at once.
    pub delete_collection: bool,
}

impl Served {
    /// An API for objects of this kind in `namespace`, which cluster-scoped kinds ignore.
    pub fn api(&self, client: &kube::Client, namespace: &str) -> kube::Api<MetadataOnly> {
        if self.namespaced && !namespace.is_empty() {
            kube::Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            kube::Api::all_with(client.clone(), &self.resource)
        }
    }
}

/// What a server says that it serves.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// All kinds that can be listed and deleted, each in the first version of its group that has it.
    pub served: Vec<Served>,
    /// `group/version`s whose servers don't say at the moment what is in them.
    pub unknown: Vec<String>,
}

/// Asks what is served. Group versions of other servers that don't answer are left out and named.
pub async fn discover(client: &kube::Client) -> Result<Discovered, kube::Error> {
    let core = client.list_core_api_versions_aggregated().await?;
    if core.items.is_empty() {
        return one_by_one(client).await;
    }
    let groups = client.list_api_groups_aggregated().await?;
    let mut discovered = Discovered::default();
    for group in core.items.into_iter().chain(groups.items) {
        let name = group
            .metadata
            .and_then(|metadata| metadata.name)
            .unwrap_or_default();
        for version in group.versions {
            let entries = version.resources.into_iter().map(|resource| Entry {
                plural: resource.resource.unwrap_or_default(),
                kind: resource
                    .response_kind
                    .and_then(|kind| kind.kind)
                    .unwrap_or_default(),
                namespaced: resource.scope.as_deref() == Some("Namespaced"),
                verbs: resource.verbs,
            });
            let says = version.freshness.as_deref() != Some("Stale");
            let version = version.version.unwrap_or_default();
            discovered.add(&name, &version, says.then(|| entries.collect()));
        }
    }
    Ok(discovered)
}

/// The same from a server that has no document of everything.
async fn one_by_one(client: &kube::Client) -> Result<Discovered, kube::Error> {
    let entries = |list: APIResourceList| -> Vec<Entry> {
        let whole = list
            .resources
            .into_iter()
            .filter(|resource| !resource.name.contains('/'));
        let entry = |resource: APIResource| Entry {
            plural: resource.name,
            kind: resource.kind,
            namespaced: resource.namespaced,
            verbs: resource.verbs,
        };
        whole.map(entry).collect()
    };
    let mut discovered = Discovered::default();
    for version in client.list_core_api_versions().await?.versions {
        let list = client.list_core_api_resources(&version).await?;
        discovered.add("", &version, Some(entries(list)));
    }
    for group in client.list_api_groups().await?.groups {
        for version in group.versions {
            let list = client.list_api_group_resources(&version.group_version).await;
            discovered.add(&group.name, &version.version, list.ok().map(entries));
        }
    }
    Ok(discovered)
}

/// A kind in one version, as discovery describes it.
struct Entry {
    plural: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
}

impl Discovered {
    /// Versions of a group come in order of preference; one whose server says nothing has no entries.
    fn add(&mut self, group: &str, version: &str, entries: Option<Vec<Entry>>) {
        let api_version = match group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        let Some(entries) = entries else {
            self.unknown.push(api_version);
            return;
        };
        for entry in entries {
            let can = |verb: &str| entry.verbs.iter().any(|one| one == verb);
            let known =
                |served: &Served| served.resource.group == group && served.resource.plural == entry.plural;
            if !can(verbs::LIST) || !can(verbs::DELETE) || self.served.iter().any(known) {
                continue;
            }
            self.served.push(Served {
                namespaced: entry.namespaced,
                watchable: can(verbs::WATCH),
                delete_collection: can(verbs::DELETE_COLLECTION),
                resource: ApiResource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    api_version: api_version.clone(),
                    kind: entry.kind,
                    plural: entry.plural,
                },
            });
        }
    }
}

/// Whether the kind is Event, in either of its groups.
pub fn is_event(served: &Served) -> bool {
    served.resource.kind == "Event" && matches!(served.resource.group.as_str(), "" | "events.k8s.io")
}

/// Any object, without all but its metadata.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MetadataOnly {
    /// The metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
}

impl kube::Resource for MetadataOnly {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }
    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }
    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }
    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }
    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Remembers of an object only that it exists: the key and uid the store keeps anyway.
#[derive(Debug)]
pub struct Existence;

impl Projection for Existence {
    type Object = MetadataOnly;

    fn project(_: MetadataOnly) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(plural: &str, verbs: &[&str]) -> Entry {
        Entry {
            plural: plural.to_owned(),
            kind: plural.to_owned(),
            namespaced: true,
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        }
    }

    #[test]
    fn a_kind_is_found_in_whichever_version_of_its_group_it_is() {
        let all = ["list", "watch", "delete", "deletecollection"];
        let mut discovered = Discovered::default();
        discovered.add(
            "",
            "v1",
            Some(vec![entry("bindings", &["create"]), entry("pods", &all)]),
        );
        discovered.add("mesh.example.com", "v1", Some(vec![entry("gateways", &all)]));
        let older = vec![entry("gateways", &all), entry("filters", &["list", "delete"])];
        discovered.add("mesh.example.com", "v1alpha3", Some(older));
        discovered.add("metrics.example.com", "v1", None);
        let found: Vec<String> = discovered
            .served
            .iter()
            .map(|served| format!("{} {}", served.resource.api_version, served.resource.plural))
            .collect();
        assert_eq!(
            found,
            [
                "v1 pods",
                "mesh.example.com/v1 gateways",
                "mesh.example.com/v1alpha3 filters"
            ]
        );
        assert!(!discovered.served[2].watchable && !discovered.served[2].delete_collection);
        assert_eq!(discovered.unknown, ["metrics.example.com/v1"]);
    }
}
