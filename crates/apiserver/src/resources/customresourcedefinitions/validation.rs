//! What is refused of a CustomResourceDefinition (contract §18).
//!
//! Upstream checks another form of it than it shows: what all versions have in common stands once, beside the versions. So
//! do the fields that are named here.
mod approval;
mod conversion;
mod version;

pub use approval::approval_condition;

use super::versions;
use crate::custom::is_established;
use crate::status::Cause;
use approval::approval;
use conversion::conversion;
use orlop_api::names;
use orlop_api::names::check_dns_1035_label;
use orlop_api::validation::{FieldError, Findings};
use serde_json::Value;
use version::{check_schema, columns, deprecation, has_schema, has_status, schema, selectable, subresources};

pub fn create(crd: &Value) -> Vec<Cause> {
    causes(check(crd, None))
}

pub fn update(new: &Value, old: &Value) -> Vec<Cause> {
    causes(check(new, Some(old)))
}

fn causes(errors: Vec<FieldError>) -> Vec<Cause> {
    errors.into_iter().map(Cause::from).collect()
}

fn check(crd: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = &crd["spec"];
    let mut findings = Findings::default();
    let found = &mut findings;
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    let name = text(&crd["metadata"]["name"]);
    if name != format!("{plural}.{group}") {
        let hint = "must be spec.names.plural+\".\"+spec.group";
        found.invalid("metadata.name", name, hint);
    }
    check_spec(found, crd, old);
    if let Some(old) = old {
        changes(found, crd, old);
    }
    approval(found, crd, old);
    if spec["preserveUnknownFields"] == true
        && old.is_none_or(|old| old["spec"]["preserveUnknownFields"] != true)
    {
        let hint = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        found.invalid("spec.preserveUnknownFields", true, hint);
    }
    findings.errors
}

/// A name that has to be a label; in `with`, the hint may have more to say.
fn label(found: &mut Findings, field: impl Into<String>, shown: &str, name: &str, with: &str) {
    let wrong = check_dns_1035_label(name);
    if !wrong.is_empty() {
        found.invalid(field, shown, &format!("{with}{}", wrong.join(",")));
    }
}

fn check_spec(found: &mut Findings, crd: &Value, old: Option<&Value>) {
    let spec = &crd["spec"];
    group(found, text(&spec["group"]));
    match text(&spec["scope"]) {
        "Namespaced" | "Cluster" => {}
        "" => found.required("spec.scope", ""),
        other => {
            let known = &["Cluster", "Namespaced"];
            found.add(FieldError::not_supported("spec.scope", other, known));
        }
    }
    let versions = versions(crd);
    // Those of v1beta1 did without, and stay.
    let may_lack = old.is_some_and(|old| !self::versions(old).iter().all(has_schema));
    for (number, version) in versions.iter().enumerate() {
        if !may_lack && !has_schema(version) {
            let field = format!("spec.versions[{number}].schema.openAPIV3Schema");
            found.required(field, "");
        }
    }
    if spec["preserveUnknownFields"] == true && versions.iter().any(|version| has_defaults(schema(version))) {
        let hint = "must be false in order to use defaults in the schema";
        found.invalid("spec.preserveUnknownFields", true, hint);
    }
    let common = Common::of(versions);
    for (number, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{number}]");
        let name = text(&version["name"]);
        label(found, format!("{path}.name"), name, name, "");
        deprecation(found, version, &path);
        if !common.schema {
            let status = has_status(version);
            check_schema(found, version, &format!("{path}.schema"), status, old);
        }
        if !common.subresources {
            subresources(found, version, &format!("{path}.subresources"));
        }
        if !common.columns {
            columns(found, version, &format!("{path}.additionalPrinterColumns"));
        }
        if !common.fields {
            selectable(found, version, &format!("{path}.selectableFields"));
        }
    }
    storage(found, crd);
    names(found, &spec["names"]);
    let Some(first) = versions.first() else {
        return conversion(found, spec);
    };
    if common.schema {
        let status = versions.iter().any(has_status);
        check_schema(found, first, "spec.validation", status, old);
    }
    if common.subresources {
        subresources(found, first, "spec.subresources");
    }
    if common.columns {
        columns(found, first, "spec.additionalPrinterColumns");
    }
    if common.fields {
        selectable(found, first, "spec.selectableFields");
    }
    conversion(found, spec);
}

fn group(found: &mut Findings, group: &str) {
    let wrong = names::check_dns_subdomain(group);
    if group.is_empty() {
        found.required("spec.group", "");
    } else if !wrong.is_empty() {
        found.invalid("spec.group", group, &wrong.join(","));
    } else if !group.contains('.') {
        found.invalid("spec.group", group, "should be a domain with at least one dot");
    }
}

