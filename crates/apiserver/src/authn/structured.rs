//! AuthenticationConfiguration (`--authentication-config`): providers of tokens and what their claims mean, and whether
//! anybody may come without. It can be replaced while the server runs.
use super::oidc::{Mapping, Oidc, Provider, Rule, Source, of_claims, of_user, reads};
use crate::settings::{self, Problems, Reloads, Section, SettingsError};
use orlop_api::cel::{CompileError, Program, Type};
use orlop_api::names;
use orlop_api::validation::FieldError;
use orlop_pki::JWT_ALGORITHMS;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;

const KIND: &str = "AuthenticationConfiguration";
const GROUPS: &[(&str, &[&str])] = &[("apiserver.config.k8s.io", &["v1", "v1beta1", "v1alpha1"])];
/// Upstream's limit.
const PROVIDERS_MAX: usize = 64;
const BOTH: &str = "claim and expression can't both be set";
const NEITHER: &str = "claim or expression is required";

/// Whom requests without credentials come from, if they are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anonymous {
    pub enabled: bool,
    /// The paths they may come to; none: all.
    pub paths: Vec<String>,
}

impl Anonymous {
    pub fn may_come_to(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|allowed| allowed == path))
    }
}

/// What a configuration says.
struct Rules {
    providers: Vec<Oidc>,
    /// `None`: what the command line says.
    anonymous: Option<Anonymous>,
}

/// The configuration that is followed now. Clones share it, so that it can be replaced while a server runs.
#[derive(Clone)]
pub struct StructuredAuthentication(Arc<Shared>);

struct Shared {
    /// Issuers that are this server's own.
    own_issuers: Vec<String>,
    rules: RwLock<Arc<Rules>>,
    reloads: Reloads,
}

impl StructuredAuthentication {
    /// `text`: an AuthenticationConfiguration, YAML or JSON. `own_issuers`: those of service account tokens, which nobody
    /// else can be.
    ///
    /// # Errors
    /// It is none, or one that cannot be followed.
    pub fn new(text: &str, own_issuers: &[String]) -> Result<Self, SettingsError> {
        Ok(Self(Arc::new(Shared {
            rules: RwLock::new(Arc::new(rules(text, own_issuers)?)),
            own_issuers: own_issuers.to_vec(),
            reloads: Reloads::new(text),
        })))
    }

    /// Follows another configuration from now on. `text`: what its file holds, or why that cannot be told.
    ///
    /// # Errors
    /// It cannot be followed; the one before still is.
    pub fn replace(&self, text: Result<&str, String>) -> Result<(), SettingsError> {
        let made = text
            .map_err(SettingsError::Unreadable)
            .and_then(|text| Ok((text, rules(text, &self.0.own_issuers)?)));
        match made {
            Ok((text, rules)) => {
                *self.0.rules.write() = Arc::new(rules);
                self.0.reloads.read(Some(text));
                Ok(())
            }
            Err(error) => {
                self.0.reloads.read(None);
                Err(error)
            }
        }
    }

    /// Whether it says who may come without credentials.
    pub fn is_about_anonymous(&self) -> bool {
        self.0.rules.read().anonymous.is_some()
    }

    /// Whether somebody without credentials may come to a path; `None`: it doesn't say.
    pub(super) fn may_come_to(&self, path: &str) -> Option<bool> {
        let rules = self.0.rules.read();
        rules
            .anonymous
            .as_ref()
            .map(|anonymous| anonymous.may_come_to(path))
    }

    /// Whom a token of one of the providers speaks for.
    pub(super) async fn user(&self, token: &str) -> Option<Arc<super::UserInfo>> {
        let rules = self.0.rules.read().clone();
        for provider in &rules.providers {
            if let Some(user) = provider.user(token).await {
                return Some(user);
            }
        }
        None
    }

    pub(crate) fn reloads(&self) -> &Reloads {
        &self.0.reloads
    }
}

fn rules(text: &str, own_issuers: &[String]) -> Result<Rules, SettingsError> {
    let (providers, anonymous) = read(text, own_issuers)?;
    let mut ready = Vec::with_capacity(providers.len());
    for (number, provider) in providers.into_iter().enumerate() {
        let made = Oidc::new(provider);
        ready.push(
            made.map_err(|error| {
                FieldError::invalid(format!("jwt[{number}].issuer"), "", &error.to_string())
            })?,
        );
    }
    Ok(Rules {
        providers: ready,
        anonymous,
    })
}

