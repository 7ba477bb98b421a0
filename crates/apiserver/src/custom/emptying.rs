//! Deletes the objects of a namespace that is being deleted whose definition serves no version: who empties namespaces asks
//! what is served, and would leave them behind for the next namespace of that name.
use super::cleanup::{RETRY_PAUSE, delete};
use crate::ApiServer;
use crate::resources;
use std::sync::{Arc, Weak};

/// Follows namespaces and definitions until the server shuts down.
pub async fn run(server: Weak<ApiServer>) {
    let Some((mut definitions, shutdown)) = super::followed(&server) else {
        return;
    };
    let Some(mut namespaces) = server.upgrade().and_then(|server| {
        let storage = server.cache.storage(resources::find("", "v1", "namespaces")?)?;
        Some(server.cache.subscribe(storage))
    }) else {
        return;
    };
    loop {
        definitions.borrow_and_update();
        namespaces.borrow_and_update();
        let Some(server) = server.upgrade() else { return };
        let done = empty(&server).await;
        drop(server);
        tokio::select! {
            changed = definitions.changed() => if changed.is_err() { return },
            changed = namespaces.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY_PAUSE), if !done => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// False when something has to be tried again.
async fn empty(server: &Arc<ApiServer>) -> bool {
    let mut done = true;
    for resource in server.cache.custom().unserved() {
        let Some(storage) = server.cache.storage(resource) else {
            continue;
        };
        // In the version that is stored there is nothing to convert.
        let resource = server.cache.resource(storage);
        for object in server.cache.snapshot(storage, "").objects {
            let is_marked = matches!(object.at(["/metadata/deletionTimestamp"]), [Some(_)]);
            if !is_marked && is_going(server, object.namespace()) {
                done &= delete(server, resource, &object).await;
            }
        }
    }
    done
}

/// Whether a namespace is being deleted. Of one that isn't there nothing is known: it may be unreadable.
fn is_going(server: &ApiServer, namespace: &str) -> bool {
    let namespace = server.cache.core_object("namespaces", "", namespace);
    namespace.is_some_and(|namespace| matches!(namespace.at(["/metadata/deletionTimestamp"]), [Some(_)]))
}
