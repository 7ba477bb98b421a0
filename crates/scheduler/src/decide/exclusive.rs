//! Claims that one pod alone may use at a time: those whose only access mode is ReadWriteOncePod. Pure.

use std::sync::Arc;

use orlop_api::placement::Reason;
use orlop_client::informer::ObjectKey;

use crate::known::cluster::{Cluster, Holder};
use crate::known::view::Pending;
use crate::known::world::World;

/// Who else uses the claims that one pod wants for itself.
#[derive(Debug, Clone)]
pub struct Exclusive {
    namespace: Arc<str>,
    claims: Vec<Arc<str>>,
    /// By how many uses they are taken.
    taken: i64,
}

impl Exclusive {
    /// Counts; `None` if the pod wants nothing for itself alone.
    pub fn of(key: &ObjectKey, pod: &Pending, cluster: &mut Cluster, world: &World) -> Option<Self> {
        let namespace = key.namespace.clone();
        let wants_alone = |name: &&Arc<str>| {
            let claim = ObjectKey {
                namespace: namespace.clone(),
                name: (*name).clone(),
            };
            world.claims.get(&claim).is_some_and(|claim| claim.is_exclusive())
        };
        let claims: Vec<Arc<str>> = pod.claims.iter().filter(wants_alone).cloned().collect();
        if claims.is_empty() {
            return None;
        }
        let mut exclusive = Self {
            namespace,
            claims,
            taken: 0,
        };
        for candidate in cluster.candidates() {
            for (key, holder) in candidate.holders {
                exclusive.count(key, holder, 1);
            }
        }
        Some(exclusive)
    }

    /// Counts a pod so many times: -1 takes it away.
    pub fn count(&mut self, key: &ObjectKey, holder: &Holder, times: i64) {
        if key.namespace != self.namespace {
            return;
        }
        let shared = holder.claims.iter().filter(|claim| self.claims.contains(claim));
        self.taken += times * i64::try_from(shared.count()).unwrap_or(i64::MAX);
    }

    /// Why the pod can't be anywhere, if it can't.
    pub fn refuses(&self) -> Option<Reason> {
        (self.taken > 0).then_some(Reason::ClaimInUse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, hold_pod, pending_pod, world};
    use serde_json::{Value, json};

    #[test]
    fn a_claim_of_one_pod_shuts_out_others_wherever_they_would_go() {
        let mut cluster = cluster(json!({"a": {}, "b": {}}));
        let spec = |claim: &str| -> Value {
            json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]})
        };
        let world = world();
        for (namespace, name, mode) in [
            ("default", "own", "ReadWriteOncePod"),
            ("prod", "own", "ReadWriteOncePod"),
            ("default", "shared", "ReadWriteOnce"),
        ] {
            let claim = json!({"metadata": {"name": name, "namespace": namespace, "uid": name},
                "spec": {"accessModes": [mode]}});
            world.claims.apply(serde_json::from_value(claim).unwrap());
        }
        hold_pod(&mut cluster, "default", "user", "a", json!({}), spec("own"));
        hold_pod(&mut cluster, "default", "other", "a", json!({}), spec("shared"));
        let mut refusal = |namespace: &str, claim: &str| {
            let pod = pending_pod(namespace, "p", json!({}), spec(claim));
            let key = ObjectKey::new(namespace, "p");
            let mut exclusive = Exclusive::of(&key, &pod, &mut cluster, &world)?;
            let refused = exclusive.refuses();
            if refused.is_some() {
                let user = pending_pod(namespace, "user", json!({}), spec(claim)).holder("u".into());
                exclusive.count(&ObjectKey::new(namespace, "user"), &user, -1);
                assert_eq!(exclusive.refuses(), None, "its only user is gone");
            }
            refused
        };
        assert_eq!(refusal("default", "own"), Some(Reason::ClaimInUse));
        assert_eq!(refusal("prod", "own"), None, "another namespace's");
        assert_eq!(refusal("default", "shared"), None);
    }
}