fn storage(found: &mut Findings, crd: &Value) {
    let versions = versions(crd);
    let all = &crd["spec"]["versions"];
    let name = |version: &Value| version["name"].clone();
    let repeats = |(at, version): (usize, &Value)| versions[..at].iter().any(|v| name(v) == name(version));
    if versions.iter().enumerate().any(repeats) {
        found.invalid("spec.versions", all, "must contain unique version names");
    }
    if versions
        .iter()
        .filter(|version| version["storage"] == true)
        .count()
        != 1
    {
        let hint = "must have exactly one version marked as storage version";
        found.invalid("spec.versions", all, hint);
    }
    let first = versions.first().map_or("", |version| text(&version["name"]));
    if !first.is_empty() {
        label(found, "spec.version", first, first, "");
    }
}

fn names(found: &mut Findings, names: &Value) {
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(&names[key]).is_empty() {
            found.required(format!("spec.names.{key}"), "");
        }
    }
    for key in ["plural", "singular", "kind", "listKind"] {
        let (field, name) = (format!("spec.names.{key}"), text(&names[key]));
        if name.is_empty() {
            continue;
        }
        if matches!(key, "kind" | "listKind") {
            let with = "may have mixed case, but should otherwise match: ";
            label(found, field, name, &name.to_lowercase(), with);
        } else {
            label(found, field, name, name, "");
        }
    }
    labels(found, &names["shortNames"], "spec.names.shortNames");
    let kind = text(&names["kind"]);
    if !kind.is_empty() && kind == text(&names["listKind"]) {
        let hint = "kind and listKind may not be the same";
        found.invalid("spec.names.listKind", kind, hint);
    }
    labels(found, &names["categories"], "spec.names.categories");
}

fn labels(found: &mut Findings, labels: &Value, path: &str) {
    for (number, given) in list(labels).iter().enumerate() {
        label(found, format!("{path}[{number}]"), text(given), text(given), "");
    }
}

fn changes(found: &mut Findings, new: &Value, old: &Value) {
    let fields = if is_established(old) {
        &["scope", "names/kind", "group", "names/plural"][..]
    } else {
        &["group", "names/plural"]
    };
    for field in fields {
        let of = |crd: &Value| crd.pointer(&format!("/spec/{field}")).cloned();
        if of(new) != of(old) {
            let path = format!("spec.{}", field.replace('/', "."));
            found.invalid(path, of(new), "field is immutable");
        }
    }
    let stored = list(&old["status"]["storedVersions"]).iter().enumerate();
    for (number, version) in stored {
        if versions(new).iter().any(|v| v["name"] == *version) {
            continue;
        }
        let name = text(version);
        let hint = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage \
             migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        );
        found.invalid(format!("status.storedVersions[{number}]"), name, &hint);
    }
}

/// What is the same in all versions.
struct Common {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Common {
    fn of(versions: &[Value]) -> Self {
        let common = |key: &str| {
            let mut pairs = versions.windows(2);
            pairs.all(|pair| pair[0][key] == pair[1][key])
        };
        Self {
            schema: common("schema"),
            subresources: common("subresources"),
            columns: common("additionalPrinterColumns"),
            fields: common("selectableFields"),
        }
    }
}

fn has_defaults(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.get("default").is_some_and(|default| !default.is_null())
                || members.iter().any(|(name, value)| match (name.as_str(), value) {
                    ("properties", Value::Object(properties)) => properties.values().any(has_defaults),
                    ("default" | "enum" | "example", _) => false,
                    (_, value) => has_defaults(value),
                })
        }
        Value::Array(items) => items.iter().any(has_defaults),
        _ => false,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A schema may say more at its root than a status of its own lets it.
    #[test]
    fn a_schema_is_looked_at_again_when_its_status_becomes_a_subresource() {
        let crd = |subresources: Value| {
            json!({"metadata": {"name": "as.e.com"}, "spec": {"group": "e.com", "scope": "Cluster",
                "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"},
                "conversion": {"strategy": "None"},
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": subresources,
                    "schema": {"openAPIV3Schema": {"type": "object", "anyOf": [{"required": ["spec"]}],
                        "properties": {"spec": {"type": "string"}}}}}]}})
        };
        let (plain, with_status) = (crd(json!({})), crd(json!({"status": {}})));
        for (new, old, expected) in [
            (&plain, &plain, 0),
            (&with_status, &plain, 1),
            (&with_status, &with_status, 0),
            (&plain, &with_status, 0),
        ] {
            let causes = update(new, old);
            assert_eq!(causes.len(), expected, "{causes:?}");
        }
    }
}
