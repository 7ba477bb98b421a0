//! The link to where an API was approved, which groups that belong to the project ask for.
use super::text;
use orlop_api::validation::Findings;
use serde_json::Value;

const APPROVED: &str = "api-approved.kubernetes.io";
const APPROVALS: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// Whether a definition's group belongs to the project.
fn is_protected(crd: &Value) -> bool {
    let group = text(&crd["spec"]["group"]);
    let ours = ["k8s.io", "kubernetes.io"];
    ours.iter()
        .any(|of| group == *of || group.ends_with(&format!(".{of}")))
}

/// What the condition about approval says, of groups that ask for it: whether it holds, reason and message.
pub fn approval_condition(crd: &Value) -> Option<(bool, &'static str, String)> {
    if !is_protected(crd) {
        return None;
    }
    let given = text(&crd["metadata"]["annotations"][APPROVED]);
    Some(match Approval::of(given) {
        Approval::Given => (true, "ApprovedAnnotation", format!("approved in {given}")),
        Approval::Bypassed => (false, "UnapprovedAnnotation", format!("not approved: {given:?}")),
        Approval::Missing => {
            let message = format!("protected groups must have approval annotation {APPROVED:?}, {APPROVALS}");
            (false, "MissingAnnotation", message)
        }
        Approval::Invalid => {
            let message = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                 \"unapproved\", {APPROVALS}"
            );
            (false, "InvalidAnnotation", message)
        }
    })
}

/// Groups that belong to the project ask for a link to where the API was approved.
pub(super) fn approval(found: &mut Findings, crd: &Value, old: Option<&Value>) {
    if !is_protected(crd) {
        return;
    }
    let given = text(&crd["metadata"]["annotations"][APPROVED]);
    let state = Approval::of(given);
    if old.is_some_and(|old| Approval::of(text(&old["metadata"]["annotations"][APPROVED])) == state) {
        return;
    }
    let field = format!("metadata.annotations[{APPROVED}]");
    match state {
        Approval::Missing => {
            let hint = format!("protected groups must have approval annotation {APPROVED:?}, {APPROVALS}");
            found.required(field, &hint);
        }
        Approval::Invalid => {
            let hint = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                 \"unapproved\", {APPROVALS}"
            );
            found.invalid(field, given, &hint);
        }
        Approval::Given | Approval::Bypassed => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Given,
    Invalid,
}

impl Approval {
    fn of(annotation: &str) -> Self {
        let is_url = annotation
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some_and(|host| !host.is_empty()));
        match annotation {
            "" => Self::Missing,
            bypassed if bypassed.starts_with("unapproved") => Self::Bypassed,
            _ if is_url => Self::Given,
            _ => Self::Invalid,
        }
    }
}
