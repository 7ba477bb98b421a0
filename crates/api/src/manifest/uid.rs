//! The identity of a static pod: the same for the same meaning, path and node, another for anything
//! else.
use super::{Source, StaticOrigin};
use crate::fnv::Fnv128;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

/// Switches that are off unless given. Only those: `hostUsers: false` or `allowPrivilegeEscalation: false`
/// say something else than silence does.
const OFF_BY_DEFAULT: &[&str] = &[
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "optional",
    "privileged",
    "readOnly",
    "readOnlyRootFilesystem",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "stdin",
    "stdinOnce",
    "tty",
];
/// Numbers that are 0 unless given.
const ZERO_BY_DEFAULT: &[&str] = &["hostPort", "initialDelaySeconds"];
/// Maps that say nothing while they are empty. Not all do: `labelSelector: {}` selects everything.
const NOTHING_WHEN_EMPTY: &[&str] = &[
    "affinity",
    "annotations",
    "capabilities",
    "dnsConfig",
    "labels",
    "lifecycle",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
    "resources",
    "securityContext",
    "status",
];
/// Maps whose keys are the user's own, where an empty value is a value.
const FREE: &[&str] = &[
    "annotations",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "options",
    "overhead",
    "requests",
    "volumeAttributes",
];

/// 32 lower-case hex digits over the defaulted object and where it came from.
pub fn of(pod: &Pod, origin: &StaticOrigin) -> String {
    let mut hash = Fnv128::new();
    // Written from typed fields and sorted maps: the order in the file doesn't count.
    let mut meaning = serde_json::to_value(pod).unwrap_or_default();
    drop_unsaid(&mut meaning);
    hash.write(meaning.to_string().as_bytes());
    match &origin.source {
        Source::File(path) => {
            hash.write(format!("host:{}", origin.node_name).as_bytes());
            hash.write(format!("file:{}", path.display()).as_bytes());
        }
        // The same URL gives the same pod on every node.
        Source::Http(url) => hash.write(format!("url:{url}").as_bytes()),
    }
    format!("{:032x}", hash.finish())
}

/// Takes out what means the same as not being there, as `kubectl --dry-run` likes to write it.
fn drop_unsaid(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_unsaid),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                if !FREE.contains(&key.as_str()) {
                    drop_unsaid(field);
                }
            }
            fields.retain(|key, field| !is_unsaid(key, field));
        }
        _ => {}
    }
}

fn is_unsaid(key: &str, field: &Value) -> bool {
    match field {
        Value::Null => true,
        Value::Bool(on) => !on && OFF_BY_DEFAULT.contains(&key),
        Value::Number(number) => number.as_i64() == Some(0) && ZERO_BY_DEFAULT.contains(&key),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => Map::is_empty(fields) && NOTHING_WHEN_EMPTY.contains(&key),
    }
}
