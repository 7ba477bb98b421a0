//! YAML bodies: the first document, read by the rules Kubernetes reads manifests by.

use serde_json::Value;

use super::error::DecodeError;

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
