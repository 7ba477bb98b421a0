//! One provider of tokens: an entry of an AuthenticationConfiguration's `jwt`. Pure.
use crate::authn::oidc::{Mapping, Provider, Rule, Source, of_claims, of_user, reads};
use crate::settings::{Problems, Section};
use orlop_api::cel::{CompileError, Program, Type};
use orlop_api::names;
use orlop_api::validation::FieldError;
use orlop_pki::JWT_ALGORITHMS;
use std::collections::BTreeSet;

const BOTH: &str = "claim and expression can't both be set";
const NEITHER: &str = "claim or expression is required";

/// What was seen of a provider's expressions so far.
#[derive(Default)]
pub(super) struct Reading {
    names_by_email: bool,
    looks_at_verification: bool,
}

impl Reading {
    /// Reads an entry; what is wrong with it becomes problems.
    pub(super) fn provider(
        &mut self,
        entry: &Section<'_>,
        own_issuers: &[String],
        problems: &mut Problems,
    ) -> Provider {
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
            problems.add(FieldError::invalid(at, text, &error.told()));
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