/// Reads a configuration. Pure.
fn read(text: &str, own_issuers: &[String]) -> Result<(Vec<Provider>, Option<Anonymous>), SettingsError> {
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

/// What was seen of a provider's expressions so far.
#[derive(Default)]
struct Reading {
    names_by_email: bool,
    looks_at_verification: bool,
}

impl Reading {
    fn provider(&mut self, entry: &Section<'_>, own_issuers: &[String], problems: &mut Problems) -> Provider {
        let issuer = entry.section("issuer");
        issuer.only(
            &[
                "url",
                "discoveryURL",
                "certificateAuthority",
                "audiences",
                "audienceMatchPolicy",
                "egressSelectorType",
            ],
            problems,
        );
        let url = issuer.text("url", problems);
        if url.is_empty() {
            problems.add(FieldError::required(issuer.at("url"), ""));
        } else {
            check_url(url, own_issuers, &issuer.at("url"), problems);
        }
        let discovery = issuer
            .given("discoveryURL", problems)
            .filter(|url| !url.is_empty());
        if let Some(discovery) = discovery {
            if discovery.trim_end_matches('/') == url.trim_end_matches('/') {
                let why = "discoveryURL must be different from URL";
                problems.add(FieldError::invalid(issuer.at("discoveryURL"), discovery, why));
            }
            check_url(discovery, &[], &issuer.at("discoveryURL"), problems);
        }
        let ca = issuer
            .given("certificateAuthority", problems)
            .filter(|pem| !pem.is_empty());
        if ca.is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----")) {
            let why = "data does not contain any valid RSA or ECDSA certificates";
            problems.add(FieldError::invalid(
                issuer.at("certificateAuthority"),
                "<omitted>",
                why,
            ));
        }
        if let Some(egress) = issuer
            .given("egressSelectorType", problems)
            .filter(|egress| !egress.is_empty() && !matches!(*egress, "controlplane" | "cluster"))
        {
            let why = "egress selector must be either controlplane or cluster";
            problems.add(FieldError::invalid(issuer.at("egressSelectorType"), egress, why));
        }
        let audiences = audiences(&issuer, problems);
        let (required_claims, claim_rules) = self.claim_rules(entry, problems);
        let mappings = entry.section("claimMappings");
        mappings.only(&["username", "groups", "uid", "extra"], problems);
        let username = mappings.section("username");
        let named = self.username(&username, problems);
        let groups = mappings.section("groups");
        let mapping = Mapping {
            issuer: url.to_owned(),
            audiences,
            username: named.unwrap_or_else(|| Source::Claim {
                name: String::new(),
                prefix: String::new(),
            }),
            groups: prefixed(&groups, false, problems),
            uid: uid(&mappings.section("uid"), problems),
            extra: self.extra(&mappings, problems),
            required_claims,
            claim_rules,
            user_rules: user_rules(entry, problems),
        };
        if self.names_by_email && !self.looks_at_verification {
            let why = "claims.email_verified must be used in claimMappings.username.expression or \
                       claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is \
                       used in claimMappings.username.expression";
            let text = username.text("expression", &mut Problems::default());
            problems.add(FieldError::invalid(username.at("expression"), text, why));
        }
        Provider {
            discovery: discovery.map(str::to_owned),
            ca: ca.map(str::to_owned),
            algorithms: JWT_ALGORITHMS.iter().map(|name| (*name).to_owned()).collect(),
            mapping,
        }
    }

    fn username(&mut self, section: &Section<'_>, problems: &mut Problems) -> Option<Source> {
        let source = prefixed(section, true, problems);
        if let Some(Source::Expression(program)) = &source {
            self.names_by_email |= reads(program, "email");
            self.looks_at_verification |= reads(program, "email_verified");
        }
        source
    }

    fn claim_rules(
        &mut self,
        entry: &Section<'_>,
        problems: &mut Problems,
    ) -> (Vec<(String, String)>, Vec<Rule>) {
        let (mut required, mut rules) = (Vec::new(), Vec::new());
        let (mut claims, mut texts) = (BTreeSet::new(), BTreeSet::new());
        for section in entry.list("claimValidationRules", problems) {
            section.only(&["claim", "requiredValue", "expression", "message"], problems);
            let claim = section.text("claim", problems);
            let value = section.text("requiredValue", problems);
            let text = section.text("expression", problems);
            let message = section.text("message", problems);
            match (claim, text) {
                ("", "") => problems.add(FieldError::required(section.path(), NEITHER)),
                (claim, "") => {
                    if !message.is_empty() {
                        let why = "may not be specified when claim is set";
                        problems.add(FieldError::invalid(section.at("message"), message, why));
                    }
                    if !claims.insert(claim) {
                        problems.add(FieldError::duplicate(section.at("claim"), claim));
                    }
                    required.push((claim.to_owned(), value.to_owned()));
                }
                ("", _) => {
                    if !value.is_empty() {
                        let why = "may not be specified when expression is set";
                        problems.add(FieldError::invalid(section.at("requiredValue"), value, why));
                    }
                    let rule = rule(&section, &mut texts, of_claims, problems);
                    if let Some(rule) = rule {
                        self.looks_at_verification |= reads(&rule.program, "email_verified");
                        rules.push(rule);
                    }
                }
                (claim, _) => problems.add(FieldError::invalid(section.path(), claim, BOTH)),
            }
        }
        (required, rules)
    }

    fn extra(&mut self, mappings: &Section<'_>, problems: &mut Problems) -> Vec<(String, Program)> {
        let (mut extra, mut keys) = (Vec::new(), BTreeSet::new());
        for section in mappings.list("extra", problems) {
            section.only(&["key", "valueExpression"], problems);
            let key = section.text("key", problems);
            check_key(key, &section.at("key"), problems);
            if !keys.insert(key) {
                problems.add(FieldError::duplicate(section.at("key"), key));
                continue;
            }
            let at = section.at("valueExpression");
            let text = section.text("valueExpression", problems);
            if text.is_empty() {
                problems.add(FieldError::required(at, ""));
                continue;
            }
            if let Some(program) = compiled(text, at, of_claims, problems) {
                self.looks_at_verification |= reads(&program, "email_verified");
                extra.push((key.to_owned(), program));
            }
        }
        extra
    }
}

