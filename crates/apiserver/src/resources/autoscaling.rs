//! `autoscaling`: stored as v2, shown as v2 and v1.
//!
//! v1 knows one metric only, the usage of processors in percent; what else v2 says it carries in annotations, so that
//! nothing is lost on the way there and back.
mod convert;

use super::definition::{Resource, STATUS, View};
use super::meaning::{amount, fill, items_at};
use super::rules::Rules;
use crate::status::{Cause, cause};
use orlop_api::names;
use serde_json::{Value, json};

const GROUP: &str = "autoscaling";
const PLURAL: &str = "horizontalpodautoscalers";

pub const AUTOSCALERS: Resource = Resource {
    version: "v2",
    ..Resource::new(
        GROUP,
        PLURAL,
        "horizontalpodautoscaler",
        "HorizontalPodAutoscaler",
    )
    .short(&["hpa"])
    .in_all()
    .with_subresources(&[STATUS])
    .with_rules(RULES)
};

pub const AUTOSCALERS_V1: Resource = Resource {
    version: "v1",
    view: Some(View {
        from_stored: convert::to_v1,
        to_stored: convert::to_v2,
    }),
    ..AUTOSCALERS
};

const RULES: Rules = Rules {
    default,
    prepare_create: |scaler| scaler["status"] = json!({"currentMetrics": null, "desiredReplicas": 0}),
    validate_create: validate,
    validate_update: |new, _| validate(new),
    ..Rules::WITH_GENERATION
};

fn default(scaler: &mut Value) {
    let spec = &mut scaler["spec"];
    fill(spec, "minReplicas", || json!(1));
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    if !spec["behavior"].is_object() {
        return;
    }
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let behavior = &mut spec["behavior"];
    for (direction, policies) in [
        ("scaleUp", json!([pods, percent])),
        ("scaleDown", json!([percent])),
    ] {
        fill(behavior, direction, || json!({}));
        let rules = &mut behavior[direction];
        if direction == "scaleUp" {
            fill(rules, "stabilizationWindowSeconds", || json!(0));
        }
        fill(rules, "selectPolicy", || json!("Max"));
        fill(rules, "policies", || policies);
    }
    for metric in items_at(spec, "/metrics") {
        // What decides is which member is set; v2 names it as well.
        if metric["type"].is_null() {
            metric["type"] = json!("");
        }
    }
}

fn validate(scaler: &Value) -> Vec<Cause> {
    let spec = &scaler["spec"];
    let mut causes = Vec::new();
    let (least, most) = (
        spec["minReplicas"].as_i64(),
        spec["maxReplicas"].as_i64().unwrap_or_default(),
    );
    if least.is_some_and(|n| n < 1) {
        causes.push(cause::invalid(
            "spec.minReplicas",
            &spec["minReplicas"],
            "must be greater than or equal to 1",
        ));
    }
    if most < 1 {
        causes.push(cause::invalid(
            "spec.maxReplicas",
            &json!(most),
            "must be greater than 0",
        ));
    }
    if least.is_some_and(|least| most < least) {
        causes.push(cause::invalid(
            "spec.maxReplicas",
            &json!(most),
            "must be greater than or equal to `minReplicas`",
        ));
    }
    causes.extend(reference(&spec["scaleTargetRef"], "spec.scaleTargetRef"));
    for (at, metric) in spec["metrics"].as_array().into_iter().flatten().enumerate() {
        causes.extend(validate_metric(metric, &format!("spec.metrics[{at}]")));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            causes.extend(validate_rules(rules, &format!("spec.behavior.{direction}")));
        }
    }
    causes
}

fn reference(reference: &Value, field: &str) -> Vec<Cause> {
    let causes = |member: &str| path_segment(&reference[member], &format!("{field}.{member}"), "");
    ["kind", "name"].into_iter().flat_map(causes).collect()
}

/// What is to be a part of addresses, and has to be there.
fn path_segment(text: &Value, field: &str, hint: &str) -> Vec<Cause> {
    match text.as_str().unwrap_or_default() {
        "" => vec![cause::required(field, hint)],
        given => {
            let problems = names::check_path_segment(given);
            let causes = problems
                .iter()
                .map(|problem| cause::invalid(field, text, problem));
            causes.collect()
        }
    }
}

