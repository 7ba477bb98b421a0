//! Between the two versions.
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// What annotations carry, and where v2 has it. Metrics are written in an older form there.
const CARRIED: &[(&str, &str, &str)] = &[
    (METRICS, "spec", "metrics"),
    (BEHAVIOR, "spec", "behavior"),
    (CURRENT, "status", "currentMetrics"),
    (CONDITIONS, "status", "conditions"),
];

fn take(object: &mut Value, part: &str, member: &str) -> Value {
    let part = object.get_mut(part).and_then(Value::as_object_mut);
    part.and_then(|part| part.remove(member)).unwrap_or_default()
}

fn set(object: &mut Value, part: &str, member: &str, value: Value) {
    if !value.is_null() {
        object[part][member] = value;
    }
}

/// Processors in percent: what v1 has a field for.
fn is_cpu_percent(metric: &Value) -> bool {
    let resource = &metric["resource"];
    let (target, current) = (&resource["target"], &resource["current"]);
    metric["type"] == "Resource"
        && resource["name"] == "cpu"
        && (target["averageUtilization"].is_i64() || current["averageUtilization"].is_i64())
}

/// The stored form becomes v1's.
pub fn to_v1(scaler: &mut Value) {
    scaler["apiVersion"] = json!("autoscaling/v1");
    for (annotation, part, member) in CARRIED {
        let mut value = take(scaler, part, member);
        if let Some(list) = value
            .as_array_mut()
            .filter(|_| member.to_lowercase().ends_with("metrics"))
        {
            let (side, field) = match *part {
                "spec" => ("target", "targetCPUUtilizationPercentage"),
                _ => ("current", "currentCPUUtilizationPercentage"),
            };
            if let Some(at) = list.iter().position(is_cpu_percent) {
                let cpu = list.remove(at);
                set(
                    scaler,
                    part,
                    field,
                    cpu["resource"][side]["averageUtilization"].clone(),
                );
            }
            list.iter_mut()
                .for_each(|metric| *metric = old_form(metric, side));
        }
        let empty = match &value {
            Value::Array(list) => list.is_empty(),
            other => other.is_null(),
        };
        if !empty {
            scaler["metadata"]["annotations"][*annotation] = json!(value.to_string());
        }
    }
}

/// v1's form becomes the stored one.
pub fn to_v2(scaler: &mut Value) {
    scaler["apiVersion"] = json!("autoscaling/v2");
    for (annotation, part, member) in CARRIED {
        let annotations = scaler["metadata"]
            .get_mut("annotations")
            .and_then(Value::as_object_mut);
        let text = annotations.and_then(|annotations| annotations.remove(*annotation));
        let parsed = text.as_ref().and_then(Value::as_str).map(serde_json::from_str);
        let mut value: Value = parsed.and_then(Result::ok).unwrap_or_default();
        if member.to_lowercase().ends_with("metrics") {
            let (side, field) = match *part {
                "spec" => ("target", "targetCPUUtilizationPercentage"),
                _ => ("current", "currentCPUUtilizationPercentage"),
            };
            let mut list: Vec<Value> = value.as_array().cloned().unwrap_or_default();
            list.iter_mut()
                .for_each(|metric| *metric = new_form(metric, side));
            let percent = take(scaler, part, field);
            if !percent.is_null() {
                let mut amount = json!({"averageUtilization": percent});
                if side == "target" {
                    amount["type"] = json!("Utilization");
                }
                list.insert(
                    0,
                    json!({"type": "Resource", "resource": {"name": "cpu", side: amount}}),
                );
            }
            value = if list.is_empty() { Value::Null } else { json!(list) };
        }
        set(scaler, part, member, value);
    }
    let emptied = scaler["metadata"]["annotations"]
        .as_object()
        .is_some_and(Map::is_empty);
    if emptied && let Some(metadata) = scaler["metadata"].as_object_mut() {
        metadata.remove("annotations");
    }
}

