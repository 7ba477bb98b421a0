//! The labels of a namespace that say what its pods may do.

use std::collections::BTreeMap;

use super::{Level, Standard, Version};
use crate::validation::FieldError;

/// All labels begin with this.
pub const LABEL_PREFIX: &str = "pod-security.kubernetes.io/";

/// What a namespace demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// Pods that violate it are refused.
    pub enforce: Standard,
    /// Who violates it is noted in the audit log.
    pub audit: Standard,
    /// Who violates it is warned.
    pub warn: Standard,
}

impl Policy {
    /// Reads what is demanded where labels say nothing: `enforce`, `enforce-version` and so on. What isn't there demands
    /// nothing.
    pub fn of_defaults(given: &BTreeMap<String, String>) -> (Policy, Vec<FieldError>) {
        let mut reader = Reader {
            labels: given,
            prefix: "",
            errors: Vec::new(),
        };
        let policy = Policy {
            enforce: reader.standard("enforce", Level::Restricted, Standard::default()),
            audit: reader.standard("audit", Level::Privileged, Standard::default()),
            warn: reader.standard("warn", Level::Privileged, Standard::default()),
        };
        (policy, reader.errors)
    }

    /// Reads the labels of a namespace where nothing else is demanded.
    pub fn of(labels: &BTreeMap<String, String>) -> (Policy, Vec<FieldError>) {
        Policy::default().with(labels)
    }

    /// Reads the labels. There is always a policy: where a label can't be read, enforcing fails closed, auditing and
    /// warning fail open.
    pub fn with(&self, labels: &BTreeMap<String, String>) -> (Policy, Vec<FieldError>) {
        let mut reader = Reader {
            labels,
            prefix: LABEL_PREFIX,
            errors: Vec::new(),
        };
        let enforce = reader.standard("enforce", Level::Restricted, self.enforce);
        let audit = reader.standard("audit", Level::Privileged, self.audit);
        let mut warn = reader.standard("warn", Level::Privileged, self.warn);
        // Who is going to be refused as a pod wants to know it of the workload that makes the pod.
        if reader.has("enforce") && !reader.has("warn") && enforce.level > warn.level {
            warn.level = enforce.level;
            if !reader.has("warn-version") {
                warn.version = enforce.version;
            }
        }
        let policy = Policy { enforce, audit, warn };
        (policy, reader.errors)
    }

    /// Whether nothing is demanded in any way.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn]
            .iter()
            .all(|standard| standard.level == Level::Privileged)
    }
}

struct Reader<'a> {
    labels: &'a BTreeMap<String, String>,
    /// Before the names of modes.
    prefix: &'a str,
    errors: Vec<FieldError>,
}

impl Reader<'_> {
    fn label(&self, mode: &str) -> Option<(String, &str)> {
        let key = format!("{}{mode}", self.prefix);
        let value = self.labels.get(&key)?;
        let field = match self.prefix {
            "" => key,
            _ => format!("metadata.labels[{key}]"),
        };
        Some((field, value))
    }

    fn has(&self, mode: &str) -> bool {
        self.label(mode).is_some()
    }

    fn standard(&mut self, mode: &str, unreadable: Level, otherwise: Standard) -> Standard {
        let mut standard = otherwise;
        if let Some((field, value)) = self.label(mode) {
            standard.level = match value {
                "privileged" => Level::Privileged,
                "baseline" => Level::Baseline,
                "restricted" => Level::Restricted,
                other => {
                    let hint = "must be one of privileged, baseline, restricted";
                    let error = FieldError::invalid(field, other, hint);
                    self.errors.push(error);
                    unreadable
                }
            };
        }
        if let Some((field, value)) = self.label(&format!("{mode}-version")) {
            match version(value) {
                Some(version) => standard.version = version,
                None => {
                    let hint = "must be \"latest\" or \"v1.x\"";
                    let error = FieldError::invalid(field, value, hint);
                    self.errors.push(error);
                }
            }
        }
        standard
    }
}

fn version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let digits = text.strip_prefix("v1.")?;
    let canonical = digits == "0" || !digits.starts_with('0');
    let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (canonical && numeric)
        .then(|| digits.parse().ok().map(Version::Minor))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[(&str, &str)]) -> (Policy, Vec<String>) {
        let labels = labels
            .iter()
            .map(|(k, v)| (format!("{LABEL_PREFIX}{k}"), (*v).to_owned()))
            .collect();
        let (policy, errors) = Policy::of(&labels);
        (policy, errors.iter().map(ToString::to_string).collect())
    }

    fn show(policy: &Policy) -> String {
        format!("{} {} {}", policy.enforce, policy.audit, policy.warn)
    }

    #[test]
    fn labels_are_read_and_what_cannot_be_read_enforces_the_most_and_warns_of_nothing() {
        for (labels, want, errors) in [
            (
                &[][..],
                "privileged:latest privileged:latest privileged:latest",
                0,
            ),
            (
                &[
                    ("enforce", "baseline"),
                    ("warn", "restricted"),
                    ("audit", "privileged"),
                ],
                "baseline:latest privileged:latest restricted:latest",
                0,
            ),
            (
                &[("enforce", "baseline"), ("enforce-version", "v1.22")],
                "baseline:v1.22 privileged:latest baseline:v1.22",
                0,
            ),
            (
                &[
                    ("enforce", "baseline"),
                    ("enforce-version", "v1.22"),
                    ("warn-version", "v1.30"),
                ],
                "baseline:v1.22 privileged:latest baseline:v1.30",
                0,
            ),
            (
                &[("enforce", "restricted"), ("warn", "privileged")],
                "restricted:latest privileged:latest privileged:latest",
                0,
            ),
            (
                &[("enforce", "bogus"), ("audit", "x"), ("warn", "Baseline")],
                "restricted:latest privileged:latest privileged:latest",
                3,
            ),
            (
                &[
                    ("enforce-version", "1.22"),
                    ("audit-version", "v1.022"),
                    ("warn-version", "v2.1"),
                ],
                "privileged:latest privileged:latest privileged:latest",
                3,
            ),
            (
                &[
                    ("enforce-version", "v1."),
                    ("audit-version", "v1.0"),
                    ("warn-version", "v1.9999999999"),
                ],
                "privileged:latest privileged:v1.0 privileged:latest",
                2,
            ),
        ] {
            let (policy, found) = of(labels);
            assert_eq!(show(&policy), want, "{labels:?}");
            assert_eq!(found.len(), errors, "{found:?}");
        }
    }

    #[test]
    fn a_bad_label_is_named_with_what_it_must_be() {
        let (_, errors) = of(&[("enforce", "bogus"), ("warn-version", "one")]);
        assert_eq!(
            errors,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"bogus\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"one\": must be \"latest\" or \"v1.x\"",
            ]
        );
    }
}
