//! Pod Security: what a namespace demands of its pods by labels, and what a pod does that isn't allowed at a
//! level of the Pod Security Standards (contract api-server §17). Texts are upstream's.

mod baseline;
mod namespace;
mod policy;
mod restricted;
mod subject;
mod update;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use baseline::SAFE_SYSCTLS;
pub use namespace::{PODS_CHECKED_MAX, existing_pods};
pub use policy::{LABEL_PREFIX, Policy};
pub use update::is_significant;

use subject::Subject;

/// How much is demanded, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// Nothing.
    #[default]
    Privileged,
    /// No known way to escalate privileges.
    Baseline,
    /// Best practice in hardening.
    Restricted,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })
    }
}

/// The release whose checks apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// The newest that is known.
    #[default]
    Latest,
    /// 1.x.
    Minor(u32),
}

impl Version {
    /// Newer releases than those known here bring nothing that could be checked.
    fn minor(self) -> u32 {
        match self {
            Version::Latest => u32::MAX,
            Version::Minor(minor) => minor,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => f.write_str("latest"),
            Version::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

/// A level as of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Standard {
    /// How much.
    pub level: Level,
    /// As of when.
    pub version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

/// One thing a pod does that isn't allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it is about.
    pub reason: String,
    /// Who does it, and what to do instead.
    pub detail: String,
}

impl Violation {
    fn new(reason: impl Into<String>, detail: impl Into<String>) -> Violation {
        Violation {
            reason: reason.into(),
            detail: detail.into(),
        }
    }
}

/// A check in the form it has from a release on.
type Run = fn(&Subject<'_>) -> Option<Violation>;

/// A check with its forms, oldest first.
struct Check {
    name: &'static str,
    /// Minor release, form.
    forms: &'static [(u32, Run)],
    /// The weaker check that this one includes.
    instead_of: &'static str,
}

impl Check {
    const fn new(name: &'static str, forms: &'static [(u32, Run)]) -> Check {
        Check {
            name,
            forms,
            instead_of: "",
        }
    }

    const fn instead_of(self, instead_of: &'static str) -> Check {
        Check { instead_of, ..self }
    }

    fn form(&self, minor: u32) -> Option<Run> {
        let known = self.forms.iter().rev().find(|(since, _)| *since <= minor);
        known.map(|(_, run)| *run)
    }
}

/// What the standard forbids and the pod does, in upstream's order; empty: the pod is allowed.
pub fn violations(standard: Standard, metadata: &ObjectMeta, spec: &PodSpec) -> Vec<Violation> {
    let minor = standard.version.minor();
    let restricted: &[Check] = match standard.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => &[],
        Level::Restricted => restricted::CHECKS,
    };
    let is_replaced = |check: &Check| {
        let by = |other: &Check| other.instead_of == check.name && other.form(minor).is_some();
        restricted.iter().any(by)
    };
    let subject = Subject::new(metadata, spec);
    baseline::CHECKS
        .iter()
        .filter(|check| !is_replaced(check))
        .chain(restricted)
        .filter_map(|check| check.form(minor)?(&subject))
        .collect()
}

/// `reason (detail), reason (detail)`.
pub fn describe(violations: &[Violation]) -> String {
    let one = |v: &Violation| match v.detail.as_str() {
        "" => v.reason.clone(),
        detail => format!("{} ({detail})", v.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `reason, reason`.
fn reasons(violations: &[Violation]) -> String {
    let reasons: Vec<&str> = violations.iter().map(|v| v.reason.as_str()).collect();
    reasons.join(", ")
}