/// The sorts of metrics, and the members that describe them.
const SOURCES: &[(&str, &str)] = &[
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn validate_metric(metric: &Value, field: &str) -> Vec<Cause> {
    let sort = metric["type"].as_str().unwrap_or_default();
    let at_type = format!("{field}.type");
    if sort.is_empty() {
        return vec![cause::required(&at_type, "must specify a metric source type")];
    }
    let Some((_, member)) = SOURCES.iter().find(|(name, _)| *name == sort) else {
        let names: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        return vec![cause::unsupported(&at_type, sort, &names)];
    };
    let mut causes = Vec::new();
    for (_, other) in SOURCES.iter().filter(|(_, other)| other != member) {
        if metric[*other].is_object() {
            causes.push(cause::forbidden(
                &format!("{field}.{other}"),
                "must populate the given metric source only",
            ));
        }
    }
    let at = format!("{field}.{member}");
    let source = &metric[*member];
    if !source.is_object() {
        causes.push(cause::required(
            &at,
            "must populate information for the given metric source",
        ));
        return causes;
    }
    let empty = |path: &str| {
        source
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
    };
    match *member {
        "resource" | "containerResource" => {
            if empty("/name") {
                causes.push(cause::required(
                    &format!("{at}.name"),
                    "must specify a resource name",
                ));
            }
            if *member == "containerResource" && empty("/container") {
                causes.push(cause::required(
                    &format!("{at}.container"),
                    "must specify a container",
                ));
            }
        }
        _ => {
            let (name, field) = (&source["metric"]["name"], format!("{at}.metric.name"));
            causes.extend(path_segment(name, &field, "must specify a metric name"));
            if *member == "object" {
                causes.extend(reference(
                    &source["describedObject"],
                    &format!("{at}.describedObject"),
                ));
            }
        }
    }
    causes.extend(validate_target(
        &source["target"],
        member,
        &format!("{at}.target"),
    ));
    causes
}

fn validate_target(target: &Value, member: &str, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let sorts = ["Utilization", "Value", "AverageValue"];
    match target["type"].as_str().unwrap_or_default() {
        "" => causes.push(cause::required(
            &format!("{field}.type"),
            "must specify a metric target type",
        )),
        sort if !sorts.contains(&sort) => causes.push(cause::invalid(
            &format!("{field}.type"),
            &target["type"],
            "must be either Utilization, Value, or AverageValue",
        )),
        _ => {}
    }
    for member in ["value", "averageValue"] {
        let given = amount(&target[member]);
        if given.is_some_and(|given| given.is_zero() || given.is_negative()) {
            causes.push(cause::invalid(
                &format!("{field}.{member}"),
                &target[member],
                "must be positive",
            ));
        }
    }
    let percent = target["averageUtilization"].as_i64();
    if percent.is_some_and(|percent| percent < 1) {
        causes.push(cause::invalid(
            &format!("{field}.averageUtilization"),
            &target["averageUtilization"],
            "must be greater than 0",
        ));
    }
    let has = |amount: &str| !target[amount].is_null();
    match member {
        "resource" | "containerResource" => match (percent.is_some(), has("averageValue")) {
            (false, false) => causes.push(cause::required(
                &format!("{field}.averageUtilization"),
                "must set either a target raw value or a target utilization",
            )),
            (true, true) => causes.push(cause::forbidden(
                &format!("{field}.averageValue"),
                "may not set both a target raw value and a target utilization",
            )),
            _ => {}
        },
        "pods" if !has("averageValue") => causes.push(cause::required(
            &format!("{field}.averageValue"),
            "must specify a positive target averageValue",
        )),
        "object" | "external" => match (has("value"), has("averageValue")) {
            (false, false) => causes.push(cause::required(
                &format!("{field}.averageValue"),
                "must set either a target value for metric or a per-pod target",
            )),
            (true, true) if member == "external" => causes.push(cause::forbidden(
                &format!("{field}.value"),
                "may not set both a target value for metric and a per-pod target",
            )),
            _ => {}
        },
        _ => {}
    }
    causes
}

/// Longest window, and longest period of a policy, in seconds.
const WINDOW_SECONDS_MAX: i64 = 3600;
const PERIOD_SECONDS_MAX: i64 = 1800;

fn validate_rules(rules: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let window = rules["stabilizationWindowSeconds"].as_i64().unwrap_or_default();
    let at = format!("{field}.stabilizationWindowSeconds");
    if window < 0 {
        let hint = "must be greater than or equal to zero";
        causes.push(cause::invalid(&at, &json!(window), hint));
    }
    if window > WINDOW_SECONDS_MAX {
        let hint = format!("must be less than or equal to {WINDOW_SECONDS_MAX}");
        causes.push(cause::invalid(&at, &json!(window), &hint));
    }
    let select = rules["selectPolicy"].as_str().unwrap_or("Max");
    let known = ["Disabled", "Max", "Min"];
    if !known.contains(&select) {
        causes.push(cause::unsupported(
            &format!("{field}.selectPolicy"),
            select,
            &known,
        ));
    }
    let policies = rules["policies"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if policies.is_empty() {
        let hint = "must specify at least one Policy";
        causes.push(cause::required(&format!("{field}.policies"), hint));
    }
    for (at, policy) in policies.iter().enumerate() {
        let field = format!("{field}.policies[{at}]");
        let sort = policy["type"].as_str().unwrap_or_default();
        let known = ["Percent", "Pods"];
        if !known.contains(&sort) {
            causes.push(cause::unsupported(&format!("{field}.type"), sort, &known));
        }
        for (member, most) in [("value", None), ("periodSeconds", Some(PERIOD_SECONDS_MAX))] {
            let given = policy[member].as_i64().unwrap_or_default();
            let at = format!("{field}.{member}");
            if given <= 0 {
                causes.push(cause::invalid(&at, &json!(given), "must be greater than zero"));
            }
            if let Some(most) = most.filter(|most| given > *most) {
                let hint = format!("must be less than or equal to {most}");
                causes.push(cause::invalid(&at, &json!(given), &hint));
            }
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(spec: Value) -> Value {
        let mut scaler = json!({"metadata": {"name": "h"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5}});
        for (key, value) in spec.as_object().unwrap() {
            scaler["spec"][key] = value.clone();
        }
        default(&mut scaler);
        scaler
    }

    fn problems(spec: Value) -> Vec<String> {
        let causes = validate(&scaler(spec));
        causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect()
    }

    #[test]
    fn an_autoscaler_wants_processors_at_eighty_percent() {
        let scaler = scaler(json!({"behavior": {"scaleUp": {}}}));
        assert_eq!(scaler["spec"]["minReplicas"], 1);
        assert_eq!(
            scaler["spec"]["metrics"][0]["resource"]["target"],
            json!({"type": "Utilization", "averageUtilization": 80})
        );
        let behavior = &scaler["spec"]["behavior"];
        assert_eq!(behavior["scaleUp"]["policies"].as_array().unwrap().len(), 2);
        assert_eq!(behavior["scaleDown"]["selectPolicy"], "Max");
        assert!(behavior["scaleDown"]["stabilizationWindowSeconds"].is_null());
    }

    #[test]
    fn what_is_refused() {
        assert!(problems(json!({})).is_empty());
        assert_eq!(
            problems(json!({"minReplicas": 0, "maxReplicas": 0})),
            [
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
            ]
        );
        assert_eq!(
            problems(json!({"minReplicas": 9})),
            ["spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"]
        );
        assert_eq!(
            problems(json!({"scaleTargetRef": {}})),
            [
                "spec.scaleTargetRef.kind: Required value",
                "spec.scaleTargetRef.name: Required value"
            ]
        );
        let metric = |metric: Value| problems(json!({"metrics": [metric]}));
        assert_eq!(
            metric(json!({})),
            ["spec.metrics[0].type: Required value: must specify a metric source type"]
        );
        assert_eq!(
            metric(json!({"type": "Resource", "pods": {}})),
            [
                "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
                "spec.metrics[0].resource: Required value: must populate information for the given metric source",
            ]
        );
        assert_eq!(
            metric(
                json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}})
            ),
            [
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"
            ]
        );
        let pods =
            json!({"metric": {"name": "a/b%"}, "target": {"type": "AverageValue", "averageValue": "1"}});
        assert_eq!(
            metric(json!({"type": "Pods", "pods": pods})),
            [
                "spec.metrics[0].pods.metric.name: Invalid value: \"a/b%\": may not contain '/'",
                "spec.metrics[0].pods.metric.name: Invalid value: \"a/b%\": may not contain '%'",
            ]
        );
        assert_eq!(
            problems(json!({"scaleTargetRef": {"kind": "..", "name": "d"}})),
            ["spec.scaleTargetRef.kind: Invalid value: \"..\": may not be '..'"]
        );
        let rules = |rules: Value| problems(json!({"behavior": {"scaleDown": rules}}));
        assert_eq!(
            rules(
                json!({"selectPolicy": "Some", "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]})
            ),
            [
                "spec.behavior.scaleDown.selectPolicy: Unsupported value: \"Some\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ]
        );
    }
}
