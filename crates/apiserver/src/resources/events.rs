//! Events: stored once as core/v1, shown as core/v1 and events.k8s.io/v1 (contract §13).
use super::definition::{Field, Read, Resource, View};
use super::rules::Rules;
use crate::status::{Cause, cause};
use serde_json::{Map, Value, json};

const CORE_FIELDS: &[Field] = &[
    text("involvedObject.kind", "/involvedObject/kind"),
    text("involvedObject.namespace", "/involvedObject/namespace"),
    text("involvedObject.name", "/involvedObject/name"),
    text("involvedObject.uid", "/involvedObject/uid"),
    text("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    text(
        "involvedObject.resourceVersion",
        "/involvedObject/resourceVersion",
    ),
    text("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    text("reason", "/reason"),
    text("type", "/type"),
    text("reportingComponent", "/reportingComponent"),
    Field {
        name: "source",
        read: Read::FirstOf(&["/source/component", "/reportingComponent"]),
    },
];

/// Same order as [`CORE_FIELDS`]: the values come from the stored form.
const V1_FIELDS: &[Field] = &[
    text("regarding.kind", ""),
    text("regarding.namespace", ""),
    text("regarding.name", ""),
    text("regarding.uid", ""),
    text("regarding.apiVersion", ""),
    text("regarding.resourceVersion", ""),
    text("regarding.fieldPath", ""),
    text("reason", ""),
    text("type", ""),
    text("reportingController", ""),
];

const fn text(name: &'static str, pointer: &'static str) -> Field {
    Field {
        name,
        read: Read::Text(pointer),
    }
}

pub const EVENTS: Resource = Resource::new("", "events", "event", "Event")
    .short(&["ev"])
    .with_fields(CORE_FIELDS)
    .with_rules(Rules {
        create_on_update: true,
        expires: true,
        default: always_present,
        validate_create: |event| validate_core(event),
        validate_update: |event, _| validate_core(event),
        ..Rules::GENERIC
    });

pub const EVENTS_V1: Resource = Resource {
    view: Some(View {
        from_stored,
        to_stored,
    }),
    ..Resource::new("events.k8s.io", "events", "event", "Event")
        .short(&["ev"])
        .with_fields(V1_FIELDS)
        .with_rules(Rules {
            create_on_update: true,
            expires: true,
            default: always_present,
            validate_create: validate_v1,
            validate_update: validate_v1_update,
            ..Rules::GENERIC
        })
};

/// Upstream's type writes these even when unset. Rules see the stored, core form.
fn always_present(event: &mut Value) {
    let Some(event) = event.as_object_mut() else {
        return;
    };
    for key in ["eventTime", "firstTimestamp", "lastTimestamp"] {
        event.entry(key).or_insert(Value::Null);
    }
    for key in ["reportingComponent", "reportingInstance"] {
        event.entry(key).or_insert(json!(""));
    }
    for key in ["source", "involvedObject"] {
        event.entry(key).or_insert(json!({}));
    }
}

fn validate_core(event: &Value) -> Vec<Cause> {
    let namespace = event
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let involved = event
        .pointer("/involvedObject/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Events of cluster-scoped objects live in `default`.
    if involved == namespace || (involved.is_empty() && namespace == "default") {
        return Vec::new();
    }
    vec![cause::invalid(
        "involvedObject.namespace",
        &json!(involved),
        "does not match event.namespace",
    )]
}

fn validate_v1(event: &Value) -> Vec<Cause> {
    let mut causes = validate_core(event);
    if event["eventTime"].is_null() {
        causes.push(cause::required("eventTime", ""));
    }
    for (stored, shown) in [
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ] {
        if event[stored].as_str().unwrap_or_default().is_empty() {
            causes.push(cause::required(shown, ""));
        }
    }
    if !matches!(event["type"].as_str(), Some("Normal" | "Warning")) {
        causes.push(cause::invalid("type", &event["type"], "has invalid value: "));
    }
    causes
}

fn validate_v1_update(new: &Value, old: &Value) -> Vec<Cause> {
    // Only the series (and metadata) may move.
    [
        ("involvedObject", "regarding"),
        ("related", "related"),
        ("reason", "reason"),
        ("message", "note"),
        ("type", "type"),
        ("action", "action"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("eventTime", "eventTime"),
    ]
    .iter()
    .filter(|(stored, _)| new[*stored] != old[*stored])
    .map(|(stored, shown)| cause::invalid(shown, &new[*stored], "field is immutable"))
    .collect()
}

/// (stored, events.k8s.io) names of the fields that are called differently.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn from_stored(event: &mut Value) {
    rename(event, |key| {
        NAMES.iter().find(|(s, _)| *s == key).map(|(_, v)| *v)
    });
    event["apiVersion"] = json!("events.k8s.io/v1");
}

fn to_stored(event: &mut Value) {
    rename(event, |key| {
        NAMES.iter().find(|(_, v)| *v == key).map(|(s, _)| *s)
    });
    event["apiVersion"] = json!("v1");
}

fn rename(event: &mut Value, name: impl Fn(&str) -> Option<&'static str>) {
    let Some(map) = event.as_object_mut() else {
        return;
    };
    *map = std::mem::take(map)
        .into_iter()
        .map(|(key, value)| (name(&key).map_or(key, str::to_owned), value))
        .collect::<Map<_, _>>();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N09
    #[test]
    fn both_forms_show_the_same_event() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "message": "m", "reason": "R",
            "involvedObject": {"kind": "Pod"}, "source": {"component": "kubelet"}, "count": 2,
            "reportingComponent": "kubelet"});
        let mut event = core.clone();
        from_stored(&mut event);
        assert_eq!(event["note"], "m");
        assert_eq!(event["regarding"]["kind"], "Pod");
        assert_eq!(event["deprecatedSource"]["component"], "kubelet");
        assert_eq!(event["reportingController"], "kubelet");
        to_stored(&mut event);
        assert_eq!(event, core);
    }

    #[test]
    fn the_involved_object_lives_where_the_event_does() {
        let event = |namespace: &str, involved: &str| json!({"metadata": {"namespace": namespace}, "involvedObject": {"namespace": involved}});
        assert!(validate_core(&event("n", "n")).is_empty());
        assert!(validate_core(&event("default", "")).is_empty());
        assert_eq!(validate_core(&event("n", "other")).len(), 1);
    }
}
