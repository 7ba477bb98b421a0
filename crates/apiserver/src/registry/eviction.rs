//! Eviction: a deletion that respects disruption budgets (contract §12.5).
use super::change::{Change, Outcome, Part, Tracking};
use super::{binding, delete, get, identity};
use crate::admission::{self, Admission, Attempt, Operation};
use crate::http::{Answer, Call};
use crate::request::{self, DeleteOptions, Expected, WriteOptions};
use crate::resources;
use crate::status::{ApiError, Cause};
use orlop_api::conditions::{condition, is_true};
use orlop_api::selector::LabelSelector;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// When a budget has not been looked at yet, come back after so many seconds.
const RETRY_SECONDS: u32 = 10;
/// The condition of a pod that was told to go.
const TARGET: &str = "DisruptionTarget";

pub async fn evict(call: &Call) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let expected = Expected {
        group: "policy",
        version: if call.body.windows(14).any(|w| w == b"policy/v1beta1") {
            "v1beta1"
        } else {
            "v1"
        },
        kind: "Eviction",
    };
    let mut eviction =
        request::decode_object(expected, &call.headers, &call.body, options.validation)?.object;
    // Whoever is asked about it knows the one form of today.
    eviction["apiVersion"] = json!("policy/v1");
    let name = call.info.name.as_str();
    let given = identity::text(&eviction, "name");
    if !given.is_empty() && given != name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let mut attempt = Attempt {
        subresource: "eviction",
        object: Some(&mut eviction),
        ..Attempt::new(call, Operation::Create, name, options.dry_run)
    };
    admission::mutate(&mut attempt).await?;
    admission::validate(&attempt).await?;
    let mut deletion = DeleteOptions::parse(&call.query, eviction.get("deleteOptions"))?;
    deletion.dry_run |= options.dry_run;
    let pod = match get::find(call, name) {
        Ok(pod) => pod.value(),
        // It may have been made by another server just now.
        Err(_) => {
            call.server.reach_now().await?;
            get::find(call, name)?.value()
        }
    };
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    let ungoverned = matches!(phase, "Pending" | "Succeeded" | "Failed")
        || !pod["metadata"]["deletionTimestamp"].is_null();
    // What can't go uses nothing up.
    delete::preconditions(call.resource, name, &pod, &deletion)?;
    let leave = match ungoverned {
        true => Leave::Granted,
        false => take_budget(call, &pod, deletion.dry_run).await?,
    };
    if !deletion.dry_run {
        let marked = mark_target(call, name, leave, &deletion).await?;
        // The version that the client named is the one before the mark.
        if deletion.resource_version.is_some() {
            deletion.resource_version = marked;
        }
    }
    delete::delete_object(call, name, &deletion, Admission::Passed).await?;
    Ok(binding::created())
}

/// Why a pod may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// No budget is about it, or one disruption of it was used up, or it disrupts nothing any more.
    Granted,
    /// It isn't healthy, and so no disruption.
    Unhealthy,
}

/// Whether a pod that isn't ready may go without using up a disruption: if its budget says so, or has enough others.
fn is_no_disruption(budget: &Value, pod: &Value) -> bool {
    if is_ready(pod) {
        return false;
    }
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    let desired = number("desiredHealthy");
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (desired > 0 && number("currentHealthy") >= desired)
}

fn is_ready(pod: &Value) -> bool {
    is_true(pod, "Ready")
}

