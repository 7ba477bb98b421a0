//! From an AuthenticationConfiguration's text to what it says, or to all that is wrong with it. Pure.
use super::Anonymous;
use super::provider::Reading;
use crate::authn::oidc::Provider;
use crate::settings::{self, Problems, Section, SettingsError};
use orlop_api::validation::FieldError;
use std::collections::BTreeSet;

const KIND: &str = "AuthenticationConfiguration";
const GROUPS: &[(&str, &[&str])] = &[("apiserver.config.k8s.io", &["v1", "v1beta1", "v1alpha1"])];
/// Upstream's limit.
const PROVIDERS_MAX: usize = 64;

/// Reads a configuration.
pub(super) fn read(
    text: &str,
    own_issuers: &[String],
) -> Result<(Vec<Provider>, Option<Anonymous>), SettingsError> {
    let config = settings::parse(text)?;
    settings::expect(&config, KIND, GROUPS)?;
    let mut problems = Problems::default();
    let whole = Section::whole(&config);
    whole.only(&["jwt", "anonymous"], &mut problems);
    let entries = whole.list("jwt", &mut problems);
    if entries.len() > PROVIDERS_MAX {
        problems.add(FieldError::too_many("jwt", entries.len(), PROVIDERS_MAX));
        return problems.or((Vec::new(), None));
    }
    let (mut providers, mut urls, mut documents) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for entry in &entries {
        let known = [
            "issuer",
            "claimValidationRules",
            "claimMappings",
            "userValidationRules",
        ];
        entry.only(&known, &mut problems);
        let issuer = entry.section("issuer");
        let provider = Reading::default().provider(entry, own_issuers, &mut problems);
        if !urls.insert(provider.mapping.issuer.clone()) {
            problems.add(FieldError::duplicate(issuer.at("url"), &provider.mapping.issuer));
        }
        if let Some(document) = &provider.discovery
            && !documents.insert(document.clone())
        {
            problems.add(FieldError::duplicate(issuer.at("discoveryURL"), document));
        }
        providers.push(provider);
    }
    let anonymous = anonymous(&whole.section("anonymous"), &mut problems);
    problems.or((providers, anonymous))
}

