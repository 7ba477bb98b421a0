//! `flowcontrol.apiserver.k8s.io`: how requests share the server (contract §20).
use super::definition::{Resource, STATUS};
use super::meaning::fill;
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const GROUP: &str = crate::flow::GROUP;
const PRECEDENCE_MAX: i64 = 10_000;

pub const FLOWSCHEMAS: Resource = Resource::new(GROUP, "flowschemas", "flowschema", "FlowSchema")
    .cluster_scoped()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        default: |schema| {
            if let Some(spec) = schema.get_mut("spec") {
                fill(spec, "matchingPrecedence", || json!(1000));
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
