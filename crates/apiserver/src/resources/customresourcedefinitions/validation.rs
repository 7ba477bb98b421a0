//! What is refused of a CustomResourceDefinition (contract §18).
//!
//! Upstream checks another form of it than it shows: what all versions have in common stands once, beside the versions. So
//! do the fields that are named here.
use super::super::webhooks::client as validate_client;
use super::versions;
use crate::custom::is_established;
use crate::status::Cause;
use orlop_api::names;
use orlop_api::names::check_dns_1035_label;
use orlop_api::structural::{self, Look};
use orlop_api::validation::{FieldError, FieldErrorKind, Findings};
use serde_json::Value;

const APPROVED: &str = "api-approved.kubernetes.io";
const APPROVALS: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] = &[
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
/// Paths of a scale, the roots that they may have, and what messages say of these.
const SCALE_PATHS: &[(&str, &[&str], &str)] = &[
    ("specReplicasPath", &[".spec."], ".spec"),
    ("statusReplicasPath", &[".status."], ".status"),
    (
        "labelSelectorPath",
        &[".spec.", ".status."],
        "either .spec or .status",
    ),
];
const SELECTABLE_FIELDS_MAX: usize = 8;
const WARNING_BYTES_MAX: usize = 256;

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

fn deprecation(found: &mut Findings, version: &Value, path: &str) {
    let Some(warning) = version["deprecationWarning"].as_str() else {
        return;
    };
    let field = format!("{path}.deprecationWarning");
    if version["deprecated"] != true {
        return found.invalid(field, warning, "can only be set for deprecated versions");
    }
    if warning.len() > WARNING_BYTES_MAX {
        let hint = format!("must be <= {WARNING_BYTES_MAX} characters long");
        found.invalid(field.clone(), warning, &hint);
    }
    if warning.is_empty() {
        found.invalid(field.clone(), warning, "must not be an empty string");
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let hint = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        );
        found.invalid(field, warning, &hint);
    }
}

/// What a schema was accepted with before, maybe by another server, stays.
fn check_schema(found: &mut Findings, version: &Value, path: &str, with_status: bool, old: Option<&Value>) {
    let before = old.into_iter().flat_map(versions);
    let mut before = before.filter(|before| before["name"] == version["name"]);
    let schema = schema(version);
    // With a subresource of its own, the status asks more of the schema around it.
    let was_accepted =
        |before: &Value| self::schema(before) == schema && (has_status(before) || !with_status);
    if !schema.is_object() || before.any(was_accepted) {
        return;
    }
    let look = Look {
        path: &format!("{path}.openAPIV3Schema"),
        with_status,
    };
    found.all(structural::check_definition(schema, look));
}

fn subresources(found: &mut Findings, version: &Value, path: &str) {
    let scale = &version["subresources"]["scale"];
    if !scale.is_object() {
        return;
    }
    for (key, roots, under) in SCALE_PATHS {
        let (field, given) = (format!("{path}.scale.{key}"), text(&scale[*key]));
        if given.is_empty() {
            if *key != "labelSelectorPath" {
                found.required(field, "");
            }
        } else if !given.starts_with('.') {
            found.invalid(field, given, "must be a simple json path starting with .");
        } else if !roots.iter().any(|root| given.starts_with(root)) {
            found.invalid(field, given, &format!("should be a json path under {under}"));
        }
    }
}

fn columns(found: &mut Findings, version: &Value, path: &str) {
    for (number, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
        let field = |key: &str| format!("{path}[{number}].{key}");
        if text(&column["name"]).is_empty() {
            found.required(field("name"), "");
        }
        let hint = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text(&column["type"]) {
            "" => found.required(field("type"), &hint),
            known if COLUMN_TYPES.contains(&known) => {}
            other => found.invalid(field("type"), other, &hint),
        }
        let format = text(&column["format"]);
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let hint = format!("must be one of {}", COLUMN_FORMATS.join(","));
            found.invalid(field("format"), format, &hint);
        }
        match text(&column["jsonPath"]) {
            "" => found.required(field("JSONPath"), ""),
            given if given.starts_with('.') => {}
            other => found.invalid(
                field("JSONPath"),
                other,
                "must be a simple json path starting with .",
            ),
        }
    }
}

