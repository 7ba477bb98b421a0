//! Gives names that have become free to the definitions that wait for them.
use super::cleanup::RETRY_PAUSE;
use super::names::{self, Names};
use crate::ApiServer;
use crate::registry::now;
use crate::upkeep::own_call;
use http::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Weak};

/// Follows the definitions until the server shuts down.
pub async fn run(server: Weak<ApiServer>) {
    let Some((mut changed, shutdown)) = super::followed(&server) else {
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
    if !super::some_are_refused(&server.cache) {
        return true;
    }
    let mut settled = true;
    for (name, version_seen) in waiting(&super::definitions(&server.cache), &now()) {
        let version = || {
            let object = super::resource().and_then(|resource| server.cache.object(resource, "", &name));
            object.map(|object| object.revision)
        };
        let before = version();
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        // Whoever is written looks for the names that it can have.
        let patch = json!({"metadata": {"resourceVersion": version_seen}});
        let done = own_call(server, Method::PATCH, &path, patch).await.is_success();
        // One at a time: the others see what it has taken, as this change brings them here again. What nobody lets
        // change must not keep the others from their names.
        if done && version() != before {
            return true;
        }
        settled &= done;
    }
    settled
}

/// Definitions that can have other names than they have, each as if the others stayed as they are, and their versions.
fn waiting(all: &[Value], now: &str) -> Vec<(String, String)> {
    let waiting = all
        .iter()
        .filter(|crd| crd["metadata"]["deletionTimestamp"].is_null() && names::are_refused(crd));
    let others: Vec<Names> = all.iter().map(Names::of).collect();
    let changing = waiting.filter(|crd| names::status(crd, &others, now) != crd["status"]);
    let text = |crd: &Value, key: &str| Some(crd["metadata"][key].as_str()?.to_owned());
    let named = changing.filter_map(|crd| Some((text(crd, "name")?, text(crd, "resourceVersion")?)));
    named.collect()
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
            let others: Vec<Names> = all[..one].iter().map(Names::of).collect();
            all[one]["status"] = names::status(&all[one], &others, "t");
        }
        assert_eq!(waiting(&all, "later"), []);
        all.remove(0);
        let waits = waiting(&all, "later");
        let to: Vec<(&str, &str)> = waits.iter().map(|(name, seen)| (&**name, &**seen)).collect();
        assert_eq!(to, [("b.g", "7"), ("c.g", "7")]);
        let others: Vec<Names> = all.iter().map(Names::of).collect();
        all[0]["status"] = names::status(&all[0], &others, "later");
        assert_eq!(all[0]["status"]["acceptedNames"]["kind"], "Widget");
        assert_eq!(waiting(&all, "later"), []);
    }
}