fn anonymous(section: &Section<'_>, problems: &mut Problems) -> Option<Anonymous> {
    if section.is_absent() {
        return None;
    }
    section.only(&["enabled", "conditions"], problems);
    let enabled = section.flag("enabled", problems).unwrap_or(false);
    let conditions = section.list("conditions", problems);
    let mut paths = Vec::new();
    for condition in &conditions {
        condition.only(&["path"], problems);
        paths.push(condition.text("path", problems).to_owned());
    }
    if !enabled && !conditions.is_empty() {
        let why = "enabled should be set to true when conditions are defined";
        problems.add(FieldError::invalid(section.at("conditions"), &paths, why));
    }
    Some(Anonymous { enabled, paths })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const WHOLE: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /healthz
jwt:
- issuer:
    url: https://one.example
    discoveryURL: https://inside/.well-known/openid-configuration
    audiences: [a, b]
    audienceMatchPolicy: MatchAny
  claimValidationRules:
  - claim: hd
    requiredValue: example.org
  - expression: claims.exp - claims.nbf <= 86400
    message: it may live for a day
  claimMappings:
    username: {claim: sub, prefix: 'one:'}
    groups: {expression: claims.roles}
    uid: {claim: oid}
    extra:
    - {key: example.org/level, valueExpression: string(claims.level)}
  userValidationRules:
  - expression: '!user.username.startsWith(\"system:\")'
- issuer: {url: https://two.example, audiences: [c]}
  claimMappings:
    username: {expression: 'claims.email_verified == true ? claims.email : claims.sub'}
";

    #[test]
    fn a_configuration_names_providers_and_what_their_claims_mean() {
        let (providers, anonymous) = read(WHOLE, &[]).unwrap();
        let anonymous = anonymous.unwrap();
        assert!(anonymous.may_come_to("/healthz"));
        assert!(!anonymous.may_come_to("/healthz/etcd"));
        let [one, two] = providers.as_slice() else {
            panic!()
        };
        assert_eq!(one.mapping.audiences, ["a", "b"]);
        assert_eq!(
            one.discovery.as_deref(),
            Some("https://inside/.well-known/openid-configuration")
        );
        assert_eq!(
            one.mapping.required_claims,
            [("hd".to_owned(), "example.org".to_owned())]
        );
        assert_eq!(
            (one.mapping.claim_rules.len(), one.mapping.user_rules.len()),
            (1, 1)
        );
        assert!(two.mapping.groups.is_none());
    }

    /// Each mistake, in upstream's words and with its field.
    #[test]
    fn mistakes_are_told_with_their_fields() {
        let valid = || {
            json!({"issuer": {"url": "https://x", "audiences": ["a"]},
                "claimMappings": {"username": {"claim": "sub", "prefix": ""}}})
        };
        let told = |config: Value| {
            let read = read(&config.to_string(), &["https://own".to_owned()]);
            read.map(|_| ()).unwrap_err().to_string()
        };
        let with = |pointer: &str, value: Value| {
            let mut entry = valid();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            entry.pointer_mut(parent).unwrap()[member] = value;
            told(json!({"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": KIND, "jwt": [entry]}))
        };
        for (pointer, value, wanted) in [
            ("/issuer/url", json!(""), "jwt[0].issuer.url: Required value"),
            (
                "/issuer/url",
                json!("http://x"),
                "jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https",
            ),
            (
                "/issuer/url",
                json!("https://own"),
                "jwt[0].issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own]",
            ),
            (
                "/issuer/url",
                json!("https://u:p@x"),
                "jwt[0].issuer.url: Invalid value: \"https://u:p@x\": URL must not contain a username or password",
            ),
            (
                "/issuer/discoveryURL",
                json!("https://x/"),
                "jwt[0].issuer.discoveryURL: Invalid value: \"https://x/\": discoveryURL must be different from URL",
            ),
            (
                "/issuer/audiences",
                json!([]),
                "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
            ),
            (
                "/issuer/audiences",
                json!(["a", "b"]),
                "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences",
            ),
            ("/issuer/uri", json!("x"), "jwt[0].issuer.uri: unknown field"),
            (
                "/claimMappings/username",
                json!({}),
                "jwt[0].claimMappings.username: Required value: claim or expression is required",
            ),
            (
                "/claimMappings/username",
                json!({"claim": "sub"}),
                "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
            ),
            (
                "/claimMappings/extra",
                json!([{"key": "kubernetes.io/x", "valueExpression": "claims.a"}]),
                "jwt[0].claimMappings.extra[0].key: Invalid value: \"kubernetes.io/x\": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
            ),
            (
                "/claimValidationRules",
                json!([{"expression": "claims.a"}]),
                "jwt[0].claimValidationRules[0].expression: Invalid value: \"claims.a\": must evaluate to bool",
            ),
            (
                "/claimValidationRules",
                json!([{"claim": "a"}, {"claim": "a"}]),
                "jwt[0].claimValidationRules[1].claim: Duplicate value: \"a\"",
            ),
            (
                "/userValidationRules",
                json!([{"message": "x"}]),
                "jwt[0].userValidationRules[0].expression: Required value",
            ),
        ] {
            assert_eq!(with(pointer, value), wanted);
        }
        let compiled = with("/userValidationRules", json!([{"expression": "user.nick == ''"}]));
        assert!(
            compiled.contains("userValidationRules[0].expression"),
            "{compiled}"
        );
        assert!(compiled.contains("undefined field 'nick'"), "{compiled}");
        let by_email = with("/claimMappings/username", json!({"expression": "claims.email"}));
        assert!(
            by_email.contains("claims.email_verified must be used"),
            "{by_email}"
        );
        let other = told(json!({"apiVersion": "apiserver.config.k8s.io/v2", "kind": KIND}));
        assert!(
            other.contains("apiserver.config.k8s.io/v1 or v1beta1 or v1alpha1"),
            "{other}"
        );
        let closed = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": KIND,
            "anonymous": {"enabled": false, "conditions": [{"path": "/x"}]}});
        assert!(told(closed).starts_with("anonymous.conditions: Invalid value"));
    }
}
