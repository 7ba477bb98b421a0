//! The webhooks and policies that hold now, compiled anew when one has changed since they were last asked for.
use super::matching::GROUP;
use super::policies::{self, Policy};
use super::settings::AdmissionSettings;
use super::webhooks::{self, Webhook};
use crate::cache::{Cache, StorageId};
use crate::outbound::{Ways, WebhookClients};
use crate::resources;
use parking_lot::RwLock;
use serde_json::Value;
use std::sync::Arc;

const KINDS: [&str; 6] = [
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// What is compiled.
#[derive(Debug, Default)]
pub struct Compiled {
    pub mutating: Vec<Webhook>,
    pub validating: Vec<Webhook>,
    pub policies: Vec<Policy>,
    pub mutating_policies: Vec<Policy>,
}

impl Compiled {
    /// Whether some webhook or policy may be about writes of the resources with this name.
    pub fn concern(&self, plural: &str) -> bool {
        let webhooks = self.mutating.iter().chain(&self.validating);
        let policies = self.policies.iter().chain(&self.mutating_policies);
        webhooks
            .map(Webhook::criteria)
            .chain(policies.map(Policy::criteria))
            .any(|criteria| criteria.concern(plural))
    }
}

pub struct Hooks {
    cache: Arc<Cache>,
    storages: [Option<StorageId>; 6],
    mutating_clients: Arc<WebhookClients>,
    validating_clients: Arc<WebhookClients>,
    ways: Ways,
    /// With the revision of the last change it includes.
    compiled: RwLock<(u64, Arc<Compiled>)>,
}

impl Hooks {
    pub fn new(cache: Arc<Cache>, settings: &AdmissionSettings) -> Self {
        Self {
            storages: KINDS
                .map(|plural| resources::find(GROUP, "v1", plural).and_then(|kind| cache.storage(kind))),
            mutating_clients: settings.mutating_clients.clone(),
            validating_clients: settings.validating_clients.clone(),
            ways: Ways::default(),
            cache,
            compiled: RwLock::default(),
        }
    }

    pub fn current(&self) -> Arc<Compiled> {
        let newest = self.cache.last_change(self.storages.into_iter().flatten());
        {
            let compiled = self.compiled.read();
            if compiled.0 >= newest {
                return compiled.1.clone();
            }
        }
        let [
            mutating,
            validating,
            policies,
            bindings,
            changing,
            changing_bindings,
        ] = self.storages.map(|id| self.values(id));
        let made = Arc::new(Compiled {
            mutating: webhooks::compile(&mutating, &self.mutating_clients, &self.ways),
            validating: webhooks::compile(&validating, &self.validating_clients, &self.ways),
            policies: policies::compile(&policies, &bindings),
            mutating_policies: policies::compile(&changing, &changing_bindings),
        });
        let mut compiled = self.compiled.write();
        if compiled.0 < newest {
            *compiled = (newest, made.clone());
        }
        made
    }

    fn values(&self, storage: Option<StorageId>) -> Vec<Value> {
        let found = storage.map(|id| self.cache.snapshot(id, "").objects);
        found.iter().flatten().map(|object| object.value()).collect()
    }
}