type Compile = fn(&str) -> Result<Program, CompileError>;

fn compiled(text: &str, at: String, compile: Compile, problems: &mut Problems) -> Option<Program> {
    match compile(text) {
        Ok(program) => Some(program),
        Err(error) => {
            problems.add(FieldError::invalid(
                at,
                text,
                &format!("compilation failed: {error}"),
            ));
            None
        }
    }
}

/// An expression that has to hold, unless another one says the same.
fn rule<'v>(
    section: &Section<'v>,
    seen: &mut BTreeSet<&'v str>,
    compile: Compile,
    problems: &mut Problems,
) -> Option<Rule> {
    let text = section.text("expression", problems);
    let at = section.at("expression");
    if !seen.insert(text) {
        problems.add(FieldError::duplicate(at, text));
        return None;
    }
    let program = compiled(text, at.clone(), compile, problems)?;
    if *program.result() != Type::Bool {
        problems.add(FieldError::invalid(at, text, "must evaluate to bool"));
        return None;
    }
    Some(Rule {
        text: text.to_owned(),
        program,
        message: section.text("message", problems).to_owned(),
    })
}

fn user_rules(entry: &Section<'_>, problems: &mut Problems) -> Vec<Rule> {
    let (mut rules, mut texts) = (Vec::new(), BTreeSet::new());
    for section in entry.list("userValidationRules", problems) {
        section.only(&["expression", "message"], problems);
        if section.text("expression", problems).is_empty() {
            problems.add(FieldError::required(section.at("expression"), ""));
            continue;
        }
        rules.extend(rule(&section, &mut texts, of_user, problems));
    }
    rules
}

