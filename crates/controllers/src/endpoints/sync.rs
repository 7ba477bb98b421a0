//! One sync of one Service: where it leads, written as slices and as Endpoints.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use orlop_client::informer::{ObjectKey, version_of};

use super::backends::{Family, Named, groups};
use super::controller::ServiceEndpoints;
use super::slices::{Origin, Plan, Slice, labels_of, plan};
use super::{labels as label, mirror, subsets};
use crate::api_error;
use crate::cache::{MIRRORED_SLICES, PODS_BY_NAMESPACE, Pod, Ready, SLICES_OF_SERVICE, Service};

/// The server refused or didn't answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", orlop_client::message(.0))]
pub struct SyncError(#[from] kube::Error);

impl SyncError {
    /// Whether the cache was merely late, or the namespace goes away.
    pub fn is_ordinary(&self) -> bool {
        api_error::is_conflict(&self.0)
            || api_error::is_not_found(&self.0)
            || api_error::is_namespace_terminating(&self.0)
    }
}

impl ServiceEndpoints {
    /// Makes slices and Endpoints of that name say where the Service of that name leads.
    pub(super) async fn sync(&self, key: &ObjectKey) -> Result<(), SyncError> {
        if !self
            .own_writes
            .caught_up(key, self.cache.slices.store().resource_version())
        {
            self.queue.add_after(key.clone(), crate::owned::BEHIND_RETRY);
            return Ok(());
        }
        let service = self.cache.services.store().get(key);
        let slices = self.slices(key, SLICES_OF_SERVICE);
        match &service {
            Some(service) if service.selector.is_some() => {
                let pods = self.pods(service);
                if self.kept.slices {
                    self.sync_slices(service, &pods, slices).await?;
                }
                if self.kept.endpoints {
                    self.sync_endpoints(service, &pods).await?;
                }
            }
            None if self.kept.endpoints => self.delete_endpoints(key).await?,
            _ => {}
        }
        match self.kept.mirrors {
            true => self.sync_mirror(key, service.as_ref()).await,
            false => Ok(()),
        }
    }

    fn slices(&self, key: &ObjectKey, index: usize) -> Vec<Slice> {
        let name = format!("{}/{}", key.namespace, key.name);
        self.cache.slices.store().by_index(index, &name)
    }

    fn pods(&self, service: &Service) -> Vec<Pod> {
        let store = self.cache.pods.store();
        let mut pods = store.by_index(PODS_BY_NAMESPACE, &service.key.namespace);
        pods.retain(|pod| service.selects(&pod.labels));
        pods
    }

    async fn sync_slices(
        &self,
        service: &Service,
        pods: &[Pod],
        slices: Vec<Slice>,
    ) -> Result<(), SyncError> {
        let named = Named {
            name: &service.key.name,
            service,
        };
        let zone = |node: &str| {
            let node = self.cache.nodes.store().get(&ObjectKey::new("", node))?;
            node.label(label::ZONE).map(str::to_owned)
        };
        let groups = groups(&named, pods, zone);
        let origin = Origin {
            name: service.key.name.to_string(),
            namespace: service.key.namespace.to_string(),
            labels: labels_of(&service.key.name, service),
            annotations: triggered(service, pods),
            owner: OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                name: service.key.name.to_string(),
                uid: service.uid.to_string(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            },
        };
        let plan = plan(&origin, &service.families, groups, slices);
        self.write_slices(&service.key, plan).await
    }

    async fn write_slices(&self, key: &ObjectKey, plan: Plan) -> Result<(), SyncError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = PostParams::default();
        for (old, mut slice) in plan.update {
            slice.metadata.generate_name = None;
            slice.metadata.name = Some(old.key.name.to_string());
            slice.metadata.resource_version = Some(old.resource_version.to_string());
            self.wrote(key, &api.replace(&old.key.name, &params, &slice).await?);
        }
        for slice in plan.create {
            match api.create(&params, &slice).await {
                Err(error) if api_error::is_namespace_terminating(&error) => return Ok(()),
                result => self.wrote(key, &result?),
            }
        }
        for slice in plan.delete {
            match api.delete(&slice.key.name, &DeleteParams::default()).await {
                Err(error) if !api_error::is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn wrote(&self, key: &ObjectKey, slice: &EndpointSlice) {
        self.own_writes.wrote(key, version_of(&slice.metadata));
    }

    async fn sync_endpoints(&self, service: &Service, pods: &[Pod]) -> Result<(), SyncError> {
        let named = Named {
            name: &service.key.name,
            service,
        };
        let (mut endpoints, print) = subsets::endpoints(&named, &service.key.namespace, pods);
        let stored = self.cache.endpoints.store().get(&service.key);
        if stored.as_ref().is_some_and(|stored| stored.contents == print) {
            return Ok(());
        }
        let annotations = endpoints.metadata.annotations.get_or_insert_default();
        annotations.extend(triggered(service, pods));
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &service.key.namespace);
        let params = PostParams::default();
        let written = match stored {
            Some(stored) => {
                endpoints.metadata.resource_version = Some(stored.resource_version.to_string());
                api.replace(&service.key.name, &params, &endpoints).await
            }
            None => api.create(&params, &endpoints).await,
        };
        match written {
            Err(error) if api_error::is_namespace_terminating(&error) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    /// The Service is gone. The garbage collector deletes its slices, but Endpoints have no owner.
    async fn delete_endpoints(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let gone = || self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let goes = gone().contains(key);
        let stored = self.cache.endpoints.store().get(key);
        if stored.is_some_and(|stored| stored.managed || goes) {
            let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &key.namespace);
            match api.delete(&key.name, &DeleteParams::default()).await {
                Err(error) if !api_error::is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        // Only now: until it is done it is tried again.
        gone().remove(key);
        Ok(())
    }

    /// Endpoints of a Service without a selector are mirrored.
    async fn sync_mirror(&self, key: &ObjectKey, service: Option<&Service>) -> Result<(), SyncError> {
        let mirrored = self.slices(key, MIRRORED_SLICES);
        let endpoints = self.cache.endpoints.store().get(key);
        let custom = endpoints
            .as_ref()
            .and_then(|endpoints| endpoints.custom.as_deref());
        let plan = match (custom, service) {
            (Some(custom), Some(service)) if service.selector.is_none() => {
                let groups = mirror::groups(&custom.subsets);
                let families: Vec<Family> = groups.iter().map(|group| group.family).collect();
                plan(
                    &mirror::origin(custom, &key.namespace),
                    &families,
                    groups,
                    mirrored,
                )
            }
            _ => Plan {
                delete: mirrored,
                ..Plan::default()
            },
        };
        self.write_slices(key, plan).await
    }
}

/// When the latest thing happened that shows in where the service leads.
fn triggered(service: &Service, pods: &[Pod]) -> BTreeMap<String, String> {
    let ready = pods.iter().filter_map(|pod| match pod.ready {
        Ready::Since(since) => since,
        _ => None,
    });
    let latest: Option<Timestamp> = ready.chain(service.created).max();
    latest
        .map(|latest| (label::TRIGGER_TIME.to_owned(), latest.to_string()))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::cache::Cache;
    use crate::endpoints::Kept;
    use crate::testing::server;

    #[tokio::test]
    async fn endpoints_of_a_service_that_is_gone_are_deleted_though_it_takes_two_attempts() {
        let attempts = AtomicUsize::new(0);
        let (client, asked) = server(move |method, _, _| {
            assert_eq!(method, Method::DELETE);
            match attempts.fetch_add(1, Ordering::Relaxed) {
                0 => (
                    500,
                    json!({"kind": "Status", "status": "Failure", "code": 500, "message": "later"}),
                ),
                _ => (200, json!({"kind": "Status", "status": "Success"})),
            }
        });
        let cache = Arc::new(Cache::default());
        let kept = Kept {
            slices: true,
            endpoints: true,
            mirrors: true,
        };
        let endpoints = ServiceEndpoints::new(client, &cache, kept);
        let written = json!({"metadata": {"name": "s", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
            "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]});
        cache
            .endpoints
            .store()
            .apply(serde_json::from_value(written).unwrap());
        let key = ObjectKey::new("ns", "s");
        endpoints.sync(&key).await.unwrap();
        assert!(
            asked.lock().unwrap().is_empty(),
            "nobody deleted a Service of that name"
        );
        endpoints.gone.lock().unwrap().insert(key.clone());
        assert!(endpoints.sync(&key).await.is_err());
        endpoints.sync(&key).await.unwrap();
        assert_eq!(asked.lock().unwrap().len(), 2);
        endpoints.sync(&key).await.unwrap();
        assert_eq!(asked.lock().unwrap().len(), 2, "once is enough");
    }
}
