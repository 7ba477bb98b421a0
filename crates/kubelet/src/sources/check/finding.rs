//! One thing to be said about a manifest: where, how bad, and in which words.
use orlop_api::manifest::ManifestError;
use orlop_api::yaml::Location;
use serde::Serialize;
use std::path::Path;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The agent does not run it.
    Error,
    /// It runs it, and somebody will wonder.
    Warning,
}

/// Something to be said, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub file: String,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// Field path, such as `spec.containers[0].image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub severity: Severity,
    /// Names the kind of finding, for filters.
    pub rule: &'static str,
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {severity}: ")?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// A warning about a file as a whole.
pub(super) fn whole(file: &Path, rule: &'static str, message: String) -> Finding {
    Finding {
        file: file.display().to_string(),
        line: None,
        column: None,
        field: None,
        severity: Severity::Warning,
        rule,
        message,
    }
}

/// A file of which nothing can be used.
pub(super) fn unusable(file: &Path, message: String) -> Finding {
    Finding {
        severity: Severity::Error,
        ..whole(file, "invalid", message)
    }
}

/// What the agent refuses of a file.
pub(super) fn refused(file: &Path, error: ManifestError) -> Finding {
    Finding {
        file: file.display().to_string(),
        line: error.line,
        column: error.column,
        field: error.field,
        severity: Severity::Error,
        rule: "invalid",
        message: error.reason,
    }
}

/// A field that no Pod has.
pub(super) fn passed_over(file: &Path, (field, at): (String, Location)) -> Finding {
    let message = "no Pod has this field: the agent passes over it".to_owned();
    Finding {
        line: Some(at.line),
        column: Some(at.column),
        field: Some(field),
        ..whole(file, "unknown-field", message)
    }
}
