//! Objects that exist from the first start on (contract §21): namespaces and priority classes.
use crate::ApiServer;
use crate::encode;
use crate::registry::{assign, text};
use crate::resources;
use orlop_store::{Compare, Op, Revision, StoreError, Txn};
use serde_json::{Value, json};

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Writes what is missing; answers the last revision written.
pub async fn ensure(server: &ApiServer) -> Result<(), StoreError> {
    let mut missing = Vec::new();
    for name in NAMESPACES {
        missing.push(("namespaces", "", json!({"metadata": {"name": name}})));
    }
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000_i64,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        missing.push((
            "priorityclasses",
            "scheduling.k8s.io",
            json!({"metadata": {"name": name}, "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority"}),
        ));
    }
    // One transaction, hence one sync to disk: the first answer must come within the start budget.
    let mut txn = Txn::default();
    for (plural, group, object) in missing {
        add(server, &mut txn, plural, group, object);
    }
    if txn.success.is_empty() {
        return Ok(());
    }
    let written = server.store.txn(txn).await?;
    server.cache.reach(written.revision.0).await;
    Ok(())
}

fn add(server: &ApiServer, txn: &mut Txn, plural: &str, group: &str, mut object: Value) {
    let Some(resource) = resources::find(group, "v1", plural) else {
        return;
    };
    let Some(storage) = server.cache.storage(resource) else {
        return;
    };
    let name = text(&object, "name").to_owned();
    if server.cache.get(storage, &name).is_some() {
        return;
    }
    object["kind"] = json!(resource.kind);
    object["apiVersion"] = json!(resource.api_version());
    (resource.rules.default)(&mut object);
    (resource.rules.prepare_create)(&mut object);
    assign(resource, &mut object);
    let key = resource.store_key(&resource.key("", &name));
    txn.compare.push(Compare::mod_revision(&key, Revision(0)));
    txn.success
        .push(Op::put(&key, encode::stored(resource, &object), None));
}
