//! Who may do what: bindings, certificates and admission.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{NONE, UNSET, age, count, list, name, or, text};
use super::{AGE, NAME, TableSpec, integer, string};

pub(super) static BINDINGS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Role", "The role that is given."),
        AGE,
        string("Users", "Users it is given to.").wide(),
        string("Groups", "Groups it is given to.").wide(),
        string("ServiceAccounts", "Service accounts it is given to.").wide(),
    ],
    |binding, now| {
        let subjects = |kind: &str| {
            let of_kind = list(binding, "/subjects")
                .iter()
                .filter(|s| text(s, "/kind") == kind);
            let shown = of_kind.map(|s| match kind {
                "ServiceAccount" => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
                _ => text(s, "/name").to_owned(),
            });
            Value::from(shown.collect::<Vec<_>>().join(", "))
        };
        let role = format!(
            "{}/{}",
            text(binding, "/roleRef/kind"),
            text(binding, "/roleRef/name")
        );
        vec![
            name(binding),
            role.into(),
            age(binding, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
);

pub(super) static SIGNING_REQUESTS: TableSpec = TableSpec::new(
    &[
        NAME,
        AGE,
        string("SignerName", "Who is asked to sign."),
        string("Requestor", "Who asks."),
        string("RequestedDuration", "How long the certificate should be valid."),
        string("Condition", "What became of the request."),
    ],
    |request, now| {
        let duration = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
        vec![
            name(request),
            age(request, now),
            or(text(request, "/spec/signerName"), NONE).into(),
            text(request, "/spec/username").into(),
            duration.map_or(NONE.to_owned(), crate::age::seconds).into(),
            outcome(request).into(),
        ]
    },
);

fn outcome(request: &Value) -> String {
    let has = |ty: &str| {
        list(request, "/status/conditions")
            .iter()
            .any(|c| text(c, "/type") == ty)
    };
    let mut outcome = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied".to_owned(),
        (false, true) => "Approved".to_owned(),
        (false, false) => "Pending".to_owned(),
    };
    if has("Failed") {
        outcome.push_str(",Failed");
    }
    if !text(request, "/status/certificate").is_empty() {
        outcome.push_str(",Issued");
    }
    outcome
}

pub(super) static WEBHOOKS: TableSpec = TableSpec::new(
    &[NAME, integer("Webhooks", "Number of webhooks."), AGE],
    |configuration, now| {
        vec![
            name(configuration),
            count(configuration, "/webhooks").into(),
            age(configuration, now),
        ]
    },
);

pub(super) static ADMISSION_POLICIES: TableSpec = TableSpec::new(
    &[
        NAME,
        integer("Validations", "Number of validations."),
        string("ParamKind", "Kind of its parameters."),
        AGE,
    ],
    |policy, now| policy_row(policy, "/spec/validations", now),
);

pub(super) static MUTATING_POLICIES: TableSpec = TableSpec::new(
    &[
        NAME,
        integer("Mutations", "Number of mutations."),
        string("ParamKind", "Kind of its parameters."),
        AGE,
    ],
    |policy, now| policy_row(policy, "/spec/mutations", now),
);

fn policy_row(policy: &Value, counted: &str, now: Timestamp) -> Vec<Value> {
    let params = match (
        text(policy, "/spec/paramKind/apiVersion"),
        text(policy, "/spec/paramKind/kind"),
    ) {
        (_, "") => UNSET.to_owned(),
        (version, kind) => format!("{version}/{kind}"),
    };
    vec![
        name(policy),
        count(policy, counted).into(),
        params.into(),
        age(policy, now),
    ]
}

pub(super) static ADMISSION_BINDINGS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("PolicyName", "The policy that is bound."),
        string("ParamRef", "Where its parameters are."),
        AGE,
    ],
    |binding, now| {
        let params = match (
            text(binding, "/spec/paramRef/namespace"),
            text(binding, "/spec/paramRef/name"),
        ) {
            _ if binding.pointer("/spec/paramRef").is_none_or(Value::is_null) => UNSET.to_owned(),
            ("", "") => "*".to_owned(),
            (namespace, "") => format!("{namespace}/*"),
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        vec![
            name(binding),
            text(binding, "/spec/policyName").into(),
            params.into(),
            age(binding, now),
        ]
    },
);
