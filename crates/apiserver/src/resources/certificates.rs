//! `certificates.k8s.io`: requests are made once, approved or denied once, and signed by somebody else (contract §15.7).
use super::definition::{Field, PART_VERBS, Read, Resource, STATUS, Subresource};
use super::rules::Rules;
use crate::status::{Cause, cause};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Shortest life of a certificate that can be asked for.
const EXPIRATION_SECONDS_MIN: i64 = 600;

pub const CERTIFICATESIGNINGREQUESTS: Resource = Resource::new(
    "certificates.k8s.io",
    "certificatesigningrequests",
    "certificatesigningrequest",
    "CertificateSigningRequest",
)
.cluster_scoped()
.short(&["csr"])
.with_subresources(&[
    Subresource {
        name: "approval",
        verbs: PART_VERBS,
        kind: None,
    },
    STATUS,
])
.with_fields(&[Field {
    name: "spec.signerName",
    read: Read::Text("/spec/signerName"),
}])
.with_rules(Rules {
    prepare_create: |request| request["status"] = json!({}),
    // What was asked for stays, whatever an update says.
    prepare_update: |new, old| new["spec"] = old["spec"].clone(),
    // Who decides writes through `approval`, who signs through `status`: each leaves the other's alone.
    prepare_status: stamp,
    validate_create: validate,
    validate_status,
    ..Rules::GENERIC
});

fn conditions(request: &Value) -> impl Iterator<Item = &Value> {
    request["status"]["conditions"].as_array().into_iter().flatten()
}

fn has(request: &Value, sort: &str) -> bool {
    conditions(request).any(|condition| condition["type"] == sort)
}

/// When conditions came.
pub fn stamp(new: &mut Value, old: &Value) {
    let now = crate::registry::now();
    let known: Vec<Value> = conditions(old)
        .map(|condition| condition["type"].clone())
        .collect();
    let conditions = new["status"]["conditions"].as_array_mut().into_iter().flatten();
    for condition in conditions {
        if known.contains(&condition["type"]) {
            continue;
        }
        for member in ["lastUpdateTime", "lastTransitionTime"] {
            if condition[member].is_null() {
                condition[member] = json!(now);
            }
        }
    }
}

fn validate(request: &Value) -> Vec<Cause> {
    let spec = &request["spec"];
    let mut causes = Vec::new();
    if !is_request(spec["request"].as_str().unwrap_or_default()) {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        causes.push(cause::invalid("spec.request", &spec["request"], why));
    }
    let usages = spec["usages"].as_array().is_some_and(|usages| !usages.is_empty());
    if !usages {
        causes.push(cause::required("spec.usages", ""));
    }
    let signer = spec["signerName"].as_str().unwrap_or_default();
    match signer.split_once('/') {
        _ if signer.is_empty() => causes.push(cause::required("spec.signerName", "")),
        Some((domain, path)) if domain.contains('.') && !path.is_empty() => {}
        _ => causes.push(cause::invalid(
            "spec.signerName",
            &json!(signer),
            "must be a fully qualified domain and path of the form \"example.com/signer-name\"",
        )),
    }
    if spec["expirationSeconds"]
        .as_i64()
        .is_some_and(|n| n < EXPIRATION_SECONDS_MIN)
    {
        causes.push(cause::invalid(
            "spec.expirationSeconds",
            &spec["expirationSeconds"],
            "may not specify a duration less than 600 seconds (10 minutes)",
        ));
    }
    causes
}

fn is_request(text: &str) -> bool {
    let pem = STANDARD.decode(text).unwrap_or_default();
    x509_parser::pem::parse_x509_pem(&pem).is_ok_and(|(_, pem)| pem.label == "CERTIFICATE REQUEST")
}

/// The decision is for ever.
const DECISIONS: &[&str] = &["Approved", "Denied"];

/// Through `approval`: a decision, and only one.
pub fn validate_approval(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = kept(new, old);
    causes.extend(validate_conditions(new));
    causes
}

fn validate_status(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = kept(new, old);
    for decision in DECISIONS {
        if has(new, decision) && !has(old, decision) {
            let why = format!("updates may not add a condition of type {decision:?}");
            causes.push(cause::forbidden("status.conditions", &why));
        }
    }
    let before = old["status"]["certificate"].as_str().unwrap_or_default();
    if !before.is_empty() && new["status"]["certificate"] != old["status"]["certificate"] {
        let why = "updates may not change certificate content";
        causes.push(cause::forbidden("status.certificate", why));
    }
    let certificate = new["status"]["certificate"].as_str().unwrap_or_default();
    if before.is_empty() && !certificate.is_empty() {
        causes.extend(not_certificates(certificate).map(|why| {
            let shown = json!("<certificate data>");
            cause::invalid("status.certificate", &shown, why)
        }));
    }
    causes.extend(validate_conditions(new));
    causes
}

