//! YAML bodies: the first document, read by the rules Kubernetes reads manifests by.

use std::collections::HashSet;

use serde_json::Value;

use super::error::DecodeError;
use super::findings::Finding;
use crate::yaml::{Node, Value as Parsed};

mod write;

pub use write::to_yaml;

/// Decodes a YAML body into the JSON it stands for.
pub fn from_yaml(body: &[u8]) -> Result<Value, DecodeError> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        // `defaultMode: 0644` is octal to everybody who writes manifests.
        legacy_octal_numbers: true,
    };
    let text =
        std::str::from_utf8(body).map_err(|_| DecodeError::Syntax("the body is not UTF-8".to_owned()))?;
    serde_saphyr::from_str_with_options(first_document(text), options)
        .map_err(|e| DecodeError::Syntax(format!("error converting YAML to JSON: {e}")))
}

/// The keys that a YAML body has twice in one map, by line. A body that is no YAML has none.
pub fn duplicate_keys(body: &[u8]) -> Vec<Finding> {
    /// More only make the answer long.
    const FINDINGS_MAX: usize = 100;
    fn collect(node: &Node, found: &mut Vec<Finding>) {
        match &node.value {
            Parsed::List(items) => items.iter().for_each(|item| collect(item, found)),
            Parsed::Map(entries) => {
                let mut seen = HashSet::with_capacity(entries.len());
                for entry in entries {
                    if !seen.insert(entry.key.as_str()) {
                        found.push(Finding::DuplicateKey {
                            line: entry.key_at.line,
                            key: entry.key.clone(),
                        });
                    }
                    collect(&entry.value, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(root) = crate::yaml::first_document(body) {
        collect(&root, &mut found);
    }
    found.truncate(FINDINGS_MAX);
    found
}

/// The text up to the marker that begins a second document. Three dashes at the start of a line are always a marker:
/// every multi-line scalar of a document is indented.
fn first_document(text: &str) -> &str {
    let mut begun = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && begun {
            return text.get(..at).unwrap_or(text);
        }
        let content = line.strip_prefix("---").filter(|_| marker).unwrap_or(line).trim();
        begun |= !content.is_empty() && !content.starts_with(['#', '%']);
        at += line.len();
    }
    text
}