fn selectable(found: &mut Findings, version: &Value, path: &str) {
    let given = list(&version["selectableFields"]);
    if given.is_empty() {
        return;
    }
    let schema = schema(version);
    if !schema.is_object() {
        return found.invalid(path, "", "may only be set when validations.schema is included");
    }
    let mut seen = Vec::new();
    for (number, selectable) in given.iter().enumerate() {
        let (field, given) = (
            format!("{path}[{number}].jsonPath"),
            text(&selectable["jsonPath"]),
        );
        if given.is_empty() {
            found.required(field, "");
            continue;
        }
        let (names, place) = match structural::field_path(given, schema, false) {
            Ok(found) => found,
            Err(why) => {
                found.invalid(field, given, &format!("is an invalid path: {why}"));
                continue;
            }
        };
        if names.first().is_some_and(|name| name == "metadata") {
            found.invalid(&field, given, "must not point to fields in metadata");
        }
        if !matches!(text(&place["type"]), "string" | "boolean" | "integer") {
            let hint = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are \
                        allowed.";
            found.invalid(&field, given, hint);
        }
        if seen.contains(&names) {
            found.add(FieldError::duplicate(field, given));
        } else {
            seen.push(names);
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        found.add(FieldError::too_many(path, seen.len(), SELECTABLE_FIELDS_MAX));
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

fn conversion(found: &mut Findings, spec: &Value) {
    const CLIENT: &str = "spec.conversion.webhookClientConfig";
    const REVIEWS: &str = "spec.conversion.conversionReviewVersions";
    let (conversion, webhook) = (&spec["conversion"], &spec["conversion"]["webhook"]);
    let strategy = text(&conversion["strategy"]);
    if strategy != "None" && spec["preserveUnknownFields"] == true {
        let hint = "must be None if spec.preserveUnknownFields is true";
        found.invalid("spec.conversion.strategy", strategy, hint);
    }
    let reviews = &webhook["conversionReviewVersions"];
    match strategy {
        "" => found.required("spec.conversion.strategy", ""),
        "None" | "Webhook" => {}
        other => found.add(FieldError::not_supported(
            "spec.conversion.strategy",
            other,
            &["None", "Webhook"],
        )),
    }
    if strategy != "Webhook" {
        let given = [
            (webhook["clientConfig"].is_object(), CLIENT),
            (!list(reviews).is_empty(), REVIEWS),
        ];
        for (_, field) in given.into_iter().filter(|(given, _)| *given) {
            let hint = "should not be set when strategy is not set to Webhook";
            found.add(FieldError::forbidden(field, hint));
        }
        return;
    }
    if webhook["clientConfig"].is_object() {
        let wrong = validate_client(CLIENT, &webhook["clientConfig"]);
        found.all(wrong.into_iter().filter_map(error_of));
    } else {
        found.required(CLIENT, "required when strategy is set to Webhook");
    }
    check_reviews(found, reviews, REVIEWS);
}

fn check_reviews(found: &mut Findings, reviews: &Value, path: &str) {
    let given = list(reviews);
    if given.is_empty() {
        return found.required(path, "");
    }
    for (number, version) in given.iter().enumerate() {
        let (field, version) = (format!("{path}[{number}]"), text(version));
        if given[..number].iter().any(|before| before == version) {
            found.invalid(field, version, "duplicate version");
            continue;
        }
        for wrong in check_dns_1035_label(version) {
            found.invalid(&field, version, &wrong);
        }
    }
    if !given
        .iter()
        .any(|version| version == "v1" || version == "v1beta1")
    {
        found.invalid(path, reviews, "must include at least one of v1, v1beta1");
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
fn approval(found: &mut Findings, crd: &Value, old: Option<&Value>) {
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

fn error_of(cause: Cause) -> Option<FieldError> {
    Some(FieldError {
        kind: FieldErrorKind::named(&cause.reason)?,
        field: cause.field,
        detail: cause.message,
    })
}

fn has_status(version: &Value) -> bool {
    version["subresources"]["status"].is_object()
}

fn has_schema(version: &Value) -> bool {
    schema(version).is_object()
}

fn schema(version: &Value) -> &Value {
    &version["schema"]["openAPIV3Schema"]
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
