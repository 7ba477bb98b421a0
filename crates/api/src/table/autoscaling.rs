//! Autoscalers.

use serde_json::Value;

use super::cells::{UNKNOWN, UNSET, age, list, name, number, or, text};
use super::{AGE, NAME, TableSpec, integer, string};

pub(super) static AUTOSCALERS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Reference", "What is scaled."),
        string("Targets", "What is measured, and what it should be."),
        string("MinPods", "At least so many."),
        string("MaxPods", "At most so many."),
        integer("Replicas", "So many there are."),
        AGE,
    ],
    |scaler, now| {
        let reference = |member: &str| text(scaler, &format!("/spec/scaleTargetRef/{member}"));
        let least = scaler.pointer("/spec/minReplicas").and_then(Value::as_i64);
        vec![
            name(scaler),
            format!("{}/{}", reference("kind"), reference("name")).into(),
            targets(scaler).into(),
            least.map_or_else(|| UNSET.to_owned(), |n| n.to_string()).into(),
            number(scaler, "/spec/maxReplicas").into(),
            number(scaler, "/status/currentReplicas").into(),
            age(scaler, now),
        ]
    },
);

/// Metrics shown one by one.
const SHOWN: usize = 2;

/// `cpu: 10%/80%, memory: <unknown>/1Gi + 1 more...`. Objects are in the form of `autoscaling/v2`, or of v1.
fn targets(scaler: &Value) -> String {
    let metrics = list(scaler, "/spec/metrics");
    if metrics.is_empty() {
        let percent = |path: &str| {
            scaler
                .pointer(path)
                .and_then(Value::as_i64)
                .map(|n| format!("{n}%"))
        };
        let wanted = percent("/spec/targetCPUUtilizationPercentage");
        let is = percent("/status/currentCPUUtilizationPercentage");
        return wanted.map_or_else(
            || "<none>".to_owned(),
            |wanted| format!("cpu: {}/{wanted}", is.unwrap_or_else(|| UNKNOWN.to_owned())),
        );
    }
    let current = list(scaler, "/status/currentMetrics");
    let all: Vec<String> = metrics
        .iter()
        .enumerate()
        .filter_map(|(at, metric)| target(metric, current.get(at).unwrap_or(&Value::Null)))
        .collect();
    match all.len() {
        n if n <= SHOWN => all.join(", "),
        n => format!("{} + {} more...", all[..SHOWN].join(", "), n - SHOWN),
    }
}

fn target(metric: &Value, current: &Value) -> Option<String> {
    let source = match text(metric, "/type") {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return Some("<unknown type>".to_owned()),
    };
    let wanted = |member: &str| text(metric, &format!("/{source}/target/{member}")).to_owned();
    let is = |member: &str| {
        let found = text(current, &format!("/{source}/current/{member}"));
        or(found, UNKNOWN).to_owned()
    };
    let average = wanted("averageValue");
    let of_resource = matches!(source, "resource" | "containerResource");
    let percent = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_i64);
    let shown = match (of_resource, average.as_str()) {
        (true, "") => {
            let wanted = percent(metric, &format!("/{source}/target/averageUtilization"));
            let is = percent(current, &format!("/{source}/current/averageUtilization"));
            let show = |n: Option<i64>, none: &str| n.map_or_else(|| none.to_owned(), |n| format!("{n}%"));
            format!("{}/{}", show(is, UNKNOWN), show(wanted, "<auto>"))
        }
        (true, average) => format!("{}/{average}", is("averageValue")),
        (false, "") => format!("{}/{}", is("value"), wanted("value")),
        (false, average) if source == "pods" => format!("{}/{average}", is("averageValue")),
        (false, average) => format!("{}/{average} (avg)", is("averageValue")),
    };
    Some(match of_resource {
        true => format!("{}: {shown}", text(metric, &format!("/{source}/name"))),
        false => shown,
    })
}