/// Uses up one allowed disruption of the pod's budget, if it has one that guards it.
async fn take_budget(call: &Call, pod: &Value, dry_run: bool) -> Result<Leave, ApiError> {
    let budgets =
        resources::find("policy", "v1", "poddisruptionbudgets").ok_or_else(ApiError::no_such_resource)?;
    let storage = call
        .server
        .cache
        .storage(budgets)
        .ok_or_else(ApiError::no_such_resource)?;
    let snapshot = call.server.cache.snapshot(storage, &call.info.namespace);
    let governing: Vec<Value> = snapshot
        .objects
        .iter()
        .map(|o| o.value())
        .filter(|budget| selects(budget, pod))
        .collect();
    let budget = match governing.as_slice() {
        [] => return Ok(Leave::Granted),
        [budget] if is_no_disruption(budget, pod) => return Ok(Leave::Unhealthy),
        [budget] => budget,
        _ => {
            return Err(ApiError::untyped(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let budget_name = identity::text(budget, "name").to_owned();
    let pod_name = identity::text(pod, "name").to_owned();
    let now = identity::now();
    let on_budgets = call.with_resource(budgets);
    Change {
        call: &on_budgets,
        part: Part::Status,
        name: &budget_name,
        dry_run,
        is_put: false,
        tracking: Tracking::Update,
        admission: Admission::Passed,
        sees_owners: true,
    }
    .apply(|budget| {
        let status = &budget["status"];
        let generation = budget["metadata"]["generation"].as_i64().unwrap_or_default();
        if status["observedGeneration"].as_i64().unwrap_or_default() < generation {
            return Err(blocked(format!(
                "The disruption budget {budget_name} is still being processed by the server."
            ))
            .with_retry_after(RETRY_SECONDS));
        }
        let allowed = status["disruptionsAllowed"].as_i64().unwrap_or_default();
        if allowed <= 0 {
            return Err(blocked(why_not(&budget_name, status)));
        }
        let mut new = budget.clone();
        new["status"]["disruptionsAllowed"] = json!(allowed - 1);
        new["status"]["disruptedPods"][&pod_name] = json!(now);
        Ok(new)
    })
    .await?;
    Ok(Leave::Granted)
}

/// Why a budget allows no disruption, as its status says.
fn why_not(budget: &str, status: &Value) -> String {
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    let (desired, current) = (number("desiredHealthy"), number("currentHealthy"));
    let conditions = status["conditions"].as_array();
    let failed = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "DisruptionAllowed" && condition["reason"] == "SyncFailed");
    if let Some(failed) = failed {
        let why = failed["message"].as_str().unwrap_or_default();
        format!(
            "The disruption budget {budget} does not allow evicting pods currently because it failed sync: {why}"
        )
    } else if current <= desired {
        format!("The disruption budget {budget} needs {desired} healthy pods and has {current} currently")
    } else {
        format!("The disruption budget {budget} does not allow evicting pods currently")
    }
}

fn blocked(cause: String) -> ApiError {
    ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.")
        .with_causes(vec![Cause::new("DisruptionBudget", "", cause)])
}

fn selects(budget: &Value, pod: &Value) -> bool {
    let Ok(selector) = serde_json::from_value(budget["spec"]["selector"].clone()) else {
        return false;
    };
    let labels: BTreeMap<String, String> =
        serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default();
    LabelSelector::from_meta(&selector).is_ok_and(|s| s.matches(&labels))
}

/// Writes on the pod what it goes for; its version afterwards.
async fn mark_target(
    call: &Call,
    name: &str,
    leave: Leave,
    deletion: &DeleteOptions,
) -> Result<Option<String>, ApiError> {
    let now = identity::now();
    let marked = Change {
        call,
        part: Part::Binding,
        name,
        dry_run: false,
        is_put: false,
        tracking: Tracking::Update,
        admission: Admission::Passed,
        sees_owners: true,
    }
    .apply(|old| {
        delete::preconditions(call.resource, name, old, deletion)?;
        if leave == Leave::Unhealthy && is_ready(old) {
            return Err(ApiError::conflict(
                "",
                "pods",
                name,
                "it has become ready meanwhile; please try again",
            ));
        }
        let mut pod = old.clone();
        binding::set_condition(&mut pod, target(old, &now));
        Ok(pod)
    })
    .await?;
    Ok(match marked {
        Some(Outcome::Stored(pod)) => Some(pod.revision.to_string()),
        _ => None,
    })
}

/// The condition that says so, since when it does.
fn target(pod: &Value, now: &str) -> Value {
    let before = condition(pod, TARGET).filter(|before| before["status"] == "True");
    let since = before.map(|condition| condition["lastTransitionTime"].clone());
    let mut condition = json!({
        "type": TARGET,
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| json!(now)),
    });
    binding::observe(&mut condition, pod);
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_says_why_it_allows_nothing() {
        let mut status = json!({"desiredHealthy": 2, "currentHealthy": 2});
        assert_eq!(
            why_not("b", &status),
            "The disruption budget b needs 2 healthy pods and has 2 currently"
        );
        status["currentHealthy"] = json!(3);
        assert_eq!(
            why_not("b", &status),
            "The disruption budget b does not allow evicting pods currently"
        );
        status["conditions"] = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no scale"}]);
        assert_eq!(
            why_not("b", &status),
            "The disruption budget b does not allow evicting pods currently because it failed sync: no scale"
        );
    }

    #[test]
    fn an_unhealthy_pod_is_no_disruption_where_enough_are_healthy_or_the_budget_says_so() {
        let budget = |policy: &str, healthy: i64, desired: i64| {
            json!({"spec": {"unhealthyPodEvictionPolicy": policy},
                "status": {"currentHealthy": healthy, "desiredHealthy": desired}})
        };
        let pod = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        for (policy, healthy, desired, ready, want) in [
            ("IfHealthyBudget", 1, 1, "False", true),
            ("IfHealthyBudget", 0, 1, "False", false),
            ("IfHealthyBudget", 0, 0, "False", false),
            ("IfHealthyBudget", 2, 1, "True", false),
            ("AlwaysAllow", 0, 1, "False", true),
            ("AlwaysAllow", 0, 1, "True", false),
        ] {
            let found = is_no_disruption(&budget(policy, healthy, desired), &pod(ready));
            assert_eq!(found, want, "{policy} {healthy} of {desired}, ready {ready}");
        }
    }
}
