//! The golden objects: one of every type in JSON, YAML and protobuf, as upstream writes it.
//!
//! They live beside the repository; they are another project's data and never copied into it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{findings, from_yaml, json, normalize, protobuf, schema::Schema, to_yaml};

/// One golden object.
struct Golden {
    name: String,
    json: Vec<u8>,
    yaml: Vec<u8>,
    protobuf: Vec<u8>,
}

impl Golden {
    /// The object, with the apiVersion and kind by which it is decoded. Only events of a watch have none.
    fn decoded(&self) -> (String, String, Value) {
        let object = json::decode(&self.json).unwrap();
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        (text("apiVersion"), text("kind"), object)
    }
}

/// All of them, or none, with word of it, where the folder is absent.
fn golden() -> Vec<Golden> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A git worktree lies one folder deeper.
    let folders = [
        repository.join("../shared/golden"),
        repository.join("../../shared/golden"),
    ];
    let Some(folder) = folders.iter().find(|folder| folder.is_dir()) else {
        println!(
            "no golden objects at {}: NOTHING IS COMPARED",
            folders[0].display()
        );
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let objects: Vec<Golden> = paths
        .iter()
        .map(|path| Golden {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            json: std::fs::read(path).unwrap(),
            yaml: std::fs::read(path.with_extension("yaml")).unwrap(),
            protobuf: std::fs::read(path.with_extension("pb")).unwrap(),
        })
        .collect();
    println!("{} golden objects", objects.len());
    objects
}

/// The event of a watch names no kind and is decoded by the client that asked for it.
fn is_event(golden: &Golden) -> bool {
    golden.name.ends_with("WatchEvent")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
}

#[test]
fn every_golden_object_is_of_a_known_kind() {
    let unknown: Vec<String> = golden()
        .iter()
        .filter(|g| !is_event(g))
        .map(Golden::decoded)
        .filter(|(api_version, kind, _)| super::kind(api_version, kind).is_none())
        .map(|(api_version, kind, _)| format!("{api_version} {kind}"))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn json_comes_back_byte_for_byte() {
    for golden in golden().iter().filter(|g| !is_event(g)) {
        let (api_version, kind, object) = golden.decoded();
        let name = &golden.name;
        let normal = normalize(&api_version, &kind, object).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(text(&json::encode_pretty(&normal)), text(&golden.json), "{name}");
        assert_eq!(findings(&api_version, &kind, &golden.json), [], "{name}");
    }
}

#[test]
fn yaml_is_the_same_object_and_comes_back_byte_for_byte() {
    for golden in golden() {
        let name = &golden.name;
        let (.., object) = golden.decoded();
        let read = from_yaml(&golden.yaml).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(read, object, "{name}");
        assert_eq!(
            to_yaml(&object),
            std::str::from_utf8(&golden.yaml).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn protobuf_is_the_same_object_and_comes_back_byte_for_byte() {
    for golden in golden().iter().filter(|g| !is_event(g)) {
        let name = &golden.name;
        let (api_version, kind, object) = golden.decoded();
        let decoded = protobuf::decode(&golden.protobuf).unwrap_or_else(|e| panic!("{name}: {e}"));
        let normal = normalize(&api_version, &kind, decoded).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(normal, object, "{name}");
        assert_eq!(protobuf::encode(&normal).unwrap(), golden.protobuf, "{name}");
    }
}

/// In a stream, an event is a message of its own; in the folder it has an envelope that names nothing.
#[test]
fn an_event_of_a_watch_is_upstreams() {
    for golden in golden().iter().filter(|g| is_event(g)) {
        let (.., event) = golden.decoded();
        // Embedded JSON has its keys in order, whatever it claims to be.
        let object = serde_json::to_vec(&event["object"]).unwrap();
        let frame = protobuf::event_frame(event["type"].as_str().unwrap(), &object);
        let (length, message) = frame.split_at(4);
        assert_eq!(
            u32::from_be_bytes(length.try_into().unwrap()) as usize,
            message.len()
        );
        assert_eq!(protobuf::envelope("", "", message), golden.protobuf);
    }
}

/// Field numbers in the golden bytes are the tables': none is skipped as unknown, so none is missing.
#[test]
fn the_tables_know_every_field_of_the_golden_objects() {
    for golden in golden().iter().filter(|g| !is_event(g)) {
        let (api_version, kind, object) = golden.decoded();
        let id = Schema::builtin().kind(&api_version, &kind).unwrap();
        for field in Schema::builtin().message(id).json_fields() {
            let unset = ["v1 Namespace status"];
            let place = format!("{api_version} {kind} {}", field.name);
            assert!(
                object.get(field.name).is_some() || unset.contains(&place.as_str()),
                "{place} is in no golden object"
            );
        }
    }
}
