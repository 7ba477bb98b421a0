//! What may only be used where a quota bounds it.
use super::charge::{Attempt, Refusal};
use super::scope::{holding, requirements};
use super::usage::usage;
use k8s_openapi::api::core::v1::{ResourceQuota, ScopedResourceSelectorRequirement};
use std::collections::BTreeSet;

/// Some uses of a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limited {
    /// API group of the kind; empty for core.
    pub group: String,
    /// Its plural name.
    pub plural: String,
    /// Parts of the names of what is used.
    pub contains: Vec<String>,
    /// Scopes of the objects that use it.
    pub scopes: Vec<ScopedResourceSelectorRequirement>,
}

/// Refuses what has to be bounded and isn't. `bounded`: what quotas bound that select the object.
pub(super) fn cover(
    limited: &[Limited],
    attempt: &Attempt<'_>,
    bounded: BTreeSet<&str>,
    quotas: &[ResourceQuota],
) -> Result<(), Refusal> {
    let (kind, object) = (attempt.kind, attempt.new);
    let own = |limited: &&Limited| limited.group == kind.group && limited.plural == kind.plural;
    let limited: Vec<&Limited> = limited.iter().filter(own).collect();
    if limited.is_empty() {
        return Ok(());
    }
    let is_limited = |name: &String| {
        let mut parts = limited.iter().flat_map(|limited| &limited.contains);
        parts.any(|part| name.contains(part.as_str()))
    };
    let used = usage(kind, object, attempt.now);
    let uncovered: Vec<String> = used
        .into_keys()
        .filter(|name| is_limited(name) && !bounded.contains(name.as_str()))
        .collect();
    if !uncovered.is_empty() {
        return Err(Refusal::Uncovered(uncovered));
    }
    let of_quotas: Vec<ScopedResourceSelectorRequirement> = quotas
        .iter()
        .flat_map(|quota| requirements(&quota.spec.clone().unwrap_or_default()))
        .collect();
    let covering: BTreeSet<&str> = holding(&of_quotas, kind, object)
        .into_iter()
        .map(|scope| scope.scope_name.as_str())
        .collect();
    let out: Vec<String> = limited
        .iter()
        .flat_map(|limited| holding(&limited.scopes, kind, object))
        .filter(|scope| !covering.contains(scope.scope_name.as_str()))
        .map(|scope| {
            let values = scope.values.clone().unwrap_or_default();
            format!(
                "{{{} {} [{}]}}",
                scope.scope_name,
                scope.operator,
                values.join(" ")
            )
        })
        .collect();
    match out.is_empty() {
        true => Ok(()),
        false => Err(Refusal::OutOfScope(out)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, charge};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_limited_needs_a_quota_that_bounds_it() {
        let limited = [
            Limited {
                plural: "pods".to_owned(),
                contains: vec!["pods".to_owned()],
                ..Limited::default()
            },
            Limited {
                plural: "pods".to_owned(),
                scopes: vec![ScopedResourceSelectorRequirement {
                    scope_name: "PriorityClass".to_owned(),
                    operator: "In".to_owned(),
                    values: Some(vec!["cluster-services".to_owned()]),
                }],
                ..Limited::default()
            },
        ];
        let quota = |name: &str, hard: &str, spec: Value| -> ResourceQuota {
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec,
                "status": {"hard": {hard: "10"}, "used": {hard: "0"}}}))
            .unwrap()
        };
        let plain = json!({"spec": {"containers": [{"name": "c"}]}});
        let urgent =
            json!({"spec": {"containers": [{"name": "c"}], "priorityClassName": "cluster-services"}});
        let told = |quotas: &[ResourceQuota], plural: &str, pod: &Value| {
            let attempt = Attempt {
                kind: Kind { group: "", plural },
                new: pod,
                old: None,
                now: jiff::Timestamp::UNIX_EPOCH,
            };
            match charge(quotas, &limited, &attempt) {
                Ok(_) => String::new(),
                Err(refusal) => refusal.to_string(),
            }
        };
        let pods = quota("a", "pods", json!({}));
        let count = quota("b", "count/pods", json!({}));
        let scoped = quota(
            "c",
            "pods",
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["cluster-services"]}]}}),
        );
        assert_eq!(
            told(&[], "pods", &plain),
            "insufficient quota to consume: count/pods,pods"
        );
        assert_eq!(
            told(std::slice::from_ref(&pods), "pods", &plain),
            "insufficient quota to consume: count/pods"
        );
        let both = [pods, count];
        assert_eq!(told(&both, "pods", &plain), "");
        assert_eq!(
            told(&both, "pods", &urgent),
            "insufficient quota to match these scopes: [{PriorityClass In [cluster-services]}]"
        );
        let [pods, count] = both;
        assert_eq!(told(&[pods, count, scoped], "pods", &urgent), "");
        assert_eq!(told(&[], "services", &json!({"spec": {}})), "");
    }
}
