//! What a namespace's objects may use: LimitRanges for each, ResourceQuotas for all together.
use super::definition::{Resource, STATUS};
use super::meaning::{amount, fill, items_at};
use super::rules::Rules;
use crate::status::{Cause, cause};
use orlop_api::names::check_qualified_name;
use orlop_api::quantity::Amount;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const LIMITRANGES: Resource = Resource::new("", "limitranges", "limitrange", "LimitRange")
    .short(&["limits"])
    .with_rules(Rules {
        create_on_update: true,
        default: default_limits,
        validate_create: validate_range,
        validate_update: |new, _| validate_range(new),
        ..Rules::GENERIC
    });

pub const RESOURCEQUOTAS: Resource = Resource::new("", "resourcequotas", "resourcequota", "ResourceQuota")
    .short(&["quota"])
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        delete_answers_object: true,
        prepare_create: |quota| quota["status"] = json!({}),
        validate_create: validate_quota,
        validate_update: validate_quota_update,
        ..Rules::GENERIC
    });

/// Of a container, what is at most allowed is the default, and the default is what is requested.
fn default_limits(range: &mut Value) {
    for limit in items_at(range, "/spec/limits") {
        if limit["type"] != "Container" {
            continue;
        }
        for (to, from) in [
            ("default", "max"),
            ("defaultRequest", "default"),
            ("defaultRequest", "min"),
        ] {
            let given = limit[from].as_object().cloned().unwrap_or_default();
            for (resource, quantity) in given {
                if !limit[to].is_object() {
                    limit[to] = json!({});
                }
                fill(&mut limit[to], &resource, || quantity.clone());
            }
        }
    }
}

type Amounts = BTreeMap<String, Amount>;

fn amounts(map: &Value) -> Amounts {
    let members = map.as_object().into_iter().flatten();
    members
        .filter_map(|(name, quantity)| Some((name.clone(), amount(quantity)?)))
        .collect()
}

fn validate_range(range: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = Vec::new();
    for (at, limit) in range["spec"]["limits"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("spec.limits[{at}]");
        let sort = limit["type"].as_str().unwrap_or_default();
        if sort.is_empty() {
            causes.push(cause::required(&format!("{field}.type"), ""));
        } else if seen.contains(&sort) {
            causes.push(cause::duplicate(&format!("{field}.type"), sort));
        }
        seen.push(sort);
        causes.extend(validate_limit(limit, sort, &field));
    }
    causes
}

fn validate_limit(limit: &Value, sort: &str, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let of = |member: &str| amounts(&limit[member]);
    if sort == "Pod" {
        for member in ["default", "defaultRequest"] {
            if !of(member).is_empty() {
                let why = "may not be specified when `type` is 'Pod'";
                causes.push(cause::forbidden(&format!("{field}.{member}"), why));
            }
        }
    }
    let (min, max) = (of("min"), of("max"));
    if sort == "PersistentVolumeClaim" && !min.contains_key("storage") && !max.contains_key("storage") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        causes.push(cause::required(field, why));
    }
    let (default, request, ratio) = (of("default"), of("defaultRequest"), of("maxLimitRequestRatio"));
    let mut resources: Vec<&String> = min.keys().chain(max.keys()).chain(default.keys()).collect();
    resources.extend(request.keys().chain(ratio.keys()));
    resources.sort_unstable();
    resources.dedup();
    for resource in resources {
        // What must not be more than what, where it is told, and how.
        let pairs = [
            (&min, &max, "min", "min value", "max value"),
            (
                &min,
                &request,
                "defaultRequest",
                "min value",
                "default request value",
            ),
            (
                &request,
                &max,
                "defaultRequest",
                "default request value",
                "max value",
            ),
            (
                &request,
                &default,
                "defaultRequest",
                "default request value",
                "default limit value",
            ),
            (&min, &default, "default", "min value", "default value"),
            (&default, &max, "default", "default value", "max value"),
        ];
        for (less, more, member, less_word, more_word) in pairs {
            let (Some(a), Some(b)) = (less.get(resource), more.get(resource)) else {
                continue;
            };
            if a > b {
                let told = &limit[member][resource.as_str()];
                let why = format!("{less_word} {a} is greater than {more_word} {b}");
                causes.push(cause::invalid(
                    &format!("{field}.{member}[{resource}]"),
                    told,
                    &why,
                ));
            }
        }
        if let Some(ratio) = ratio.get(resource).filter(|ratio| **ratio < Amount::ONE) {
            let field = format!("{field}.maxLimitRequestRatio[{resource}]");
            let told = json!(ratio.to_string());
            causes.push(cause::invalid(
                &field,
                &told,
                &format!("ratio {ratio} is less than 1"),
            ));
        }
    }
    causes
}

