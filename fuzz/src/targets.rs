//! What is fuzzed: functions that read bytes from outside. Each panics where something that must hold does not.
//!
//! Inputs of several parts have them on either side of the first line `===`.
use orlop_api::apply::{self, Managed, Present, Type, Writer};
use orlop_api::cel;
use orlop_api::continue_token::ContinueToken;
use orlop_api::manifest::{self, Source, StaticOrigin};
use orlop_api::selector::{FieldSelector, LabelSelector};
use orlop_api::{patch, quantity, wire};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A target and its name, which is its corpus's.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("apply", applied),
    ("body_json", body_json),
    ("body_yaml", body_yaml),
    ("cel", expression),
    ("continue_token", continue_token),
    ("manifest", static_manifest),
    ("patch_json", patch_json),
    ("patch_merge", patch_merge),
    ("patch_strategic", patch_strategic),
    ("quantity", quantities),
    ("selector", selectors),
];

fn parts(data: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(data).ok()?.split_once("\n===\n")
}

fn json_parts(data: &[u8]) -> Option<(Value, Value)> {
    let (left, right) = parts(data)?;
    let read = |text: &str| serde_json::from_str(text).ok();
    Some((read(left)?, read(right)?))
}

/// The one form of a kind is its own: written and read again, it stays as it is.
fn settled(object: &Value) {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Ok(normal) = wire::normalize(&api_version, &kind, object.clone()) else {
        return;
    };
    let written = wire::json::encode(&normal);
    let read = wire::json::decode(&written).expect("what is written is JSON");
    assert_eq!(read, normal, "JSON reads back");
    let again = wire::normalize(&api_version, &kind, read).expect("what is normal can be normalized");
    assert_eq!(again, normal, "normalizing is done once");
}

pub fn body_json(data: &[u8]) {
    let Ok(object) = wire::json::decode(data) else {
        return;
    };
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let (decoded, findings) = wire::json::decode_with_findings(text("apiVersion"), text("kind"), data)
        .expect("JSON with findings is JSON without");
    assert_eq!(decoded, object);
    let _ = wire::strict_text(&findings);
    settled(&object);
}

pub fn body_yaml(data: &[u8]) {
    let Ok(object) = wire::from_yaml(data) else { return };
    let _ = wire::duplicate_keys(data);
    let written = wire::to_yaml(&object);
    let read = wire::from_yaml(written.as_bytes()).unwrap_or_else(|error| panic!("{error}:\n{written}"));
    assert_eq!(read, object, "YAML reads back:\n{written}");
    settled(&object);
}

pub fn patch_json(data: &[u8]) {
    let Some((object, body)) = json_parts(data) else {
        return;
    };
    let _ = patch::json_unknown_fields(&body);
    let _ = patch::json(&object, &body);
}

pub fn patch_merge(data: &[u8]) {
    let Some((object, body)) = json_parts(data) else {
        return;
    };
    if let Ok(once) = patch::merge_object(&object, &body) {
        let twice = patch::merge_object(&once, &body).expect("what could be merged can be again");
        assert_eq!(once, twice, "a merge is done once");
    }
}

pub fn patch_strategic(data: &[u8]) {
    let Some((object, body)) = json_parts(data) else {
        return;
    };
    let kind = object["kind"].as_str().unwrap_or_default();
    let _ = patch::strategic(kind, &object, &body);
}

/// Applied a second time, a configuration changes nothing.
pub fn applied(data: &[u8]) {
    let Some((object, body)) = json_parts(data) else {
        return;
    };
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let Some(ty) = Type::of_kind(text("apiVersion"), text("kind")) else {
        return;
    };
    let normal = |value: Value| {
        wire::normalize(text("apiVersion"), text("kind"), value).map_err(|error| error.to_string())
    };
    let Ok(live) = normal(object.clone()) else { return };
    let writer = Writer {
        manager: "fuzz",
        api_version: text("apiVersion"),
        subresource: "",
        ignored: &["status"],
        now: "2026-01-01T00:00:00Z",
    };
    let apply = |object: &Value, managed: Managed, force: bool| {
        let present = Present {
            blank: &serde_json::json!({}),
            object,
            managed,
            exists: true,
        };
        apply::apply(present, &body, ty, &writer, force, normal)
    };
    let given = Managed::parse(&object["metadata"]["managedFields"]).unwrap_or_default();
    let _ = apply(&live, given.clone(), false);
    let Ok(once) = apply(&live, given, true) else {
        return;
    };
    let twice =
        apply(&once.object, once.managed.clone(), false).expect("nothing is in the way of its own fields");
    assert_eq!(once.object, twice.object, "an apply is done once");
    assert_eq!(once.managed.to_value(), twice.managed.to_value());
}

pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let labels = [("a", "b"), ("n", "3"), ("x.io/y", "")];
    let labels: BTreeMap<String, String> = labels
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into_iter()
        .collect();
    if let Ok(selector) = LabelSelector::parse(text) {
        let written = selector.to_string();
        let read = LabelSelector::parse(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
        assert_eq!(read.matches(&labels), selector.matches(&labels), "{written}");
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let _ = selector.matches(|field| Some(field.to_owned().into()));
        let _ = selector.required_value("metadata.name");
    }
}

pub fn continue_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(token) = ContinueToken::parse(text) {
        assert_eq!(ContinueToken::parse(&token.to_string()).as_ref(), Ok(&token));
    }
}

pub fn quantities(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(amount) = quantity::parse(text) else { return };
    let written = amount.to_string();
    let read = quantity::parse(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(read.nanos(), amount.nanos(), "{text} is written {written}");
    assert_eq!(read.to_string(), written, "what is canonical stays so");
}

pub fn static_manifest(data: &[u8]) {
    let origin = StaticOrigin {
        node_name: "node1".to_owned(),
        source: Source::File("/etc/kubernetes/manifests/fuzz.yaml".into()),
    };
    if let Err(errors) = manifest::examine(data, &origin) {
        assert!(!errors.is_empty(), "a refusal says why");
        for error in errors {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Compiled and, if it is one, evaluated within the budget of a request.
pub fn expression(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let declarations = cel::Declarations::default()
        .with("self", cel::Type::Dyn)
        .with("x", cel::Type::Int)
        .with("s", cel::Type::String);
    let program = match cel::Program::compile(text, &declarations) {
        Ok(program) => program,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let object = json!({"replicas": 3, "name": "web", "list": [3, 1, 2], "map": {"k": 1}, "none": null});
    let names = cel::Activation::default()
        .with("self", cel::Value::of(&object, None))
        .with("x", cel::Value::Int(7))
        .with("s", cel::Value::string("text"));
    let mut context = cel::Context {
        budget: cel::Budget::new(cel::REQUEST_MAX),
        authorizer: None,
    };
    if let Ok(value) = program.eval(&names, &mut context) {
        let _ = value.to_json();
    }
}
