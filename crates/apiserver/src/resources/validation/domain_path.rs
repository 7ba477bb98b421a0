//! Names that are paths in a domain, such as `example.com/queue`.
use crate::status::{Cause, cause};
use orlop_api::names::check_dns_subdomain;
use serde_json::json;

/// What may be in the path besides letters and digits.
const PATH_MARKS: &str = "/-._~%!$&'()*+,;=:";
const PATH_FORM: &str = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";

/// What is wrong with such a name.
pub fn domain_prefixed_path(field: &str, name: &str) -> Vec<Cause> {
    if name.is_empty() {
        return vec![cause::required(field, "")];
    }
    let (domain, path) = name.split_once('/').unwrap_or_default();
    if domain.is_empty() || path.is_empty() {
        let hint = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return vec![cause::invalid(field, &json!(name), hint)];
    }
    let mut causes: Vec<Cause> = check_dns_subdomain(domain)
        .iter()
        .map(|why| cause::invalid(field, &json!(domain), why))
        .collect();
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || PATH_MARKS.contains(c);
    if !path.chars().all(is_of_path) {
        causes.push(cause::invalid(field, &json!(path), PATH_FORM));
    }
    causes
}