/// What quotas may bound without a domain in its name, by its amount …
const MEASURED: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// … and by number: what only comes whole.
const WHOLE: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// What quotas can be restricted to.
const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn validate_quota(quota: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &quota["spec"];
    for (name, quantity) in spec["hard"].as_object().into_iter().flatten() {
        let field = format!("spec.hard[{name}]");
        let huge = name
            .strip_prefix("requests.")
            .unwrap_or(name)
            .starts_with("hugepages-");
        let problems = check_qualified_name(name);
        for why in &problems {
            causes.push(cause::invalid(&field, &json!(name), why));
        }
        let is_whole = WHOLE.contains(&name.as_str());
        let is_standard = is_whole || huge || MEASURED.contains(&name.as_str());
        if problems.is_empty() && !name.contains('/') && !is_standard {
            causes.push(cause::invalid(
                &field,
                &json!(name),
                "must be a standard resource for quota",
            ));
        }
        let Some(amount) = amount(quantity) else {
            continue;
        };
        if amount.is_negative() {
            causes.push(cause::invalid(
                &field,
                quantity,
                "must be greater than or equal to 0",
            ));
        }
        if is_whole && !amount.is_whole() {
            causes.push(cause::invalid(&field, quantity, "must be an integer"));
        }
    }
    causes.extend(validate_scopes(spec));
    causes
}

