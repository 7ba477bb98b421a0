//! DELETE on an object (contract §7.4, §7.5): a pure decision, and the writes it asks for.
use super::hint::Hint;
use super::{get, identity, present};
use crate::admission::{self, Admission, Attempt, Operation};
use crate::cache::Object;
use crate::custom;
use crate::encode;
use crate::http::{Answer, Call};
use crate::request::{self, DeleteOptions, Propagation};
use crate::resources::Resource;
use crate::status::ApiError;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use orlop_store::{Compare, Op, Revision, Txn};
use serde_json::{Value, json};
use std::sync::Arc;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// Attempts against concurrent writers before the client is told of the conflict.
const ATTEMPTS_MAX: usize = 32;

pub async fn delete(call: &Call) -> Result<Answer, ApiError> {
    let body = request::decode_options(&call.headers, &call.body)?;
    let options = DeleteOptions::parse(&call.query, body.as_ref())?;
    warn(call, &options);
    let name = call.info.name.as_str();
    let outcome = delete_object(call, name, &options, Admission::Due).await?;
    answer(call, outcome, &options).await
}

/// Tells who says nothing of dependents what becomes of them, where that is not what is expected today.
pub fn warn(call: &Call, options: &DeleteOptions) {
    let warning = call.resource.rules.leaving_warning;
    if options.propagation.is_none() && !warning.is_empty() {
        call.warn(warning);
    }
}

/// What to do about a request to delete.
#[derive(Debug, PartialEq)]
enum Decision {
    /// It goes now; the object as the answer shows it.
    Remove(Value),
    /// It stays for a while, marked.
    Mark(Value),
    /// It is being deleted already, as soon or sooner.
    Nothing,
}

/// What a deletion came to.
pub enum Outcome {
    /// Gone; the final object.
    Removed(Value),
    /// Still there, marked.
    Waiting(Arc<Object>),
    /// Dry run: it would stay, marked like this.
    WouldWait(Value),
}

/// Deletes one object of the request's resource and namespace.
pub async fn delete_object(
    call: &Call,
    name: &str,
    options: &DeleteOptions,
    admission: Admission,
) -> Result<Outcome, ApiError> {
    let resource = call.resource;
    let server = &call.server;
    let storage = get::storage(call)?;
    let stored_as = server.cache.resource(storage);
    let mut hint = Hint::default();
    for _ in 0..ATTEMPTS_MAX {
        let current = match get::find(call, name) {
            Ok(current) => current,
            Err(_) if hint.may_be_old(server).await? => continue,
            Err(error) => return Err(error),
        };
        let seen = custom::one_in_form(server, resource, current.clone()).await?;
        let seen = seen.value();
        if let Err(error) = preconditions(resource, name, &seen, options) {
            if hint.was_old(server, storage, &current).await? {
                continue;
            }
            return Err(error);
        }
        if admission == Admission::Due {
            let mut attempt = Attempt {
                old: Some(&seen),
                ..Attempt::new(call, Operation::Delete, name, options.dry_run)
            };
            admission::mutate(&mut attempt).await?;
            admission::validate(&attempt).await?;
        }
        let store_key = stored_as.store_key(&current.key);
        let when =
            Txn::when(Compare::mod_revision(&store_key, Revision(current.revision))).without_previous();
        // Deciding looks at metadata only where there are versions, and that is the same in all of them.
        match decide(stored_as, seen, options, Timestamp::now()) {
            Decision::Nothing => {
                if hint.was_old(server, storage, &current).await? {
                    continue;
                }
                return Ok(Outcome::Waiting(current));
            }
            Decision::Remove(mut last) => {
                if options.dry_run {
                    return Ok(Outcome::Removed(last));
                }
                let answer = server.store.txn(when.then(Op::delete(&store_key))).await?;
                server.cache.reach(answer.revision.0).await;
                if answer.succeeded {
                    // Who watches from there on does not see it go once more.
                    last["metadata"]["resourceVersion"] = json!(answer.revision.0.to_string());
                    return Ok(Outcome::Removed(last));
                }
            }
            Decision::Mark(marked) => {
                if options.dry_run {
                    return Ok(Outcome::WouldWait(marked));
                }
                let marked = custom::converted(server, stored_as, marked).await?;
                let bytes = encode::stored(stored_as, &marked);
                let lease = server.lease_for(stored_as).await?;
                let put = Op::put(&store_key, bytes.clone(), lease);
                let answer = server.store.txn(when.then(put)).await?;
                server.cache.reach(answer.revision.0).await;
                if answer.succeeded {
                    let revision = answer.revision.0;
                    let object = super::change::written(
                        call,
                        storage,
                        stored_as,
                        &current.key,
                        &bytes,
                        revision,
                        false,
                    )?;
                    return Ok(Outcome::Waiting(object));
                }
            }
        }
    }
    Err(ApiError::stale(resource, name))
}