/// The members of the older form, by sort: where its values are in the newer one. `{}` is `target` or `current`.
const OLD: &[(&str, &[(&str, &str)])] = &[
    (
        "resource",
        &[
            ("name", "/name"),
            ("{}AverageUtilization", "/{}/averageUtilization"),
            ("{}AverageValue", "/{}/averageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "/name"),
            ("container", "/container"),
            ("{}AverageUtilization", "/{}/averageUtilization"),
            ("{}AverageValue", "/{}/averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", "/metric/name"),
            ("selector", "/metric/selector"),
            ("{}AverageValue", "/{}/averageValue"),
        ],
    ),
    (
        "object",
        &[
            ("target", "/describedObject"),
            ("metricName", "/metric/name"),
            ("selector", "/metric/selector"),
            ("{}Value", "/{}/value"),
            ("averageValue", "/{}/averageValue"),
        ],
    ),
    (
        "external",
        &[
            ("metricName", "/metric/name"),
            ("metricSelector", "/metric/selector"),
            ("{}Value", "/{}/value"),
            ("{}AverageValue", "/{}/averageValue"),
        ],
    ),
];

fn members<'m>(
    metric: &Value,
    side: &'m str,
) -> Option<(&'static str, impl Iterator<Item = (String, String)> + 'm)> {
    let (member, places) = OLD.iter().find(|(member, _)| metric[*member].is_object())?;
    let fill = move |text: &str| text.replace("{}", side);
    Some((
        member,
        places.iter().map(move |(old, new)| (fill(old), fill(new))),
    ))
}

fn old_form(metric: &Value, side: &str) -> Value {
    let Some((member, places)) = members(metric, side) else {
        return metric.clone();
    };
    let mut old = json!({});
    for (name, place) in places {
        if let Some(value) = metric[member].pointer(&place) {
            old[name] = value.clone();
        }
    }
    json!({"type": metric["type"], member: old})
}

fn new_form(metric: &Value, side: &str) -> Value {
    let Some((member, places)) = members(metric, side) else {
        return metric.clone();
    };
    let mut new = json!({});
    for (name, place) in places {
        let value = &metric[member][name];
        if value.is_null() {
            continue;
        }
        let mut at = &mut new;
        for step in place.split('/').skip(1) {
            at = &mut at[step];
        }
        *at = value.clone();
    }
    if side == "target" && new["target"].is_object() {
        let sort = ["averageUtilization", "value"]
            .into_iter()
            .find(|amount| !new["target"][*amount].is_null());
        new["target"]["type"] = json!(match sort {
            Some("averageUtilization") => "Utilization",
            Some(_) => "Value",
            None => "AverageValue",
        });
    }
    json!({"type": metric["type"], member: new})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_has_a_field_for_processors_and_carries_the_rest() {
        let v2 = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2",
            "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Max"}}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "i"},
                    "metric": {"name": "m"}, "target": {"type": "Value", "value": "7"}}}]},
            "status": {"currentReplicas": 1, "desiredReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 9}}}]}});
        let mut v1 = v2.clone();
        to_v1(&mut v1);
        assert_eq!(v1["apiVersion"], "autoscaling/v1");
        assert_eq!(
            v1["spec"],
            json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50})
        );
        assert_eq!(
            v1["status"],
            json!({"currentReplicas": 1, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 9})
        );
        let carried: Value =
            serde_json::from_str(v1["metadata"]["annotations"][METRICS].as_str().unwrap()).unwrap();
        assert_eq!(
            carried,
            json!([
                {"type": "Pods", "pods": {"metricName": "hits", "targetAverageValue": "5"}},
                {"type": "Object", "object": {"target": {"kind": "Ingress", "name": "i"}, "metricName": "m", "targetValue": "7"}}])
        );
        to_v2(&mut v1);
        assert_eq!(v1, v2, "there and back");
    }

    #[test]
    fn a_plain_v1_autoscaler() {
        let mut v1 = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}});
        to_v2(&mut v1);
        assert_eq!(
            v1["spec"]["metrics"],
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}])
        );
        assert!(v1["metadata"].get("annotations").is_none() && v1.get("status").is_none());
        let mut bare = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3}});
        to_v2(&mut bare);
        assert_eq!(bare["spec"], json!({"maxReplicas": 3}));
    }
}