fn validate_scopes(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let scopes: Vec<&str> = spec["scopes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let selected = spec["scopeSelector"]["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    let hard = spec["hard"].as_object();
    let bounds = || hard.into_iter().flatten().map(|(name, _)| name.as_str());
    let pods = |name: &str| {
        orlop_api::quota::concerns(
            orlop_api::quota::Kind {
                group: "",
                plural: "pods",
            },
            name,
        )
    };
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            causes.push(cause::invalid(
                "spec.scopes",
                &spec["scopes"],
                "unsupported scope",
            ));
        }
    }
    let fits = |scope: &str, name: &str| match scope {
        "BestEffort" => matches!(name, "pods" | "count/pods"),
        "VolumeAttributesClass" => !pods(name),
        _ => pods(name),
    };
    if scopes.iter().any(|scope| bounds().any(|name| !fits(scope, name))) {
        causes.push(cause::invalid(
            "spec.scopes",
            &spec["scopes"],
            "unsupported scope applied to resource",
        ));
    }
    for (one, other) in [("Terminating", "NotTerminating"), ("BestEffort", "NotBestEffort")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            causes.push(cause::invalid(
                "spec.scopes",
                &spec["scopes"],
                "conflicting scopes",
            ));
        }
    }
    for (at, expression) in selected.enumerate() {
        let field = format!("spec.scopeSelector.matchExpressions[{at}]");
        let text = |member: &str| expression[member].as_str().unwrap_or_default();
        if !SCOPES.contains(&text("scopeName")) {
            causes.push(cause::invalid(
                &format!("{field}.scopeName"),
                &expression["scopeName"],
                "unsupported scope",
            ));
        }
        let values = expression["values"]
            .as_array()
            .is_some_and(|values| !values.is_empty());
        let operator = text("operator");
        let classed = matches!(text("scopeName"), "PriorityClass" | "VolumeAttributesClass");
        match operator {
            "In" | "NotIn" if !values => causes.push(cause::required(
                &format!("{field}.values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )),
            "Exists" | "DoesNotExist" if values => causes.push(cause::invalid(
                &format!("{field}.values"),
                &expression["values"],
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            )),
            "In" | "NotIn" | "DoesNotExist" if !classed => causes.push(cause::invalid(
                &format!("{field}.operator"),
                &expression["operator"],
                "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => causes.push(cause::invalid(
                &format!("{field}.operator"),
                &expression["operator"],
                "not a valid selector operator",
            )),
        }
    }
    causes
}

fn validate_quota_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_quota(new);
    let set = |quota: &Value| -> Vec<String> {
        let scopes = quota["spec"]["scopes"].as_array().into_iter().flatten();
        let mut scopes: Vec<String> = scopes.filter_map(|s| Some(s.as_str()?.to_owned())).collect();
        scopes.sort_unstable();
        scopes
    };
    if set(new) != set(old) {
        causes.push(cause::invalid(
            "spec.scopes",
            &new["spec"]["scopes"],
            "field is immutable",
        ));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    #[test]
    fn the_bounds_of_a_range_must_not_contradict_each_other() {
        let range = |limits: Value| shown(&validate_range(&json!({"spec": {"limits": limits}})));
        assert!(
            range(json!([{"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "1000m"}}])).is_empty()
        );
        assert_eq!(
            range(json!([{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}])),
            ["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"]
        );
        assert_eq!(
            range(
                json!([{"type": "Container", "default": {"cpu": "2"}, "max": {"cpu": "1"}, "defaultRequest": {"cpu": "3"}}])
            ),
            [
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than max value 1",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than default limit value 2",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": default value 2 is greater than max value 1",
            ]
        );
        assert_eq!(
            range(
                json!([{"type": "Pod", "default": {"cpu": "1"}}, {"type": "Pod"}, {"type": "PersistentVolumeClaim"}])
            ),
            [
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[1].type: Duplicate value: \"Pod\"",
                "spec.limits[2]: Required value: either minimum or maximum storage value is required, but neither was provided",
            ]
        );
        assert_eq!(
            range(json!([{"type": "Pod", "maxLimitRequestRatio": {"cpu": "0.5"}}])),
            ["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1"]
        );
    }

    #[test]
    fn quotas_bound_what_can_be_counted() {
        let quota = |spec: Value| shown(&validate_quota(&json!({"spec": spec})));
        assert!(
            quota(
                json!({"hard": {"pods": "1", "count/deployments.apps": "1", "requests.example.com/gpu": "1",
                "requests.hugepages-2Mi": "2Mi", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"}})
            )
            .is_empty()
        );
        assert_eq!(
            quota(json!({"hard": {"bogus": "1", "pods": "1500m", "cpu": "-1"}})),
            [
                "spec.hard[bogus]: Invalid value: \"bogus\": must be a standard resource for quota",
                "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            ]
        );
        let scopes = |scopes: Value, hard: &str| quota(json!({"hard": {hard: "1"}, "scopes": scopes}));
        assert!(scopes(json!(["BestEffort"]), "pods").is_empty());
        assert_eq!(
            scopes(json!(["BestEffort"]), "cpu"),
            ["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"]
        );
        assert_eq!(
            scopes(json!(["Terminating", "NotTerminating"]), "pods"),
            ["spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes"]
        );
        let select = |expression: Value| {
            quota(json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [expression]}}))
        };
        assert!(
            select(json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]})).is_empty()
        );
        assert_eq!(
            select(json!({"scopeName": "PriorityClass", "operator": "In"})),
            [
                "spec.scopeSelector.matchExpressions[0].values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            ]
        );
        let with = |scopes: Value| json!({"spec": {"hard": {"pods": "1"}, "scopes": scopes}});
        assert_eq!(
            shown(&validate_quota_update(
                &with(json!(["Terminating"])),
                &with(json!([]))
            )),
            ["spec.scopes: Invalid value: [\"Terminating\"]: field is immutable"]
        );
    }
}
