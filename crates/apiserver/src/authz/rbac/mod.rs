//! Role-based access: what stored Roles, ClusterRoles and their bindings allow (contract §16).
//!
//! The compiled form is made anew when one of the four kinds has changed since it was last asked for:
//! they change rarely and are asked for with every request.
mod grants;
mod rule;

pub use grants::Grants;
pub use rule::{Rule, rules_of};

use crate::cache::{Cache, StorageId};
use crate::resources;
use grants::Objects;
use parking_lot::RwLock;
use serde_json::Value;
use std::sync::Arc;

/// `rbac.authorization.k8s.io`.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The grants that hold now.
pub struct Rbac {
    cache: Arc<Cache>,
    /// Roles, cluster roles, and the bindings of each.
    storages: [Option<StorageId>; 4],
    /// With the revision of the last change they include.
    compiled: RwLock<(u64, Arc<Grants>)>,
}

impl Rbac {
    pub fn new(cache: Arc<Cache>) -> Self {
        let kinds = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];
        Self {
            storages: kinds
                .map(|plural| resources::find(GROUP, "v1", plural).and_then(|kind| cache.storage(kind))),
            cache,
            compiled: RwLock::default(),
        }
    }

    pub fn grants(&self) -> Arc<Grants> {
        // Never 0, which nothing compiled yet has.
        let newest = self.cache.last_change(self.storages.into_iter().flatten()).max(1);
        {
            let compiled = self.compiled.read();
            if compiled.0 >= newest {
                return compiled.1.clone();
            }
        }
        let [roles, cluster_roles, role_bindings, cluster_role_bindings] =
            self.storages.map(|id| self.values(id));
        let grants = Arc::new(Grants::compile(&Objects {
            roles,
            cluster_roles,
            role_bindings,
            cluster_role_bindings,
        }));
        let mut compiled = self.compiled.write();
        if compiled.0 < newest {
            *compiled = (newest, grants.clone());
        }
        grants
    }

    fn values(&self, storage: Option<StorageId>) -> Vec<Value> {
        let found = storage.map(|id| self.cache.snapshot(id, "").objects);
        found.iter().flatten().map(|object| object.value()).collect()
    }
}