/// A claim with its prefix, or an expression.
fn prefixed(section: &Section<'_>, required: bool, problems: &mut Problems) -> Option<Source> {
    section.only(&["claim", "prefix", "expression"], problems);
    let claim = section.text("claim", problems);
    let prefix = section.given("prefix", problems);
    match (claim, section.text("expression", problems)) {
        ("", "") => {
            if required {
                problems.add(FieldError::required(section.path(), NEITHER));
            }
            None
        }
        ("", text) => {
            if let Some(prefix) = prefix {
                let why = "may not be specified when expression is set";
                problems.add(FieldError::invalid(section.at("prefix"), prefix, why));
            }
            compiled(text, section.at("expression"), of_claims, problems).map(Source::Expression)
        }
        (claim, "") => {
            if prefix.is_none() {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                problems.add(FieldError::required(section.at("prefix"), why));
            }
            Some(Source::Claim {
                name: claim.to_owned(),
                prefix: prefix.unwrap_or_default().to_owned(),
            })
        }
        _ => {
            problems.add(FieldError::invalid(section.path(), "", BOTH));
            None
        }
    }
}

fn uid(section: &Section<'_>, problems: &mut Problems) -> Option<Source> {
    section.only(&["claim", "expression"], problems);
    match (
        section.text("claim", problems),
        section.text("expression", problems),
    ) {
        ("", "") => None,
        ("", text) => compiled(text, section.at("expression"), of_claims, problems).map(Source::Expression),
        (claim, "") => Some(Source::Claim {
            name: claim.to_owned(),
            prefix: String::new(),
        }),
        _ => {
            problems.add(FieldError::invalid(section.path(), "", BOTH));
            None
        }
    }
}

fn audiences(issuer: &Section<'_>, problems: &mut Problems) -> Vec<String> {
    let audiences = issuer.texts("audiences", problems);
    let at = issuer.at("audiences");
    let policy = issuer.text("audienceMatchPolicy", problems);
    let policy_at = issuer.at("audienceMatchPolicy");
    if audiences.is_empty() {
        problems.add(FieldError::required(
            &at,
            &format!("at least one {at} is required"),
        ));
        return audiences;
    }
    for (number, audience) in audiences.iter().enumerate() {
        let at = format!("{at}[{number}]");
        if audience.is_empty() {
            problems.add(FieldError::required(&at, ""));
        }
        if audiences[..number].contains(audience) {
            problems.add(FieldError::duplicate(&at, audience));
        }
    }
    match (audiences.len(), policy) {
        (_, "MatchAny") | (1, "") => {}
        (1, other) => {
            let why = "audienceMatchPolicy must be empty or MatchAny for single audience";
            problems.add(FieldError::invalid(policy_at, other, why));
        }
        (_, other) => {
            let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
            problems.add(FieldError::invalid(policy_at, other, why));
        }
    }
    audiences
}

fn check_url(url: &str, own_issuers: &[String], at: &str, problems: &mut Problems) {
    let mut invalid = |why: &str| problems.add(FieldError::invalid(at, url, why));
    if own_issuers.iter().any(|own| own == url) {
        let why = format!(
            "URL must not overlap with disallowed issuers: [{}]",
            own_issuers.join(" ")
        );
        invalid(&why);
    }
    let rest = url.strip_prefix("https://");
    if rest.is_none() {
        invalid("URL scheme must be https");
    }
    let rest = rest.unwrap_or(url);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        invalid("URL must not contain a username or password");
    }
    let (before, fragment) = url.split_once('#').unwrap_or((url, ""));
    if before.split_once('?').is_some_and(|(_, query)| !query.is_empty()) {
        invalid("URL must not contain a query");
    }
    if !fragment.is_empty() {
        invalid("URL must not contain a fragment");
    }
}

/// Keys of extras are paths with a domain before them, not one of Kubernetes' own.
fn check_key(key: &str, at: &str, problems: &mut Problems) {
    if key.is_empty() {
        return problems.add(FieldError::required(at, ""));
    }
    let mut invalid = |why: &str| problems.add(FieldError::invalid(at, key, why));
    let (domain, path) = key.split_once('/').unwrap_or((key, ""));
    if path.is_empty() {
        invalid("must be a domain-prefixed path (such as \"acme.io/foo\")");
    }
    for why in names::check_dns_subdomain(&domain.to_ascii_lowercase()) {
        invalid(&why);
    }
    if key != key.to_lowercase() {
        invalid("must be lowercase");
    }
    let reserved = |own: &str| domain == own || domain.ends_with(&format!(".{own}"));
    if reserved("kubernetes.io") || reserved("k8s.io") {
        invalid("k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use");
    }
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
