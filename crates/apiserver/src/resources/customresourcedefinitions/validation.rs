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
use orlop_api::validation::{FieldError, FieldErrorKind};
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
    let causes = errors.into_iter();
    causes
        .map(|e| Cause::new(e.reason(), e.field.clone(), e.detail))
        .collect()
}

fn check(crd: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let spec = &crd["spec"];
    let mut found = Found { errors: Vec::new() };
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    let name = text(&crd["metadata"]["name"]);
    if name != format!("{plural}.{group}") {
        let hint = "must be spec.names.plural+\".\"+spec.group";
        found.invalid("metadata.name", name, hint);
    }
    found.spec(crd, old);
    if let Some(old) = old {
        found.changes(crd, old);
    }
    found.approval(crd, old);
    if spec["preserveUnknownFields"] == true
        && old.is_none_or(|old| old["spec"]["preserveUnknownFields"] != true)
    {
        let hint = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        found.invalid("spec.preserveUnknownFields", true, hint);
    }
    found.errors
}

struct Found {
    errors: Vec<FieldError>,
}

impl Found {
    fn required(&mut self, field: impl Into<String>, hint: &str) {
        self.errors.push(FieldError::required(field, hint));
    }

    fn invalid(&mut self, field: impl Into<String>, value: impl serde::Serialize, hint: &str) {
        self.errors.push(FieldError::invalid(field, value, hint));
    }

    /// A name that has to be a label; in `with`, the hint may have more to say.
    fn label(&mut self, field: impl Into<String>, shown: &str, name: &str, with: &str) {
        let wrong = check_dns_1035_label(name);
        if !wrong.is_empty() {
            self.invalid(field, shown, &format!("{with}{}", wrong.join(",")));
        }
    }

    fn spec(&mut self, crd: &Value, old: Option<&Value>) {
        let spec = &crd["spec"];
        self.group(text(&spec["group"]));
        match text(&spec["scope"]) {
            "Namespaced" | "Cluster" => {}
            "" => self.required("spec.scope", ""),
            other => {
                let known = &["Cluster", "Namespaced"];
                self.errors
                    .push(FieldError::not_supported("spec.scope", other, known));
            }
        }
        let versions = versions(crd);
        for (number, version) in versions.iter().enumerate() {
            if !schema(version).is_object() {
                let field = format!("spec.versions[{number}].schema.openAPIV3Schema");
                self.required(field, "");
            }
        }
        if spec["preserveUnknownFields"] == true
            && versions.iter().any(|version| has_defaults(schema(version)))
        {
            let hint = "must be false in order to use defaults in the schema";
            self.invalid("spec.preserveUnknownFields", true, hint);
        }
        let common = Common::of(versions);
        for (number, version) in versions.iter().enumerate() {
            let path = format!("spec.versions[{number}]");
            let name = text(&version["name"]);
            self.label(format!("{path}.name"), name, name, "");
            self.deprecation(version, &path);
            if !common.schema {
                let status = version["subresources"]["status"].is_object();
                self.schema(version, &format!("{path}.schema"), status, old);
            }
            if !common.subresources {
                self.subresources(version, &format!("{path}.subresources"));
            }
            if !common.columns {
                self.columns(version, &format!("{path}.additionalPrinterColumns"));
            }
            if !common.fields {
                self.selectable(version, &format!("{path}.selectableFields"));
            }
        }
        self.storage(crd);
        self.names(&spec["names"]);
        let Some(first) = versions.first() else {
            return self.conversion(spec);
        };
        if common.schema {
            let status = versions
                .iter()
                .any(|version| version["subresources"]["status"].is_object());
            self.schema(first, "spec.validation", status, old);
        }
        if common.subresources {
            self.subresources(first, "spec.subresources");
        }
        if common.columns {
            self.columns(first, "spec.additionalPrinterColumns");
        }
        if common.fields {
            self.selectable(first, "spec.selectableFields");
        }
        self.conversion(spec);
    }

    fn group(&mut self, group: &str) {
        let wrong = names::check_dns_subdomain(group);
        if group.is_empty() {
            self.required("spec.group", "");
        } else if !wrong.is_empty() {
            self.invalid("spec.group", group, &wrong.join(","));
        } else if !group.contains('.') {
            self.invalid("spec.group", group, "should be a domain with at least one dot");
        }
    }

