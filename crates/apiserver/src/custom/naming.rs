//! Gives names that have become free to the definitions that wait for them.
use super::cleanup::call;
use super::names;
use crate::ApiServer;
use crate::registry::now;
use http::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Pause before what failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Follows the definitions until the server shuts down.
pub async fn run(server: Weak<ApiServer>) {
    let Some((mut changed, shutdown)) = server.upgrade().and_then(|server| {
        let storage = server.cache.storage(super::resource()?)?;
        Some((server.cache.subscribe(storage), server.shutdown.clone()))
    }) else {
        return;
    };
    loop {
        changed.borrow_and_update();
        let Some(server) = server.upgrade() else { return };
        let settled = settle(&server).await;
        drop(server);
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY_PAUSE), if !settled => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// False when something has to be tried again.
async fn settle(server: &Arc<ApiServer>) -> bool {
    let Some((name, patch)) = waiting(&super::definitions(&server.cache), &now()) else {
        return true;
    };
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}/status");
    call(server, Method::PATCH, &path, patch).await.is_success()
}

/// What is to be written to which definition. One at a time: the others see what it has taken.
fn waiting(all: &[Value], now: &str) -> Option<(String, Value)> {
    let mut waiting = all
        .iter()
        .filter(|crd| crd["metadata"]["deletionTimestamp"].is_null() && names::are_refused(crd));
    waiting.find_map(|crd| {
        let status = names::status(crd, all, now);
        let name = crd["metadata"]["name"].as_str()?.to_owned();
        let version = &crd["metadata"]["resourceVersion"];
        (status != crd["status"]).then(|| {
            (
                name,
                json!({"metadata": {"resourceVersion": version}, "status": status}),
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_free_again_go_to_one_that_waits() {
        let crd = |plural: &str| {
            json!({"metadata": {"name": format!("{plural}.g"), "resourceVersion": "7"}, "spec": {"group": "g", "names":
                {"plural": plural, "singular": plural, "kind": "Widget"}, "versions": [{"name": "v1", "storage": true}]}})
        };
        let mut all = vec![crd("a"), crd("b"), crd("c")];
        for one in 0..3 {
            all[one]["status"] = names::status(&all[one], &all[..one], "t");
        }
        assert_eq!(waiting(&all, "later"), None);
        all.remove(0);
        let (name, patch) = waiting(&all, "later").unwrap();
        assert_eq!(name, "b.g");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        assert_eq!(patch["status"]["acceptedNames"]["kind"], "Widget");
        all[0]["status"] = patch["status"].clone();
        assert_eq!(waiting(&all, "later"), None);
    }
}
