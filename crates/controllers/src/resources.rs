//! Which kinds the API server serves, and any of them as nothing but its metadata.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use kube::discovery::{Discovery, Scope, verbs};
use orlop_client::informer::Projection;
use serde::{Deserialize, Serialize};

/// One kind in its preferred version.
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

/// All kinds that can be listed and deleted. Events are left out: they own nothing and expire.
pub async fn discover(client: &kube::Client) -> Result<Vec<Served>, kube::Error> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut served = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let can = |verb| capabilities.supports_operation(verb);
            if can(verbs::LIST) && can(verbs::DELETE) {
                served.push(Served {
                    namespaced: capabilities.scope == Scope::Namespaced,
                    watchable: can(verbs::WATCH),
                    delete_collection: can(verbs::DELETE_COLLECTION),
                    resource,
                });
            }
        }
    }
    Ok(served)
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
