//! Deletes the objects of a definition that is being deleted, then lets it go. Objects with finalizers are waited for, and
//! those that cannot be opened for want of their key.
use crate::ApiServer;
use crate::cache::{Object, StorageId};
use crate::resources::{FINALIZER, Resource};
use crate::upkeep::own_call;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Pause before what failed is tried again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Watches the definitions until the server shuts down.
pub async fn run(server: Weak<ApiServer>) {
    let Some((mut changed, shutdown)) = super::followed(&server) else {
        return;
    };
    let mut begun: HashSet<String> = HashSet::new();
    loop {
        changed.borrow_and_update();
        let Some(server) = server.upgrade() else { return };
        let all = terminating(&server);
        begun.retain(|uid| all.iter().any(|crd| text(crd, "uid") == *uid));
        for crd in all {
            if begun.insert(text(&crd, "uid")) {
                tokio::spawn(clean_up(server.clone(), crd));
            }
        }
        drop(server);
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => return,
        }
    }
}

fn terminating(server: &ApiServer) -> Vec<Value> {
    let Some(storage) = super::resource().and_then(|resource| server.cache.storage(resource)) else {
        return Vec::new();
    };
    let all = server.cache.snapshot(storage, "").objects;
    let ending = all.iter().filter(|object| object.is_marked());
    ending
        .map(|object| object.value())
        .filter(has_finalizer)
        .collect()
}

fn has_finalizer(crd: &Value) -> bool {
    let finalizers = crd["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER))
}

fn text(object: &Value, key: &str) -> String {
    object["metadata"][key].as_str().unwrap_or_default().to_owned()
}

async fn clean_up(server: Arc<ApiServer>, crd: Value) {
    let (name, group) = (
        text(&crd, "name"),
        crd["spec"]["group"].as_str().unwrap_or_default(),
    );
    let plural = crd["spec"]["names"]["plural"].as_str().unwrap_or_default();
    let declared = server.cache.custom().declared(group, plural);
    // In the version that is stored there is nothing to convert.
    let stored = declared.first().and_then(|r| server.cache.storage(r));
    let stored = stored.map(|storage| server.cache.resource(storage));
    let own = declared
        .iter()
        .find(|r| stored.is_some_and(|s| std::ptr::eq(**r, s)));
    let resource = own.or(declared.first()).copied();
    // Whether a version is served makes no difference to what is stored.
    if let Some(resource) = resource {
        delete_objects(&server, resource).await;
    }
    tracing::info!(crd = name, "the objects of a definition are gone, and so is it");
    while !server.shutdown.is_cancelled() && !let_go(&server, &name).await {
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn delete_objects(server: &Arc<ApiServer>, resource: &'static Resource) {
    let Some(storage) = server.cache.storage(resource) else {
        return;
    };
    let mut changed = server.cache.subscribe(storage);
    loop {
        changed.borrow_and_update();
        let objects = server.cache.snapshot(storage, "").objects;
        if objects.is_empty() && is_whole(server, storage) {
            return;
        }
        let mut failed = false;
        for object in objects {
            // Its finalizers are waited for.
            if object.is_marked() {
                continue;
            }
            failed |= !delete(server, resource, &object).await;
        }
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY_PAUSE), if failed => {}
            () = server.shutdown.cancelled() => return,
        }
    }
}

/// Whether there is nothing that cannot be opened now: that is waited for as well.
fn is_whole(server: &ApiServer, storage: StorageId) -> bool {
    let cache = &server.cache;
    cache.why_shut(storage).is_none() && cache.some_lost(storage, "").is_none()
}

/// Deletes an object; false when that has to be tried again.
pub(super) async fn delete(server: &Arc<ApiServer>, resource: &Resource, object: &Object) -> bool {
    let namespace = match object.namespace() {
        "" => String::new(),
        namespace => format!("namespaces/{namespace}/"),
    };
    let path = format!(
        "/apis/{}/{}/{namespace}{}/{}",
        resource.group,
        resource.version,
        resource.plural,
        object.name()
    );
    own_call(server, Method::DELETE, &path, Value::Null)
        .await
        .is_success()
}

/// Takes the finalizer away; false when that has to be tried again.
async fn let_go(server: &Arc<ApiServer>, name: &str) -> bool {
    let Some(crd) = super::resource().and_then(|r| server.cache.object(r, "", name)) else {
        return true;
    };
    let crd = crd.value();
    let left: Vec<&Value> = crd["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|f| *f != FINALIZER)
        .collect();
    let patch =
        json!({"metadata": {"finalizers": left, "resourceVersion": crd["metadata"]["resourceVersion"]}});
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    let code = own_call(server, Method::PATCH, &path, patch).await;
    code.is_success() || code == StatusCode::NOT_FOUND
}