/// What is wrong with the certificates that were signed, in base64.
fn not_certificates(text: &str) -> Option<&'static str> {
    let pem = STANDARD.decode(text).unwrap_or_default();
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(&pem).peekable();
    if blocks.peek().is_none() {
        return Some("must contain at least one CERTIFICATE PEM block");
    }
    blocks.find_map(|block| match block {
        Ok(block) if block.label != "CERTIFICATE" => Some("only CERTIFICATE PEM blocks are allowed"),
        Ok(block) if block.parse_x509().is_ok() => None,
        _ => Some("a block is no certificate"),
    })
}

fn kept(new: &Value, old: &Value) -> Vec<Cause> {
    let gone = ["Approved", "Denied", "Failed"]
        .into_iter()
        .filter(|sort| has(old, sort) && !has(new, sort));
    gone.map(|sort| {
        let why = format!("updates may not remove a condition of type {sort:?}");
        cause::forbidden("status.conditions", &why)
    })
    .collect()
}

fn validate_conditions(new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (at, condition) in conditions(new).enumerate() {
        let field = format!("status.conditions[{at}]");
        let sort = condition["type"].as_str().unwrap_or_default();
        if sort.is_empty() {
            causes.push(cause::required(&format!("{field}.type"), ""));
        }
        let status = condition["status"].as_str().unwrap_or_default();
        let decided = matches!(sort, "Approved" | "Denied" | "Failed");
        let known: &[&str] = if decided {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        if status.is_empty() {
            causes.push(cause::required(&format!("{field}.status"), ""));
        } else if !known.contains(&status) {
            causes.push(cause::unsupported(&format!("{field}.status"), status, known));
        }
        let earlier = conditions(new)
            .take(at)
            .find(|other| other["type"] == condition["type"]);
        if earlier.is_some() {
            causes.push(cause::duplicate(&format!("{field}.type"), sort));
        }
        if DECISIONS.contains(&sort)
            && DECISIONS.iter().all(|decision| has(new, decision))
            && sort == "Denied"
        {
            let why = "Approved and Denied conditions are mutually exclusive";
            causes.push(cause::invalid(&format!("{field}.type"), &json!(sort), why));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    fn with(conditions: Value) -> Value {
        json!({"status": {"conditions": conditions}})
    }

    #[test]
    fn a_request_names_usages_and_signer() {
        let problems = shown(&validate(
            &json!({"spec": {"request": "eA==", "signerName": "x", "expirationSeconds": 5}}),
        ));
        assert_eq!(
            problems,
            [
                "spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST",
                "spec.usages: Required value",
                "spec.signerName: Invalid value: \"x\": must be a fully qualified domain and path of the form \"example.com/signer-name\"",
                "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)",
            ]
        );
    }

    #[test]
    fn a_decision_is_made_once() {
        let approved = with(json!([{"type": "Approved", "status": "True"}]));
        let none = json!({"status": {}});
        assert!(validate_approval(&approved, &none).is_empty());
        assert_eq!(
            shown(&validate_approval(&none, &approved)),
            ["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]
        );
        let both =
            with(json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]));
        assert_eq!(
            shown(&validate_approval(&both, &approved)),
            [
                "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"
            ]
        );
        assert_eq!(
            shown(&validate_status(&approved, &none)),
            ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
        );
        let no = with(json!([{"type": "Approved", "status": "False"}]));
        assert_eq!(
            shown(&validate_approval(&no, &none)),
            ["status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""]
        );
    }

    #[test]
    fn what_is_signed_stays() {
        let authority = orlop_pki::Authority::ephemeral("signer").unwrap();
        let signed = json!({"status": {"certificate": STANDARD.encode(authority.certificate())}});
        assert!(validate_status(&signed, &json!({})).is_empty());
        assert_eq!(
            shown(&validate_status(
                &json!({"status": {"certificate": "Yg=="}}),
                &signed
            )),
            ["status.certificate: Forbidden: updates may not change certificate content"]
        );
    }

    #[test]
    fn what_is_signed_is_a_certificate() {
        for (pem, why) in [
            ("a", "must contain at least one CERTIFICATE PEM block"),
            (
                "-----BEGIN PRIVATE KEY-----\nZm9v\n-----END PRIVATE KEY-----\n",
                "only CERTIFICATE PEM blocks are allowed",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n",
                "a block is no certificate",
            ),
        ] {
            let signed = json!({"status": {"certificate": STANDARD.encode(pem)}});
            assert_eq!(
                shown(&validate_status(&signed, &json!({}))),
                [format!(
                    "status.certificate: Invalid value: \"<certificate data>\": {why}"
                )]
            );
        }
    }
}