/// Pure: what a request to delete does to an object.
fn decide(resource: &Resource, old: Value, options: &DeleteOptions, now: Timestamp) -> Decision {
    let mut new = old.clone();
    set_policy_finalizers(resource, &mut new, options);
    let was_deleting = !old["metadata"]["deletionTimestamp"].is_null();
    if !was_deleting {
        (resource.rules.prepare_delete)(&mut new);
    }
    let is_namespace = resource.plural == "namespaces";
    let held = !identity::finalizers(&new).is_empty()
        || (is_namespace
            && new["spec"]["finalizers"]
                .as_array()
                .is_some_and(|f| !f.is_empty()));
    let period = resource
        .rules
        .grace_period
        .map_or(0, |period| period(&old, options.grace_period_seconds));
    if is_namespace && held {
        new["status"]["phase"] = json!("Terminating");
    }
    if was_deleting {
        let before = old["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or_default();
        // Only ever sooner. Without a wish of its own, a repeated request changes nothing.
        let wished = options.grace_period_seconds.is_some() || before == 0;
        let sooner = wished && period < before;
        if !sooner && (held || before > 0) {
            return if new == old {
                Decision::Nothing
            } else {
                Decision::Mark(new)
            };
        }
    } else if resource.rules.generation {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
        if generation > 0 {
            new["metadata"]["generation"] = json!(generation + 1);
        }
    }
    mark(&mut new, period, now);
    if period == 0 && !held {
        return Decision::Remove(new);
    }
    Decision::Mark(new)
}

fn mark(object: &mut Value, period: i64, now: Timestamp) {
    let end = now.checked_add(SignedDuration::from_secs(period)).unwrap_or(now);
    object["metadata"]["deletionTimestamp"] = json!(identity::whole_seconds(end));
    object["metadata"]["deletionGracePeriodSeconds"] = json!(period);
}

/// Foreground and Orphan wait for the collector under a finalizer; Background removes both.
fn set_policy_finalizers(resource: &Resource, object: &mut Value, options: &DeleteOptions) {
    // What expires by itself is not waited for.
    if resource.rules.expires {
        return;
    }
    let policy = match options.propagation {
        Some(policy) => policy,
        // What was said before holds.
        None if identity::finalizers(object)
            .into_iter()
            .any(|f| f == FOREGROUND || f == ORPHAN) =>
        {
            return;
        }
        None if resource.rules.leaves_dependents => Propagation::Orphan,
        None => return,
    };
    let mut finalizers: Vec<String> = identity::finalizers(object)
        .into_iter()
        .filter(|f| *f != FOREGROUND && *f != ORPHAN)
        .map(str::to_owned)
        .collect();
    match policy {
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
        Propagation::Background => {}
    }
    let metadata = identity::metadata(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), json!(finalizers));
    }
}

/// Refuses if another object, or another version of it, is meant.
pub fn preconditions(
    resource: &Resource,
    name: &str,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let uid = identity::text(old, "uid");
    let version = identity::text(old, "resourceVersion");
    let why = if let Some(wanted) = options.uid.as_deref().filter(|w| *w != uid) {
        format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        )
    } else if let Some(wanted) = options.resource_version.as_deref().filter(|w| *w != version) {
        format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        )
    } else {
        return Ok(());
    };
    Err(ApiError::conflict(resource.group, resource.kind, name, &why))
}

