//! Objects that exist from the first start on (contract §21): namespaces, priority classes, and the roles
//! that everybody is bound to.
mod authentication;
mod flow;
mod kubernetes;
mod roles;

pub(crate) use flow::objects as flow_objects;

use crate::ApiServer;
use crate::aggregation::GROUP;
use crate::authz::RBAC_GROUP;
use crate::cache::Object;
use crate::encode;
use crate::registry::{assign, text};
use crate::resources;
use crate::upkeep::built_in_api_services;
use orlop_api::annotations::{
    SYSTEM_CLUSTER_CRITICAL, SYSTEM_CRITICAL_PRIORITY, SYSTEM_NODE_CRITICAL, SYSTEM_NODE_CRITICAL_PRIORITY,
};
use orlop_store::{Compare, Op, Revision, StoreError, Txn};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};
use std::sync::Arc;

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Writes in one transaction. etcd takes 128 by default; few transactions make few syncs to disk, and
/// the first answer must come within the start budget.
const WRITES_MAX: usize = 120;

/// Rounds against other servers that start on the same store.
const ROUNDS_MAX: usize = 8;

/// Writes what is missing.
pub async fn ensure(server: &ApiServer) -> Result<(), StoreError> {
    write_all(server, missing).await
}

/// Puts the Service that leads to this server right.
pub async fn restore_service(server: &ApiServer) -> Result<(), StoreError> {
    write_all(server, service_corrections).await
}

/// Tells extension servers of the authorities that count now.
pub async fn tell_authorities(server: &ApiServer) -> Result<(), StoreError> {
    write_all(server, |server| {
        let wanted = told(server);
        wanted
            .iter()
            .filter_map(|wanted| write_corrected(server, wanted))
            .collect()
    })
    .await
}

/// What extension servers are to be told beside what others tell them.
fn told(server: &ApiServer) -> Option<kubernetes::Wanted> {
    let stored = told_now(server).map(|stored| stored.value());
    authentication::object(
        stored.as_ref(),
        server.client_ca.as_ref(),
        server.front_proxy.as_ref(),
        UnixTime::now(),
    )
}

/// What they are told now.
pub(crate) fn told_now(server: &ApiServer) -> Option<Arc<Object>> {
    let (namespace, name) = authentication::PLACE;
    server.cache.core_object("configmaps", namespace, name)
}

/// What is wrong with that Service and what belongs to it.
pub fn service_corrections(server: &ApiServer) -> Vec<(Compare, Op)> {
    let wanted = kubernetes::objects(
        server.advertise().port(),
        &server.masters.addresses(),
        &server.services,
    );
    wanted
        .iter()
        .filter_map(|wanted| write_corrected(server, wanted))
        .collect()
}

async fn write_all(
    server: &ApiServer,
    missing: impl Fn(&ApiServer) -> Vec<(Compare, Op)>,
) -> Result<(), StoreError> {
    for _ in 0..ROUNDS_MAX {
        let writes = missing(server);
        let mut raced = false;
        for chunk in writes.chunks(WRITES_MAX) {
            let mut txn = Txn::default();
            for (compare, put) in chunk {
                txn.compare.push(compare.clone());
                txn.success.push(put.clone());
            }
            let written = server.store.txn(txn).await?;
            server.cache.reach(written.revision.0).await;
            raced |= !written.succeeded;
        }
        if !raced {
            break;
        }
    }
    Ok(())
}

/// What has to be written, each with the condition that nobody did meanwhile.
fn missing(server: &ApiServer) -> Vec<(Compare, Op)> {
    let mut writes = Vec::new();
    let mut want =
        |plural: &str, group: &str, object: Value| writes.extend(write(server, plural, group, object));
    for name in NAMESPACES {
        want("namespaces", "", json!({"metadata": {"name": name}}));
    }
    for (name, value, description) in [
        (
            SYSTEM_CLUSTER_CRITICAL,
            SYSTEM_CRITICAL_PRIORITY,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            SYSTEM_NODE_CRITICAL,
            SYSTEM_NODE_CRITICAL_PRIORITY,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description,
            "preemptionPolicy": "PreemptLowerPriority"});
        want("priorityclasses", "scheduling.k8s.io", class);
    }
    for wanted in roles::all() {
        want(wanted.plural, RBAC_GROUP, wanted.object);
    }
    for (plural, object) in flow_objects() {
        let group = crate::flow::GROUP;
        let stored = resources::find(group, "v1", plural)
            .and_then(|kind| server.cache.object(kind, "", text(&object, "name")));
        // What is there has been changed by somebody, who knows why.
        if stored.is_none() {
            writes.extend(write(server, plural, group, object));
        }
    }
    // From when on Secrets say when their tokens were used.
    let (namespace, name) = (
        "kube-system",
        "kube-apiserver-legacy-service-account-token-tracking",
    );
    if server.accounts.is_some() && server.cache.core_object("configmaps", namespace, name).is_none() {
        let since = json!({"metadata": {"name": name, "namespace": namespace},
            "data": {"since": orlop_api::annotations::day(jiff::Timestamp::now())}});
        writes.extend(write(server, "configmaps", "", since));
    }
    let registered = resources::find(GROUP, "v1", "apiservices");
    for object in built_in_api_services(&server.runtime) {
        let stored = registered.and_then(|kind| server.cache.object(kind, "", text(&object, "name")));
        if stored.is_none() {
            writes.extend(write(server, "apiservices", GROUP, object));
        }
    }
    for wanted in kubernetes::objects(
        server.advertise().port(),
        &server.masters.addresses(),
        &server.services,
    )
    .into_iter()
    .chain(told(server))
    {
        writes.extend(write_corrected(server, &wanted));
    }
    writes
}

/// The write that creates an object, or puts right what is the server's of the stored one.
fn write_corrected(server: &ApiServer, wanted: &kubernetes::Wanted) -> Option<(Compare, Op)> {
    let resource = resources::find(wanted.group, "v1", wanted.plural)?;
    let (namespace, name) = (text(&wanted.object, "namespace"), text(&wanted.object, "name"));
    let Some(stored) = server.cache.object(resource, namespace, name) else {
        return write(server, wanted.plural, wanted.group, wanted.object.clone());
    };
    let object = kubernetes::corrected(&stored.value(), wanted)?;
    let key = resource.store_key(&stored.key);
    let put = Op::put(&key, encode::stored(resource, &object), None);
    Some((Compare::mod_revision(&key, Revision(stored.revision)), put))
}

/// The write that creates an object, or gives the stored one what it lacks; `None` if it lacks nothing.
fn write(server: &ApiServer, plural: &str, group: &str, mut object: Value) -> Option<(Compare, Op)> {
    let resource = resources::find(group, "v1", plural)?;
    let (namespace, name) = (text(&object, "namespace"), text(&object, "name"));
    let key = resource.store_key(&resource.key(namespace, name));
    let (object, revision) = match server.cache.object(resource, namespace, name) {
        Some(stored) => (roles::completed(&stored.value(), &object)?, stored.revision),
        None => {
            object["kind"] = json!(resource.kind);
            object["apiVersion"] = json!(resource.api_version());
            (resource.rules.default)(&mut object);
            let status = object.get("status").cloned();
            (resource.rules.prepare_create)(&mut object);
            if let Some(status) = status {
                object["status"] = status;
            }
            assign(resource, &mut object);
            (object, 0)
        }
    };
    let put = Op::put(&key, encode::stored(resource, &object), None);
    Some((Compare::mod_revision(&key, Revision(revision)), put))
}
