//! `flowcontrol.apiserver.k8s.io`: how requests share the server (contract §20).
use super::definition::{Resource, STATUS};
use super::meaning::fill;
use super::rules::{Rules, StatusMetadata};
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const GROUP: &str = crate::flow::GROUP;
const PRECEDENCE_MAX: i64 = 10_000;

pub const FLOWSCHEMAS: Resource = Resource::new(GROUP, "flowschemas", "flowschema", "FlowSchema")
    .cluster_scoped()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        status_metadata: StatusMetadata::Kept,
        default: |schema| {
            if let Some(spec) = schema.get_mut("spec")
                && spec["matchingPrecedence"].as_i64().unwrap_or_default() == 0
            {
                spec["matchingPrecedence"] = json!(1000);
            }
        },
        validate_create: schema,
        validate_update: |new, _| schema(new),
        ..Rules::WITH_GENERATION
    });

pub const PRIORITYLEVELCONFIGURATIONS: Resource = Resource::new(
    GROUP,
    "prioritylevelconfigurations",
    "prioritylevelconfiguration",
    "PriorityLevelConfiguration",
)
.cluster_scoped()
.with_subresources(&[STATUS])
.with_rules(Rules {
    status_metadata: StatusMetadata::Kept,
    default: default_level,
    validate_create: level,
    validate_update: |new, _| level(new),
    ..Rules::WITH_GENERATION
});

fn default_level(level: &mut Value) {
    for (place, member, usual) in [
        ("/spec/exempt", "nominalConcurrencyShares", 0),
        ("/spec/exempt", "lendablePercent", 0),
        ("/spec/limited", "nominalConcurrencyShares", 30),
        ("/spec/limited", "lendablePercent", 0),
        ("/spec/limited/limitResponse/queuing", "queues", 64),
        ("/spec/limited/limitResponse/queuing", "handSize", 8),
        ("/spec/limited/limitResponse/queuing", "queueLengthLimit", 50),
    ] {
        if let Some(part) = level.pointer_mut(place) {
            fill(part, member, || json!(usual));
            // Numbers of a queue are never 0.
            if place.ends_with("queuing") && part[member] == 0 {
                part[member] = json!(usual);
            }
        }
    }
}

fn schema(schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let precedence = &schema["spec"]["matchingPrecedence"];
    match precedence.as_i64() {
        Some(number) if number < 1 => {
            causes.push(cause::invalid(
                "spec.matchingPrecedence",
                precedence,
                "must be a positive value",
            ));
        }
        Some(number) if number > PRECEDENCE_MAX => causes.push(cause::invalid(
            "spec.matchingPrecedence",
            precedence,
            &format!("must not be greater than {PRECEDENCE_MAX}"),
        )),
        Some(1) if schema["metadata"]["name"] != "exempt" => causes.push(cause::invalid(
            "spec.matchingPrecedence",
            precedence,
            "only the schema named 'exempt' may have matchingPrecedence 1",
        )),
        _ => {}
    }
    let level = &schema["spec"]["priorityLevelConfiguration"]["name"];
    if level.as_str().is_none_or(str::is_empty) {
        causes.push(cause::required(
            "spec.priorityLevelConfiguration.name",
            "must reference a priority level",
        ));
    }
    if let Some(method) = schema["spec"]["distinguisherMethod"]["type"].as_str()
        && !matches!(method, "ByNamespace" | "ByUser")
    {
        let known = ["ByNamespace", "ByUser"];
        causes.push(cause::unsupported("spec.distinguisherMethod", method, &known));
    }
    for (at, rule) in list(&schema["spec"], "rules") {
        causes.extend(validate_rule(rule, &format!("spec.rules[{at}]")));
    }
    causes
}

fn list<'v>(object: &'v Value, member: &str) -> impl Iterator<Item = (usize, &'v Value)> {
    object[member].as_array().into_iter().flatten().enumerate()
}

/// A rule of a schema says whose requests, and which.
fn validate_rule(rule: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if list(rule, "subjects").next().is_none() {
        let why = "subjects must contain at least one value";
        causes.push(cause::required(&format!("{field}.subjects"), why));
    }
    for (at, subject) in list(rule, "subjects") {
        causes.extend(validate_subject(subject, &format!("{field}.subjects[{at}]")));
    }
    let sorts = ["resourceRules", "nonResourceRules"];
    if sorts.iter().all(|sort| list(rule, sort).next().is_none()) {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        causes.push(cause::required(field, why));
    }
    for sort in sorts {
        for (at, what) in list(rule, sort) {
            let field = format!("{field}.{sort}[{at}]");
            let members: &[&str] = match sort {
                "resourceRules" => &["verbs", "apiGroups", "resources"],
                _ => &["verbs", "nonResourceURLs"],
            };
            for member in members {
                causes.extend(validate_names(what, member, &field));
            }
            let anywhere = list(what, "namespaces").next().is_some() || what["clusterScope"] == true;
            if sort == "resourceRules" && !anywhere {
                let why = "resource rules that are not cluster scoped must supply at least one namespace";
                causes.push(cause::required(&format!("{field}.namespaces"), why));
            }
        }
    }
    causes
}