async fn answer(call: &Call, outcome: Outcome, options: &DeleteOptions) -> Result<Answer, ApiError> {
    let resource = call.resource;
    let shown = |mut value: Value| {
        resource.show(&mut value);
        value
    };
    match outcome {
        Outcome::Removed(last) if resource.rules.delete_answers_object => {
            present::value(call, StatusCode::OK, shown(last))
        }
        Outcome::Removed(last) => {
            let mut details =
                json!({"name": call.info.name, "kind": resource.plural, "uid": identity::text(&last, "uid")});
            if !resource.group.is_empty() {
                details["group"] = json!(resource.group);
            }
            Ok(Answer::Value(
                StatusCode::OK,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
            ))
        }
        Outcome::Waiting(object) => {
            let code = if options.orphan_false {
                StatusCode::ACCEPTED
            } else {
                StatusCode::OK
            };
            present::object(call, code, object).await
        }
        Outcome::WouldWait(value) => present::value(call, StatusCode::OK, shown(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn pods() -> &'static Resource {
        resources::find("", "v1", "pods").unwrap()
    }

    fn bound() -> Value {
        json!({"metadata": {"name": "p", "generation": 1}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"}})
    }

    fn asked(seconds: i64) -> DeleteOptions {
        DeleteOptions {
            grace_period_seconds: Some(seconds),
            ..DeleteOptions::default()
        }
    }

    /// X01, X02, X03
    #[test]
    fn a_running_pod_gets_its_grace_and_may_only_lose_it() {
        let Decision::Mark(first) = decide(pods(), bound(), &DeleteOptions::default(), now()) else {
            panic!("the pod should stay");
        };
        assert_eq!(first["metadata"]["deletionTimestamp"], "2026-01-02T03:04:35Z");
        assert_eq!(first["metadata"]["deletionGracePeriodSeconds"], 30);
        assert_eq!(first["metadata"]["generation"], 2);
        assert_eq!(
            decide(pods(), first.clone(), &asked(100), now()),
            Decision::Nothing
        );
        assert_eq!(
            decide(pods(), first.clone(), &DeleteOptions::default(), now()),
            Decision::Nothing
        );
        let Decision::Mark(shorter) = decide(pods(), first.clone(), &asked(5), now()) else {
            panic!("the pod should stay, for less long");
        };
        assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
        assert_eq!(shorter["metadata"]["generation"], 2);
        assert!(matches!(
            decide(pods(), first, &asked(0), now()),
            Decision::Remove(_)
        ));
    }

    /// X04
    #[test]
    fn an_unbound_pod_goes_at_once() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Pending"}});
        let Decision::Remove(last) = decide(pods(), pod, &DeleteOptions::default(), now()) else {
            panic!("the pod should go");
        };
        assert_eq!(last["metadata"]["deletionGracePeriodSeconds"], 0);
    }

    /// X07, X10: finalizers hold an object; a repeated request changes nothing.
    #[test]
    fn finalizers_hold_an_object() {
        let configmaps = resources::find("", "v1", "configmaps").unwrap();
        let object = json!({"metadata": {"name": "c", "finalizers": ["a/b"]}});
        let Decision::Mark(marked) = decide(configmaps, object, &DeleteOptions::default(), now()) else {
            panic!("the object should stay");
        };
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
        assert_eq!(
            decide(configmaps, marked, &DeleteOptions::default(), now()),
            Decision::Nothing
        );

        let foreground = DeleteOptions {
            propagation: Some(Propagation::Foreground),
            ..DeleteOptions::default()
        };
        let Decision::Mark(waiting) =
            decide(configmaps, json!({"metadata": {"name": "c"}}), &foreground, now())
        else {
            panic!("the object should wait for its dependents");
        };
        assert_eq!(waiting["metadata"]["finalizers"], json!([FOREGROUND]));
        let background = DeleteOptions {
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        assert!(matches!(
            decide(configmaps, waiting, &background, now()),
            Decision::Remove(_)
        ));
    }

    #[test]
    fn dependents_of_jobs_and_replication_controllers_stay_if_nothing_else_is_said() {
        let after = |resource: &Resource, finalizers: Value, propagation| {
            let object = json!({"metadata": {"name": "o", "finalizers": finalizers}});
            let options = DeleteOptions {
                propagation,
                ..DeleteOptions::default()
            };
            match decide(resource, object, &options, now()) {
                Decision::Mark(marked) => marked["metadata"]["finalizers"].to_string(),
                Decision::Remove(_) => "gone".to_owned(),
                Decision::Nothing => "nothing".to_owned(),
            }
        };
        let jobs = resources::find("batch", "v1", "jobs").unwrap();
        let controllers = resources::find("", "v1", "replicationcontrollers").unwrap();
        for resource in [jobs, controllers] {
            assert_eq!(after(resource, json!([]), None), "[\"orphan\"]");
            assert_eq!(
                after(resource, json!([FOREGROUND]), None),
                "[\"foregroundDeletion\"]",
                "it said so"
            );
            assert_eq!(after(resource, json!([]), Some(Propagation::Background)), "gone");
        }
        let sets = resources::find("apps", "v1", "replicasets").unwrap();
        assert_eq!(after(sets, json!([]), None), "gone");
    }

    /// N04
    #[test]
    fn a_namespace_terminates_until_it_is_finalized() {
        let namespaces = resources::find("", "v1", "namespaces").unwrap();
        let object = json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Decision::Mark(marked) = decide(namespaces, object, &DeleteOptions::default(), now()) else {
            panic!("the namespace should stay");
        };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert_eq!(
            decide(namespaces, marked, &DeleteOptions::default(), now()),
            Decision::Nothing
        );
    }
}
