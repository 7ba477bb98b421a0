//! Quotas: what a write uses is charged in the transaction of the write, so that neither happens without the other
//! (contract §17). What has gone is given back by a controller.
use super::allocation::Guard;
use crate::admission::Operation;
use crate::cache::Object;
use crate::encode;
use crate::http::Call;
use crate::resources::{self, Resource, read};
use crate::status::ApiError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use orlop_api::quota::{Attempt, Kind, Limited, charge as fits, quantities};
use orlop_store::{Compare, Op, Revision};
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// The name by which it can be turned off.
pub const PLUGIN: &str = "ResourceQuota";
/// Namespaces that share a turn wait for each other.
const TURNS: usize = 64;

/// Writes that are charged to the quotas of a namespace go one by one through this server: each would otherwise find
/// that another had changed the quota meanwhile.
pub struct Turns([Mutex<()>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    async fn take(&self, namespace: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let turn = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
        self.0[turn].lock().await
    }
}

/// What has to hold, and to be written, together with the object.
#[derive(Default)]
pub struct Charge<'c> {
    pub guards: Vec<Guard>,
    /// Kept until the write is done.
    _turn: Option<MutexGuard<'c, ()>>,
}

/// Kinds that no quota counts: they expire, or are never stored.
fn is_counted(resource: &Resource) -> bool {
    let is_event = resource.plural == "events" && matches!(resource.group, "" | "events.k8s.io");
    resource.namespaced && !resource.storage.is_empty() && !is_event
}

/// Whether a change can use more of something.
fn may_use_more(resource: &Resource, subresource: &str, new: &Value, old: Option<&Value>) -> bool {
    match (resource.group, resource.plural, subresource) {
        ("", "services", "")
        | ("", "persistentvolumeclaims", "" | "status")
        | ("", "pods", "resize")
        | ("resource.k8s.io", "resourceclaims", "") => true,
        // A pod that is given a deadline counts for other quotas than before.
        ("", "pods", "") => old.is_some_and(|old| has_deadline(old) != has_deadline(new)),
        _ => false,
    }
}

fn has_deadline(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].is_number()
}

/// Charges the quotas of the object's namespace. Nothing is written yet: the guards are.
pub async fn charge<'c>(
    call: &'c Call,
    operation: Operation,
    subresource: &str,
    new: &Value,
    old: Option<&Value>,
) -> Result<Charge<'c>, ApiError> {
    let (server, resource) = (&call.server, call.resource);
    let concerned = match operation {
        Operation::Create => is_counted(resource),
        Operation::Update => may_use_more(resource, subresource, new, old),
        _ => false,
    };
    let namespace = call.info.namespace.as_str();
    let limited = &server.admission.settings().limited;
    let own = |limited: &Limited| limited.group == resource.group && limited.plural == resource.plural;
    let may_be_refused = || limited.iter().any(own) || !quotas(call, namespace).is_empty();
    if !concerned || !server.admission.has(PLUGIN) || !may_be_refused() {
        return Ok(Charge::default());
    }
    let turn = server.quota_turns.take(namespace).await;
    let found = quotas(call, namespace);
    let typed: Vec<ResourceQuota> = found
        .iter()
        .filter_map(|quota| read(&quota.value(), ResourceQuota::clone))
        .collect();
    let attempt = Attempt {
        kind: Kind {
            group: resource.group,
            plural: resource.plural,
        },
        new,
        old,
        now: Timestamp::now(),
    };
    let charged = fits(&typed, limited, &attempt).map_err(|why| {
        let name = super::text(new, "name");
        ApiError::forbidden(resource.group, resource.plural, name, &why.to_string())
    })?;
    let stored_as = resources::find("", "v1", "resourcequotas").ok_or_else(ApiError::no_such_resource)?;
    let guard = |(index, used): &(usize, _)| {
        let quota = found.get(*index)?;
        let mut value = quota.value();
        value["status"]["used"] = json!(quantities(used));
        let key = stored_as.store_key(&quota.key);
        Some(Guard {
            compare: Compare::mod_revision(&key, Revision(quota.revision)),
            put: Op::put(&key, encode::stored(stored_as, &value), None),
        })
    };
    Ok(Charge {
        guards: charged.iter().filter_map(guard).collect(),
        _turn: Some(turn),
    })
}

/// By name: of several that refuse, the first speaks.
fn quotas(call: &Call, namespace: &str) -> Vec<Arc<Object>> {
    call.server.cache.core_objects("resourcequotas", namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_or_is_not_stored_is_not_counted() {
        let counted = |group: &str, plural: &str| is_counted(resources::find(group, "v1", plural).unwrap());
        for (group, plural) in [("", "pods"), ("", "resourcequotas"), ("apps", "deployments")] {
            assert!(counted(group, plural), "{plural}");
        }
        for (group, plural) in [
            ("", "events"),
            ("events.k8s.io", "events"),
            ("", "nodes"),
            ("", "bindings"),
            ("authorization.k8s.io", "localsubjectaccessreviews"),
        ] {
            assert!(!counted(group, plural), "{plural}");
        }
    }

    #[test]
    fn changes_that_can_use_more_are_charged() {
        let may = |group: &str, plural: &str, subresource: &str| {
            let resource = resources::find(group, "v1", plural).unwrap();
            may_use_more(resource, subresource, &json!({}), Some(&json!({})))
        };
        assert!(may("", "services", ""));
        assert!(may("", "persistentvolumeclaims", ""));
        assert!(may("resource.k8s.io", "resourceclaims", ""));
        assert!(!may("", "pods", "") && !may("", "pods", "status"));
        assert!(!may("", "configmaps", ""));
        let pods = resources::find("", "v1", "pods").unwrap();
        let ending = json!({"spec": {"activeDeadlineSeconds": 5}});
        assert!(may_use_more(pods, "", &ending, Some(&json!({}))));
        assert!(!may_use_more(pods, "", &ending, Some(&ending)));
    }
}
