//! Deletes the objects of a namespace that is being deleted whose definition serves no version: who empties namespaces asks
//! what is served, and would leave them behind for the next namespace of that name.
use super::cleanup::{RETRY_PAUSE, delete};
use crate::ApiServer;
use std::collections::HashSet;
use std::sync::{Arc, Weak};

/// Follows namespaces and definitions until the server shuts down.
pub async fn run(server: Weak<ApiServer>) {
    let Some((mut definitions, shutdown)) = super::followed(&server) else {
        return;
    };
    let own = server.upgrade();
    let Some(mut namespaces) = own.and_then(|own| own.cache.changes_of("", "namespaces")) else {
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
    let unserved = server.cache.custom().unserved();
    if unserved.is_empty() {
        return true;
    }
    // Whoever else empties them sees nothing of these objects: a namespace may be gone before the last of them.
    let going = going(server);
    if going.is_empty() {
        return true;
    }
    let mut done = true;
    for resource in unserved {
        let Some(storage) = server.cache.storage(resource) else {
            continue;
        };
        // In the version that is stored there is nothing to convert.
        let resource = server.cache.resource(storage);
        for object in server.cache.snapshot(storage, "").objects {
            if going.contains(object.namespace()) && !object.is_marked() {
                done &= delete(server, resource, &object).await;
            }
        }
    }
    done
}

/// The namespaces that are being deleted. Of those that aren't there nothing is known: they may be unreadable.
fn going(server: &ApiServer) -> HashSet<String> {
    let all = server.cache.core_objects("namespaces", "");
    let marked = all.iter().filter(|namespace| namespace.is_marked());
    marked.map(|namespace| namespace.name().to_owned()).collect()
}
