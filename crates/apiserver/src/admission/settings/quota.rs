//! ResourceQuotaConfiguration: what may only be used where a quota bounds it.
use crate::settings::{self, Problems, Section, SettingsError};
use k8s_openapi::api::core::v1::ScopedResourceSelectorRequirement;
use orlop_api::quota::Limited;
use orlop_api::validation::FieldError;
use serde_json::Value;

const NEWER: &[(&str, &[&str])] = &[("apiserver.config.k8s.io", &["v1"])];
const OLDER: &[(&str, &[&str])] = &[("resourcequota.admission.k8s.io", &["v1", "v1beta1", "v1alpha1"])];

pub(super) fn read(config: &Value) -> Result<Vec<Limited>, SettingsError> {
    match config["kind"].as_str() {
        Some("Configuration") => settings::expect(config, "Configuration", OLDER)?,
        _ => settings::expect(config, "ResourceQuotaConfiguration", NEWER)?,
    }
    let mut problems = Problems::default();
    let whole = Section::whole(config);
    whole.only(&["limitedResources"], &mut problems);
    let mut limited = Vec::new();
    for entry in whole.list("limitedResources", &mut problems) {
        entry.only(
            &["apiGroup", "resource", "matchContains", "matchScopes"],
            &mut problems,
        );
        let resource = entry.text("resource", &mut problems);
        if resource.is_empty() {
            problems.add(FieldError::required(entry.at("resource"), ""));
        }
        let mut scopes = Vec::new();
        for scope in entry.list("matchScopes", &mut problems) {
            scope.only(&["scopeName", "operator", "values"], &mut problems);
            scopes.push(ScopedResourceSelectorRequirement {
                scope_name: scope.text("scopeName", &mut problems).to_owned(),
                operator: scope.text("operator", &mut problems).to_owned(),
                values: Some(scope.texts("values", &mut problems)),
            });
        }
        limited.push(Limited {
            group: entry.text("apiGroup", &mut problems).to_owned(),
            plural: resource.to_owned(),
            contains: entry.texts("matchContains", &mut problems),
            scopes,
        });
    }
    problems.or(limited)
}
