//! Field paths of a pod's metadata, as the downward API names them.
use k8s_openapi::api::core::v1::Pod;
use orlop_api::pod::{name, namespace, uid};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The value of a `metadata.*` path: single names, `metadata.labels['k']`, and the whole maps as sorted
/// lines `key="escaped value"`. `None`: no such path.
pub fn metadata_value(pod: &Pod, path: &str) -> Option<String> {
    let metadata = &pod.metadata;
    match path {
        "metadata.name" => return Some(name(pod).to_owned()),
        "metadata.namespace" => return Some(namespace(pod).to_owned()),
        "metadata.uid" => return Some(uid(pod).to_owned()),
        "metadata.labels" => return Some(lines(metadata.labels.as_ref())),
        "metadata.annotations" => return Some(lines(metadata.annotations.as_ref())),
        _ => {}
    }
    let (map, rest) = match path.strip_prefix("metadata.labels[") {
        Some(rest) => (metadata.labels.as_ref(), rest),
        None => (
            metadata.annotations.as_ref(),
            path.strip_prefix("metadata.annotations[")?,
        ),
    };
    let key = rest.strip_suffix(']')?;
    let quoted = |quote: char| key.strip_prefix(quote).and_then(|key| key.strip_suffix(quote));
    let key = quoted('\'').or_else(|| quoted('"'))?;
    Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    lines.join("\n")
}

/// A double-quoted string with the escapes programs that read these files expect.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            // Writing to a String cannot fail.
            control if u32::from(control) < 0x20 || control == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(
            serde_json::json!({"metadata": {"name": "p", "namespace": "n", "uid": "u",
            "labels": {"b": "2", "a": "x\"y\\\n\u{1}"}, "annotations": {"example.com/k": "v"}}}),
        )
        .unwrap()
    }

    #[test]
    fn e03_e15_metadata_paths() {
        for (path, want) in [
            ("metadata.name", Some("p")),
            ("metadata.namespace", Some("n")),
            ("metadata.uid", Some("u")),
            ("metadata.labels['b']", Some("2")),
            ("metadata.labels['none']", Some("")),
            ("metadata.annotations['example.com/k']", Some("v")),
            ("metadata.labels", Some("a=\"x\\\"y\\\\\\n\\x01\"\nb=\"2\"")),
            ("metadata.annotations", Some("example.com/k=\"v\"")),
            ("metadata.finalizers", None),
            ("spec.nodeName", None),
        ] {
            assert_eq!(metadata_value(&pod(), path).as_deref(), want, "{path}");
        }
    }
}
