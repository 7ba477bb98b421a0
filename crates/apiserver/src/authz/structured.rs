//! AuthorizationConfiguration (`--authorization-config`): who decides, in which order. It can be replaced while the server
//! runs.
use super::chain::{Authorizer, Authorizers, Kind};
use super::conditions::{self, Conditions};
use super::webhook::{AccessWebhook, AccessWebhookConfig};
use crate::outbound::ReviewVersion;
use crate::settings::{self, Problems, Reloads, Section, SettingsError};
use orlop_api::cel::Type;
use orlop_api::names;
use orlop_api::validation::FieldError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const KIND: &str = "AuthorizationConfiguration";
const GROUPS: &[(&str, &[&str])] = &[("apiserver.config.k8s.io", &["v1", "v1beta1", "v1alpha1"])];
const TYPES: &[&str] = &["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
/// Upstream's limits.
const CONDITIONS_MAX: usize = 64;
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Of those that older configurations leave out.
const ALLOWED_TTL: Duration = Duration::from_secs(300);
const DENIED_TTL: Duration = Duration::from_secs(30);

/// The configuration that is followed now. Clones share it, so that it can be replaced while a server runs.
#[derive(Clone)]
pub struct StructuredAuthorization {
    authorizers: Authorizers,
    reloads: Reloads,
}

impl StructuredAuthorization {
    /// `text`: an AuthorizationConfiguration, YAML or JSON.
    ///
    /// # Errors
    /// It is none, or one that cannot be followed.
    pub fn new(text: &str) -> Result<Self, SettingsError> {
        Ok(Self {
            authorizers: Authorizers::new(authorizers(text)?),
            reloads: Reloads::new(text),
        })
    }

    /// Follows another configuration from now on. `text`: what its file holds, or why that cannot be told.
    ///
    /// # Errors
    /// It cannot be followed; the one before still is.
    pub fn replace(&self, text: Result<&str, String>) -> Result<(), SettingsError> {
        self.reloads
            .replace(text, authorizers, |made| self.authorizers.replace(made))
    }

    pub(crate) fn authorizers(&self) -> Authorizers {
        self.authorizers.clone()
    }

    pub(crate) fn reloads(&self) -> &Reloads {
        &self.reloads
    }
}

/// What a configuration says, with the webhooks' kubeconfigs read.
fn authorizers(text: &str) -> Result<Vec<Authorizer>, SettingsError> {
    let mut made = Vec::new();
    for (number, planned) in read(text)?.into_iter().enumerate() {
        let kind = match planned.webhook {
            None => Kind::of(&planned.sort),
            Some(webhook) => {
                let at = format!("authorizers[{number}].webhook.connectionInfo.kubeConfigFile");
                let path = webhook.kubeconfig.display().to_string();
                let webhook = AccessWebhook::new(webhook);
                let webhook = webhook.map_err(|error| FieldError::invalid(at, path, &error.to_string()))?;
                Some(Kind::Webhook(Arc::new(webhook)))
            }
        };
        made.extend(kind.map(|kind| Authorizer {
            name: planned.name,
            kind,
        }));
    }
    Ok(made)
}

#[derive(Debug)]
struct Planned {
    sort: String,
    name: Arc<str>,
    webhook: Option<AccessWebhookConfig>,
}

/// Reads a configuration. Pure.
fn read(text: &str) -> Result<Vec<Planned>, SettingsError> {
    let config = settings::parse(text)?;
    settings::expect(&config, KIND, GROUPS)?;
    let mut problems = Problems::default();
    let whole = Section::whole(&config);
    whole.only(&["authorizers"], &mut problems);
    let entries = whole.list("authorizers", &mut problems);
    if entries.is_empty() {
        let why = "at least one authorization mode must be defined";
        problems.add(FieldError::required("authorizers", why));
    }
    let (mut planned, mut sorts, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for entry in &entries {
        entry.only(&["type", "name", "webhook"], &mut problems);
        let sort = entry.text("type", &mut problems);
        let at = entry.at("type");
        if sort.is_empty() {
            problems.add(FieldError::required(at, ""));
            continue;
        }
        if !TYPES.contains(&sort) {
            problems.add(FieldError::not_supported(at, sort, TYPES));
            continue;
        }
        if !sorts.insert(sort) && sort != "Webhook" {
            problems.add(FieldError::duplicate(at, sort));
            continue;
        }
        let name = entry.text("name", &mut problems);
        let at = entry.at("name");
        let mistakes = names::check_dns_subdomain(name);
        if name.is_empty() {
            problems.add(FieldError::required(at, ""));
        } else if !names.insert(name) {
            problems.add(FieldError::duplicate(at, name));
        } else if !mistakes.is_empty() {
            let why = format!("authorizer name is invalid: {}", mistakes.join(", "));
            problems.add(FieldError::invalid(at, name, &why));
        }
        let name: Arc<str> = name.into();
        let section = entry.section("webhook");
        let webhook = match (sort, section.is_absent()) {
            ("Webhook", true) => {
                problems.add(FieldError::required(section.path(), "required when type=Webhook"));
                None
            }
            ("Webhook", false) => Some(webhook(&section, name.clone(), &mut problems)),
            (_, true) => None,
            (_, false) => {
                let why = "may only be specified when type=Webhook";
                problems.add(FieldError::invalid(section.path(), "non-null", why));
                None
            }
        };
        planned.push(Planned {
            sort: sort.to_owned(),
            name,
            webhook,
        });
    }
    problems.or(planned)
}

fn webhook(section: &Section<'_>, name: Arc<str>, problems: &mut Problems) -> AccessWebhookConfig {
    section.only(
        &[
            "authorizedTTL",
            "cacheAuthorizedRequests",
            "unauthorizedTTL",
            "cacheUnauthorizedRequests",
            "timeout",
            "subjectAccessReviewVersion",
            "matchConditionSubjectAccessReviewVersion",
            "failurePolicy",
            "connectionInfo",
            "matchConditions",
        ],
        problems,
    );
    let timeout = match section.duration("timeout", problems) {
        None | Some(Duration::ZERO) => {
            problems.add(FieldError::required(section.at("timeout"), ""));
            TIMEOUT_MAX
        }
        Some(timeout) if timeout > TIMEOUT_MAX => {
            let given = section.text("timeout", problems);
            problems.add(FieldError::invalid(
                section.at("timeout"),
                given,
                "must be > 0s and <= 30s",
            ));
            timeout
        }
        Some(timeout) => timeout,
    };
    let mut ttl = |member: &str, usual: Duration, is_kept: &str| {
        let kept = section.flag(is_kept, problems).unwrap_or(true);
        match (section.duration(member, problems), kept) {
            (_, false) => Duration::ZERO,
            (Some(given), true) if !given.is_zero() => given,
            (_, true) => usual,
        }
    };
    let allowed_ttl = ttl("authorizedTTL", ALLOWED_TTL, "cacheAuthorizedRequests");
    let denied_ttl = ttl("unauthorizedTTL", DENIED_TTL, "cacheUnauthorizedRequests");
    let at = section.at("subjectAccessReviewVersion");
    let version = match section.text("subjectAccessReviewVersion", problems) {
        "v1" => ReviewVersion::V1,
        "v1beta1" => ReviewVersion::V1Beta1,
        "" => {
            problems.add(FieldError::required(at, ""));
            ReviewVersion::V1
        }
        other => {
            problems.add(FieldError::not_supported(at, other, &["v1", "v1beta1"]));
            ReviewVersion::V1
        }
    };
    let conditions = conditions(section, problems);
    let at = section.at("matchConditionSubjectAccessReviewVersion");
    match section.text("matchConditionSubjectAccessReviewVersion", problems) {
        "" if conditions.is_empty() => {}
        "" => problems.add(FieldError::required(
            at,
            "required if match conditions are specified",
        )),
        "v1" => {}
        other => problems.add(FieldError::not_supported(at, other, &["v1"])),
    }
    let at = section.at("failurePolicy");
    let policy = section.text("failurePolicy", problems);
    match policy {
        "NoOpinion" | "Deny" => {}
        "" => problems.add(FieldError::required(at, "")),
        other => problems.add(FieldError::not_supported(at, other, &["NoOpinion", "Deny"])),
    }
    AccessWebhookConfig {
        name,
        kubeconfig: kubeconfig(&section.section("connectionInfo"), problems),
        version,
        allowed_ttl,
        denied_ttl,
        timeout,
        fails_closed: policy == "Deny",
        conditions,
    }
}

fn kubeconfig(section: &Section<'_>, problems: &mut Problems) -> PathBuf {
    section.only(&["type", "kubeConfigFile"], problems);
    let path = section.text("kubeConfigFile", problems);
    let at = section.at("kubeConfigFile");
    match section.text("type", problems) {
        "" => problems.add(FieldError::required(section.at("type"), "")),
        "KubeConfigFile" if path.is_empty() => problems.add(FieldError::required(at, "")),
        "KubeConfigFile" if !Path::new(path).is_absolute() => {
            problems.add(FieldError::invalid(at, path, "must be an absolute path"));
        }
        "KubeConfigFile" => {}
        other => problems.add(FieldError::not_supported(
            section.at("type"),
            other,
            &["KubeConfigFile"],
        )),
    }
    PathBuf::from(path)
}

fn conditions(section: &Section<'_>, problems: &mut Problems) -> Conditions {
    let entries = section.list("matchConditions", problems);
    if entries.len() > CONDITIONS_MAX {
        let at = section.at("matchConditions");
        problems.add(FieldError::too_many(at, entries.len(), CONDITIONS_MAX));
        return Conditions::default();
    }
    let (mut programs, mut seen) = (Vec::new(), BTreeSet::new());
    for entry in &entries {
        entry.only(&["expression"], problems);
        let text = entry.text("expression", problems);
        let at = entry.at("expression");
        if text.trim().is_empty() {
            problems.add(FieldError::required(at, ""));
            continue;
        }
        if !seen.insert(text) {
            problems.add(FieldError::duplicate(at, text));
            continue;
        }
        match conditions::compile(text) {
            Ok(program) if *program.result() == Type::Bool => programs.push(program),
            Ok(_) => problems.add(FieldError::invalid(at, text, "must evaluate to bool")),
            Err(error) => {
                let why = error.told();
                problems.add(FieldError::invalid(at, text, &why));
            }
        }
    }
    Conditions::new(programs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(authorizers: Value) -> String {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": KIND, "authorizers": authorizers})
            .to_string()
    }

    fn webhook() -> Value {
        json!({"timeout": "5s", "failurePolicy": "Deny", "subjectAccessReviewVersion": "v1",
            "authorizedTTL": "1ms", "unauthorizedTTL": "1ms",
            "matchConditionSubjectAccessReviewVersion": "v1",
            "matchConditions": [{"expression": "has(request.resourceAttributes)"}],
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/etc/webhook.conf"}})
    }

    #[test]
    fn authorizers_are_read_in_their_order() {
        let text = config(
            json!([{"type": "Webhook", "name": "first.example", "webhook": webhook()},
            {"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"},
            {"type": "Webhook", "name": "last", "webhook": webhook()}]),
        );
        let planned = read(&text).unwrap();
        let sorts: Vec<&str> = planned.iter().map(|p| p.sort.as_str()).collect();
        assert_eq!(sorts, ["Webhook", "Node", "RBAC", "Webhook"]);
        let first = planned[0].webhook.as_ref().unwrap();
        assert_eq!(
            (first.timeout, first.allowed_ttl, first.fails_closed),
            (Duration::from_secs(5), Duration::from_millis(1), true)
        );
        assert!(!first.conditions.is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_fields() {
        let told = |authorizers: Value| read(&config(authorizers)).unwrap_err().to_string();
        let with = |pointer: &str, value: Value| {
            let mut webhook = webhook();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            webhook.pointer_mut(parent).unwrap()[member] = value;
            told(json!([{"type": "Webhook", "name": "w", "webhook": webhook}]))
        };
        let at = "authorizers[0].webhook";
        for (pointer, value, wanted) in [
            ("/timeout", json!("0s"), "timeout: Required value"),
            (
                "/timeout",
                json!("31s"),
                "timeout: Invalid value: \"31s\": must be > 0s and <= 30s",
            ),
            (
                "/failurePolicy",
                json!("Allow"),
                "failurePolicy: Unsupported value: \"Allow\": supported values: \"NoOpinion\", \"Deny\"",
            ),
            (
                "/subjectAccessReviewVersion",
                json!(""),
                "subjectAccessReviewVersion: Required value",
            ),
            (
                "/matchConditionSubjectAccessReviewVersion",
                Value::Null,
                "matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified",
            ),
            (
                "/connectionInfo/kubeConfigFile",
                json!("here"),
                "connectionInfo.kubeConfigFile: Invalid value: \"here\": must be an absolute path",
            ),
            (
                "/matchConditions",
                json!([{"expression": "request.user"}]),
                "matchConditions[0].expression: Invalid value: \"request.user\": must evaluate to bool",
            ),
            ("/retries", json!(3), "retries: unknown field"),
        ] {
            assert_eq!(with(pointer, value), format!("{at}.{wanted}"));
        }
        for (authorizers, wanted) in [
            (
                json!([]),
                "authorizers: Required value: at least one authorization mode must be defined",
            ),
            (json!([{"name": "x"}]), "authorizers[0].type: Required value"),
            (
                json!([{"type": "RBAC", "name": "a"}, {"type": "RBAC", "name": "b"}]),
                "authorizers[1].type: Duplicate value: \"RBAC\"",
            ),
            (
                json!([{"type": "RBAC", "name": "a"}, {"type": "Node", "name": "a"}]),
                "authorizers[1].name: Duplicate value: \"a\"",
            ),
            (
                json!([{"type": "RBAC", "name": "a", "webhook": {}}]),
                "authorizers[0].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook",
            ),
            (
                json!([{"type": "Webhook", "name": "a"}]),
                "authorizers[0].webhook: Required value: required when type=Webhook",
            ),
        ] {
            assert_eq!(told(authorizers), wanted);
        }
    }
}