    fn deprecation(&mut self, version: &Value, path: &str) {
        let Some(warning) = version["deprecationWarning"].as_str() else {
            return;
        };
        let field = format!("{path}.deprecationWarning");
        if version["deprecated"] != true {
            return self.invalid(field, warning, "can only be set for deprecated versions");
        }
        if warning.len() > WARNING_BYTES_MAX {
            let hint = format!("must be <= {WARNING_BYTES_MAX} characters long");
            self.invalid(field.clone(), warning, &hint);
        }
        if warning.is_empty() {
            self.invalid(field.clone(), warning, "must not be an empty string");
        }
        if let Some((at, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
            let hint = format!(
                "must only contain printable UTF-8 characters; non-printable character found at index {at}"
            );
            self.invalid(field, warning, &hint);
        }
    }

    /// What a schema was accepted with before, maybe by another server, stays.
    fn schema(&mut self, version: &Value, path: &str, with_status: bool, old: Option<&Value>) {
        let before = old.into_iter().flat_map(versions);
        let mut before = before.filter(|before| before["name"] == version["name"]);
        let schema = schema(version);
        if !schema.is_object() || before.any(|before| self::schema(before) == schema) {
            return;
        }
        let look = Look {
            path: &format!("{path}.openAPIV3Schema"),
            with_status,
        };
        self.errors.extend(structural::check_definition(schema, look));
    }

    fn subresources(&mut self, version: &Value, path: &str) {
        let scale = &version["subresources"]["scale"];
        if !scale.is_object() {
            return;
        }
        for (key, roots, under) in SCALE_PATHS {
            let (field, given) = (format!("{path}.scale.{key}"), text(&scale[*key]));
            if given.is_empty() {
                if *key != "labelSelectorPath" {
                    self.required(field, "");
                }
            } else if !given.starts_with('.') {
                self.invalid(field, given, "must be a simple json path starting with .");
            } else if !roots.iter().any(|root| given.starts_with(root)) {
                self.invalid(field, given, &format!("should be a json path under {under}"));
            }
        }
    }

    fn columns(&mut self, version: &Value, path: &str) {
        for (number, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
            let field = |key: &str| format!("{path}[{number}].{key}");
            if text(&column["name"]).is_empty() {
                self.required(field("name"), "");
            }
            let hint = format!("must be one of {}", COLUMN_TYPES.join(","));
            match text(&column["type"]) {
                "" => self.required(field("type"), &hint),
                known if COLUMN_TYPES.contains(&known) => {}
                other => self.invalid(field("type"), other, &hint),
            }
            let format = text(&column["format"]);
            if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
                let hint = format!("must be one of {}", COLUMN_FORMATS.join(","));
                self.invalid(field("format"), format, &hint);
            }
            match text(&column["jsonPath"]) {
                "" => self.required(field("JSONPath"), ""),
                given if given.starts_with('.') => {}
                other => self.invalid(
                    field("JSONPath"),
                    other,
                    "must be a simple json path starting with .",
                ),
            }
        }
    }

    fn selectable(&mut self, version: &Value, path: &str) {
        let given = list(&version["selectableFields"]);
        if given.is_empty() {
            return;
        }
        let schema = schema(version);
        if !schema.is_object() {
            return self.invalid(path, "", "may only be set when validations.schema is included");
        }
        let mut seen = Vec::new();
        for (number, selectable) in given.iter().enumerate() {
            let (field, given) = (
                format!("{path}[{number}].jsonPath"),
                text(&selectable["jsonPath"]),
            );
            if given.is_empty() {
                self.required(field, "");
                continue;
            }
            let (names, place) = match structural::field_path(given, schema, false) {
                Ok(found) => found,
                Err(why) => {
                    self.invalid(field, given, &format!("is an invalid path: {why}"));
                    continue;
                }
            };
            if names.first().is_some_and(|name| name == "metadata") {
                self.invalid(&field, given, "must not point to fields in metadata");
            }
            if !matches!(text(&place["type"]), "string" | "boolean" | "integer") {
                let hint = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are \
                            allowed.";
                self.invalid(&field, given, hint);
            }
            if seen.contains(&names) {
                self.errors.push(FieldError::duplicate(field, given));
            } else {
                seen.push(names);
            }
        }
        if seen.len() > SELECTABLE_FIELDS_MAX {
            self.errors
                .push(FieldError::too_many(path, seen.len(), SELECTABLE_FIELDS_MAX));
        }
    }

    fn storage(&mut self, crd: &Value) {
        let versions = versions(crd);
        let all = &crd["spec"]["versions"];
        let name = |version: &Value| version["name"].clone();
        let repeats =
            |(at, version): (usize, &Value)| versions[..at].iter().any(|v| name(v) == name(version));
        if versions.iter().enumerate().any(repeats) {
            self.invalid("spec.versions", all, "must contain unique version names");
        }
        if versions
            .iter()
            .filter(|version| version["storage"] == true)
            .count()
            != 1
        {
            let hint = "must have exactly one version marked as storage version";
            self.invalid("spec.versions", all, hint);
        }
        let first = versions.first().map_or("", |version| text(&version["name"]));
        if !first.is_empty() {
            self.label("spec.version", first, first, "");
        }
    }

