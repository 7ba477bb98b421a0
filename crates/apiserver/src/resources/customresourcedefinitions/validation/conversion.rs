//! What is refused of how objects get from one version to another.
use super::{list, text};
use crate::resources::webhooks::client as validate_client;
use crate::status::Cause;
use orlop_api::names::check_dns_1035_label;
use orlop_api::validation::{FieldError, FieldErrorKind, Findings};
use serde_json::Value;

pub(super) fn conversion(found: &mut Findings, spec: &Value) {
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

fn error_of(cause: Cause) -> Option<FieldError> {
    Some(FieldError {
        kind: FieldErrorKind::named(&cause.reason)?,
        field: cause.field,
        detail: cause.message,
    })
}