/// At least one name; `*` stands alone.
fn validate_names(of: &Value, member: &str, field: &str) -> Option<Cause> {
    let field = format!("{field}.{member}");
    let all = list(of, member).any(|(_, name)| name == "*");
    match list(of, member).count() {
        0 => {
            let why = format!("{member} must contain at least one value");
            Some(cause::required(&field, &why))
        }
        more if more > 1 && all => {
            let why = "if '*' is present, must not specify other values";
            Some(cause::invalid(&field, &of[member], why))
        }
        _ => None,
    }
}

fn validate_subject(subject: &Value, field: &str) -> Vec<Cause> {
    const SORTS: [(&str, &str); 3] = [
        ("Group", "group"),
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
    ];
    let sort = subject["kind"].as_str().unwrap_or_default();
    let Some((_, own)) = SORTS.iter().find(|(kind, _)| *kind == sort) else {
        let known = SORTS.map(|(kind, _)| kind);
        return vec![cause::unsupported(&format!("{field}.kind"), sort, &known)];
    };
    let mut causes = Vec::new();
    for (kind, member) in SORTS {
        let at = format!("{field}.{member}");
        let is_set = subject[member].is_object();
        if member == *own && !is_set {
            let why = format!("{member} is required when subject kind is '{kind}'");
            causes.push(cause::required(&at, &why));
        } else if member != *own && is_set {
            let why = format!("{member} is forbidden when subject kind is not '{kind}'");
            causes.push(cause::forbidden(&at, &why));
        } else if is_set && subject[member]["name"].as_str().is_none_or(str::is_empty) {
            causes.push(cause::required(&format!("{at}.name"), ""));
        }
    }
    causes
}

fn level(level: &Value) -> Vec<Cause> {
    let spec = &level["spec"];
    match spec["type"].as_str().unwrap_or_default() {
        "Exempt" if spec["limited"].is_object() => {
            vec![cause::forbidden(
                "spec.limited",
                "must be nil if the type is Exempt",
            )]
        }
        "Exempt" => Vec::new(),
        "Limited" if spec["exempt"].is_object() => {
            vec![cause::forbidden(
                "spec.exempt",
                "must be nil if the type is Limited",
            )]
        }
        "Limited" if !spec["limited"].is_object() => {
            vec![cause::required(
                "spec.limited",
                "must not be empty when type is Limited",
            )]
        }
        "Limited" => limited(&spec["limited"]),
        other => vec![cause::unsupported("spec.type", other, &["Exempt", "Limited"])],
    }
}

fn limited(limited: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let response = &limited["limitResponse"];
    match response["type"].as_str().unwrap_or_default() {
        "Reject" if response["queuing"].is_object() => causes.push(cause::forbidden(
            "spec.limited.limitResponse.queuing",
            "must be nil if limited.limitResponse.type is not Limited",
        )),
        "Queue" if !response["queuing"].is_object() => causes.push(cause::required(
            "spec.limited.limitResponse.queuing",
            "must not be empty if limited.limitResponse.type is Limited",
        )),
        "Queue" | "Reject" => {}
        other => causes.push(cause::unsupported(
            "spec.limited.limitResponse.type",
            other,
            &["Queue", "Reject"],
        )),
    }
    for (member, most) in [("lendablePercent", 100), ("borrowingLimitPercent", i64::MAX)] {
        if let Some(percent) = limited[member].as_i64()
            && !(0..=most).contains(&percent)
        {
            causes.push(cause::invalid(
                &format!("spec.limited.{member}"),
                &json!(percent),
                "must be between 0 and 100, inclusive",
            ));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    #[test]
    fn the_rules_of_a_flow_schema_say_whose_requests_and_which() {
        let told = |rule: Value| {
            shown(&schema(
                &json!({"metadata": {"name": "s"}, "spec": {"matchingPrecedence": 9,
                "priorityLevelConfiguration": {"name": "l"}, "rules": [rule]}}),
            ))
        };
        let alice = json!([{"kind": "User", "user": {"name": "alice"}}]);
        let all = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        assert!(told(json!({"subjects": alice, "nonResourceRules": all})).is_empty());
        assert_eq!(
            told(json!({})),
            [
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ]
        );
        assert_eq!(
            told(
                json!({"subjects": [{"kind": "Group", "user": {"name": "x"}}, {"kind": "Robot"}], "resourceRules": [
                {"verbs": ["*", "get"], "apiGroups": ["*"], "resources": ["pods"]}]})
            ),
            [
                "spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'",
                "spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'",
                "spec.rules[0].subjects[1].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other values",
                "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            ]
        );
    }
}