    fn names(&mut self, names: &Value) {
        for key in ["plural", "singular", "kind", "listKind"] {
            if text(&names[key]).is_empty() {
                self.required(format!("spec.names.{key}"), "");
            }
        }
        for key in ["plural", "singular", "kind", "listKind"] {
            let (field, name) = (format!("spec.names.{key}"), text(&names[key]));
            if name.is_empty() {
                continue;
            }
            if matches!(key, "kind" | "listKind") {
                let with = "may have mixed case, but should otherwise match: ";
                self.label(field, name, &name.to_lowercase(), with);
            } else {
                self.label(field, name, name, "");
            }
        }
        self.labels(&names["shortNames"], "spec.names.shortNames");
        let kind = text(&names["kind"]);
        if !kind.is_empty() && kind == text(&names["listKind"]) {
            let hint = "kind and listKind may not be the same";
            self.invalid("spec.names.listKind", kind, hint);
        }
        self.labels(&names["categories"], "spec.names.categories");
    }

    fn labels(&mut self, labels: &Value, path: &str) {
        for (number, label) in list(labels).iter().enumerate() {
            self.label(format!("{path}[{number}]"), text(label), text(label), "");
        }
    }

    fn conversion(&mut self, spec: &Value) {
        const CLIENT: &str = "spec.conversion.webhookClientConfig";
        const REVIEWS: &str = "spec.conversion.conversionReviewVersions";
        let (conversion, webhook) = (&spec["conversion"], &spec["conversion"]["webhook"]);
        let strategy = text(&conversion["strategy"]);
        if strategy != "None" && spec["preserveUnknownFields"] == true {
            let hint = "must be None if spec.preserveUnknownFields is true";
            self.invalid("spec.conversion.strategy", strategy, hint);
        }
        let reviews = &webhook["conversionReviewVersions"];
        match strategy {
            "" => self.required("spec.conversion.strategy", ""),
            "None" | "Webhook" => {}
            other => self.errors.push(FieldError::not_supported(
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
                self.errors.push(FieldError::forbidden(field, hint));
            }
            return;
        }
        if webhook["clientConfig"].is_object() {
            let wrong = validate_client(CLIENT, &webhook["clientConfig"]);
            self.errors.extend(wrong.into_iter().filter_map(error_of));
        } else {
            self.required(CLIENT, "required when strategy is set to Webhook");
        }
        self.reviews(reviews, REVIEWS);
    }

    fn reviews(&mut self, reviews: &Value, path: &str) {
        let given = list(reviews);
        if given.is_empty() {
            return self.required(path, "");
        }
        for (number, version) in given.iter().enumerate() {
            let (field, version) = (format!("{path}[{number}]"), text(version));
            if given[..number].iter().any(|before| before == version) {
                self.invalid(field, version, "duplicate version");
                continue;
            }
            for wrong in check_dns_1035_label(version) {
                self.invalid(&field, version, &wrong);
            }
        }
        if !given
            .iter()
            .any(|version| version == "v1" || version == "v1beta1")
        {
            self.invalid(path, reviews, "must include at least one of v1, v1beta1");
        }
    }

    fn changes(&mut self, new: &Value, old: &Value) {
        let fields = if is_established(old) {
            &["scope", "names/kind", "group", "names/plural"][..]
        } else {
            &["group", "names/plural"]
        };
        for field in fields {
            let of = |crd: &Value| crd.pointer(&format!("/spec/{field}")).cloned();
            if of(new) != of(old) {
                let path = format!("spec.{}", field.replace('/', "."));
                self.invalid(path, of(new), "field is immutable");
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
            self.invalid(format!("status.storedVersions[{number}]"), name, &hint);
        }
    }

    /// Groups that belong to the project ask for a link to where the API was approved.
    fn approval(&mut self, crd: &Value, old: Option<&Value>) {
        let group = text(&crd["spec"]["group"]);
        let ours = ["k8s.io", "kubernetes.io"];
        if !ours
            .iter()
            .any(|of| group == *of || group.ends_with(&format!(".{of}")))
        {
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
                let hint =
                    format!("protected groups must have approval annotation {APPROVED:?}, {APPROVALS}");
                self.required(field, &hint);
            }
            Approval::Invalid => {
                let hint = format!(
                    "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                     \"unapproved\", {APPROVALS}"
                );
                self.invalid(field, given, &hint);
            }
            Approval::Given | Approval::Bypassed => {}
        }
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
