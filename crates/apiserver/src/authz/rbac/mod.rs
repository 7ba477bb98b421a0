//! Role-based access: what stored Roles, ClusterRoles and their bindings allow (contract §16).
//!
//! The compiled form is made anew when one of the four kinds has changed since it was last asked for:
//! they change rarely and are asked for with every request.
mod grants;
mod rule;

pub use grants::Grants;
pub use rule::Rule;

use crate::cache::Cache;
use crate::resources;
use grants::Objects;
use parking_lot::RwLock;
use serde_json::Value;
use std::sync::Arc;

/// `rbac.authorization.k8s.io`.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The grants that hold now.
#[derive(Default)]
pub struct Rbac {
    /// With the revision of the last change they include.
    compiled: RwLock<(u64, Arc<Grants>)>,
}

impl Rbac {
    pub fn grants(&self, cache: &Cache) -> Arc<Grants> {
        let kinds = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];
        let storages =
            kinds.map(|plural| resources::find(GROUP, "v1", plural).and_then(|r| cache.storage(r)));
        let newest = storages.iter().flatten().map(|id| cache.last_change(*id)).max();
        // Never 0, which nothing compiled yet has.
        let newest = newest.unwrap_or_default().max(1);
        {
            let compiled = self.compiled.read();
            if compiled.0 >= newest {
                return compiled.1.clone();
            }
        }
        let mut objects = storages.map(|id| -> Vec<Value> {
            let found = id.map(|id| cache.snapshot(id, "").objects).unwrap_or_default();
            found.iter().map(|object| object.value()).collect()
        });
        let [roles, cluster_roles, role_bindings, cluster_role_bindings] = &mut objects;
        let grants = Arc::new(Grants::compile(&Objects {
            roles: std::mem::take(roles),
            cluster_roles: std::mem::take(cluster_roles),
            role_bindings: std::mem::take(role_bindings),
            cluster_role_bindings: std::mem::take(cluster_role_bindings),
        }));
        let mut compiled = self.compiled.write();
        if compiled.0 < newest {
            *compiled = (newest, grants.clone());
        }
        grants
    }
}
