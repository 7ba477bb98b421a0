//! Events: stored once as core/v1, shown as core/v1 and events.k8s.io/v1 (contract §13).
use super::definition::{Field, Read, Resource, View};
use super::rules::Rules;
use super::validation;
use crate::status::{Cause, cause};
use orlop_api::names;
use serde_json::{Map, Value, json};

/// Bytes of what an event of the newer form says.
const NOTE_MAX: usize = 1024;

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

/// What holds for every event. Those that say when they happened are of the newer form, whichever group they come by.
fn validate_core(event: &Value) -> Vec<Cause> {
    let of = |pointer| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, involved) = (of("/metadata/namespace"), of("/involvedObject/namespace"));
    let is_new = !event["eventTime"].is_null();
    // Events of cluster-scoped objects live in `default`, newer ones of the system's own beside its objects.
    let right = match involved {
        "" => namespace == "default" || (is_new && namespace == "kube-system"),
        involved => is_new || involved == namespace,
    };
    let mut causes = Vec::new();
    if !right {
        causes.push(cause::invalid(
            "involvedObject.namespace",
            &json!(involved),
            "does not match event.namespace",
        ));
    }
    if !is_new {
        return causes;
    }
    for (stored, shown, max) in [
        ("reportingComponent", "reportingController", None),
        ("reportingInstance", "reportingInstance", Some(128)),
        ("action", "action", Some(128)),
        ("reason", "reason", Some(128)),
    ] {
        let text = validation::text(event, stored);
        if text.is_empty() {
            causes.push(cause::required(shown, ""));
        }
        causes.extend(too_long(shown, text, max.unwrap_or(usize::MAX)));
    }
    let controller = validation::text(event, "reportingComponent");
    let reasons = names::check_qualified_name(controller);
    causes.extend(validation::invalid("reportingController", controller, reasons));
    causes.extend(too_long("message", validation::text(event, "message"), NOTE_MAX));
    causes
}

fn too_long(field: &str, text: &str, max: usize) -> Option<Cause> {
    let why = format!("can have at most {max} characters");
    (text.len() > max).then(|| cause::invalid(field, &json!(""), &why))
}

fn validate_v1(event: &Value) -> Vec<Cause> {
    let mut causes = validate_core(event);
    causes.extend(validate_series(event));
    if event["eventTime"].is_null() {
        causes.push(cause::required("eventTime", ""));
    }
    if !matches!(event["type"].as_str(), Some("Normal" | "Warning")) {
        let why = format!("has invalid value: {}", validation::text(event, "type"));
        causes.push(cause::invalid("type", &json!(""), &why));
    }
    let source = &event["source"];
    let of_source = |member| !validation::text(source, member).is_empty();
    for (field, set) in [
        ("firstTimestamp", !event["firstTimestamp"].is_null()),
        ("lastTimestamp", !event["lastTimestamp"].is_null()),
        ("count", event["count"].as_i64().unwrap_or_default() != 0),
        ("source", of_source("component") || of_source("host")),
    ] {
        if set {
            causes.push(cause::invalid(field, &json!(""), "needs to be unset"));
        }
    }
    causes
}

fn validate_series(event: &Value) -> Vec<Cause> {
    let series = &event["series"];
    let mut causes = Vec::new();
    if series.is_object() {
        if series["count"].as_i64().unwrap_or_default() < 2 {
            causes.push(cause::invalid("series.count", &json!(""), "should be at least 2"));
        }
        if series["lastObservedTime"].is_null() {
            causes.push(cause::required("series.lastObservedTime", ""));
        }
    }
    causes
}

fn validate_v1_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_core(new);
    if new["series"] != old["series"] {
        causes.extend(validate_series(new));
    }
    // Only the series (and metadata) may move.
    let fixed = [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    let changed = fixed.iter().filter(|(stored, _)| new[*stored] != old[*stored]);
    causes.extend(changed.map(|(stored, shown)| cause::invalid(shown, &new[*stored], "field is immutable")));
    causes
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
        assert_eq!(validate_core(&event("kube-system", "")).len(), 1);
    }

    #[test]
    fn events_of_the_newer_form_say_who_did_what() {
        let event = json!({"metadata": {"namespace": "kube-system"}, "involvedObject": {},
            "eventTime": "2026-01-02T03:04:05.000006Z", "reportingComponent": "k8s.io/kube-scheduler",
            "reportingInstance": "i", "action": "Do", "reason": "Test", "type": "Normal", "message": "m"});
        let with = |key: &str, value: Value| {
            let mut event = event.clone();
            event[key] = value;
            event
        };
        let told = |event: Value| cause::shown(&validate_v1(&event));
        assert!(told(event.clone()).is_empty());
        for (key, value, expected) in [
            ("action", json!(""), "action: Required value"),
            (
                "message",
                json!("m".repeat(1025)),
                "message: Invalid value: \"\": can have at most 1024 characters",
            ),
            (
                "type",
                json!("Odd"),
                "type: Invalid value: \"\": has invalid value: Odd",
            ),
            ("count", json!(1), "count: Invalid value: \"\": needs to be unset"),
            (
                "series",
                json!({"count": 1, "lastObservedTime": "2026-01-02T03:04:05.000006Z"}),
                "series.count: Invalid value: \"\": should be at least 2",
            ),
        ] {
            assert_eq!(told(with(key, value)), [expected]);
        }
        let counted = json!({"count": 100, "lastObservedTime": "2026-01-02T03:04:05.000006Z"});
        assert!(validate_v1_update(&with("series", counted), &event).is_empty());
        assert_eq!(
            cause::shown(&validate_v1_update(&with("message", json!("n")), &event)),
            ["message: Invalid value: \"n\": field is immutable"]
        );
    }
}
