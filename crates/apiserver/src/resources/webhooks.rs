//! Webhook configurations (contract §17). What they bring about is in `admission::webhooks`.
use super::admissionregistration::{
    GROUP, conditions, default_rules, each, fill_all, list, path_rules, text, unsupported,
};
use super::definition::Resource;
use super::rules::Rules;
use crate::status::{Cause, cause};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_api::names;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

const RULES: Rules = Rules {
    unconditional_update: false,
    ..Rules::WITH_GENERATION
};

pub const MUTATINGWEBHOOKCONFIGURATIONS: Resource = Resource {
    categories: &["api-extensions"],
    ..Resource::new(
        GROUP,
        "mutatingwebhookconfigurations",
        "mutatingwebhookconfiguration",
        "MutatingWebhookConfiguration",
    )
    .cluster_scoped()
    .with_rules(Rules {
        default: |configuration| default(configuration, true),
        validate_create: |configuration| validate(configuration, true),
        validate_update: |configuration, _| validate(configuration, true),
        ..RULES
    })
};

pub const VALIDATINGWEBHOOKCONFIGURATIONS: Resource = Resource {
    categories: &["api-extensions"],
    ..Resource::new(
        GROUP,
        "validatingwebhookconfigurations",
        "validatingwebhookconfiguration",
        "ValidatingWebhookConfiguration",
    )
    .cluster_scoped()
    .with_rules(Rules {
        default: |configuration| default(configuration, false),
        validate_create: |configuration| validate(configuration, false),
        validate_update: |configuration, _| validate(configuration, false),
        ..RULES
    })
};

fn default(configuration: &mut Value, mutating: bool) {
    for webhook in each(configuration, "webhooks") {
        fill_all(
            webhook,
            &[
                ("failurePolicy", json!("Fail")),
                ("matchPolicy", json!("Equivalent")),
                ("namespaceSelector", json!({})),
                ("objectSelector", json!({})),
                ("timeoutSeconds", json!(10)),
            ],
        );
        if mutating {
            fill_all(webhook, &[("reinvocationPolicy", json!("Never"))]);
        }
        if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
            fill_all(service, &[("port", json!(443))]);
        }
        default_rules(webhook, "rules");
    }
}

fn validate(configuration: &Value, mutating: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let webhooks = list(&configuration["webhooks"]);
    for (number, webhook) in webhooks.iter().enumerate() {
        let at = format!("webhooks[{number}]");
        let name = text(&webhook["name"]);
        let field = format!("{at}.name");
        if name.is_empty() {
            causes.push(cause::required(&field, ""));
        } else {
            let wrong = names::check_dns_subdomain(name);
            causes.extend(wrong.iter().map(|why| cause::invalid(&field, &json!(name), why)));
            if name.split('.').count() < 3 {
                let why = "should be a domain with at least three segments separated by dots";
                causes.push(cause::invalid(&field, &json!(name), why));
            }
            if webhooks[..number].iter().any(|other| other["name"] == name) {
                causes.push(cause::duplicate(&field, name));
            }
        }
        causes.extend(path_rules(&format!("{at}.rules"), list(&webhook["rules"])));
        causes.extend(choices(&at, webhook, mutating));
        causes.extend(client(&format!("{at}.clientConfig"), &webhook["clientConfig"]));
        let names = orlop_api::cel::conditions();
        causes.extend(conditions(
            &format!("{at}.matchConditions"),
            &webhook["matchConditions"],
            &names,
        ));
    }
    causes
}

fn choices(at: &str, webhook: &Value, mutating: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, known) in [
        ("failurePolicy", &["Fail", "Ignore"]),
        ("matchPolicy", &["Equivalent", "Exact"]),
    ] {
        causes.extend(unsupported(&format!("{at}.{key}"), &webhook[key], known));
    }
    if mutating {
        let field = format!("{at}.reinvocationPolicy");
        causes.extend(unsupported(
            &field,
            &webhook["reinvocationPolicy"],
            &["IfNeeded", "Never"],
        ));
    }
    let field = format!("{at}.sideEffects");
    if text(&webhook["sideEffects"]).is_empty() {
        causes.push(cause::required(&field, "must specify one of None, NoneOnDryRun"));
    } else {
        causes.extend(unsupported(
            &field,
            &webhook["sideEffects"],
            &["None", "NoneOnDryRun"],
        ));
    }
    if let Some(seconds) = webhook["timeoutSeconds"]
        .as_i64()
        .filter(|s| !(1..=30).contains(s))
    {
        causes.push(cause::invalid(
            &format!("{at}.timeoutSeconds"),
            &json!(seconds),
            "the timeout value must be between 1 and 30 seconds",
        ));
    }
    let field = format!("{at}.admissionReviewVersions");
    let versions = list(&webhook["admissionReviewVersions"]);
    if versions.is_empty() {
        causes.push(cause::required(&field, "must specify one of v1, v1beta1"));
    } else if !versions
        .iter()
        .any(|version| version == "v1" || version == "v1beta1")
    {
        causes.push(cause::invalid(
            &field,
            &webhook["admissionReviewVersions"],
            "must include at least one of v1, v1beta1",
        ));
    }
    causes
}

/// What is wrong with how a webhook is reached.
pub(super) fn client(at: &str, config: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (url, service) = (&config["url"], &config["service"]);
    if url.is_string() == service.is_object() {
        return vec![cause::required(at, "exactly one of url or service is required")];
    }
    if let Some(url) = url.as_str() {
        causes.extend(wrong_url(&format!("{at}.url"), url));
    }
    if service.is_object() {
        for (key, hint) in [
            ("name", "service name is required"),
            ("namespace", "service namespace is required"),
        ] {
            if text(&service[key]).is_empty() {
                causes.push(cause::required(&format!("{at}.service.{key}"), hint));
            }
        }
        if let Some(port) = service["port"]
            .as_i64()
            .filter(|port| !(1..=65_535).contains(port))
        {
            let why = "port is not valid: must be between 1 and 65535, inclusive";
            causes.push(cause::invalid(&format!("{at}.service.port"), &json!(port), why));
        }
        let path = text(&service["path"]);
        if !path.is_empty() && !path.starts_with('/') {
            let why = "must start with a '/'";
            causes.push(cause::invalid(&format!("{at}.service.path"), &json!(path), why));
        }
    }
    let bundle = text(&config["caBundle"]);
    if !bundle.is_empty() {
        let pem = STANDARD.decode(bundle).unwrap_or_default();
        let readable = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        if readable.is_ok_and(|certificates| certificates.is_empty())
            || CertificateDer::from_pem_slice(&pem).is_err()
        {
            let why = "unable to load root certificates: unable to parse bytes as PEM block";
            causes.push(cause::invalid(
                &format!("{at}.caBundle"),
                &json!("<ca bundle>"),
                why,
            ));
        }
    }
    causes
}

fn wrong_url(field: &str, url: &str) -> Vec<Cause> {
    const FORM: &str = "; desired format: https://host[/path]";
    let wrong = |why: &str| cause::invalid(field, &json!(url), &format!("{why}{FORM}"));
    let Some(rest) = url.strip_prefix("https://") else {
        return vec![wrong("'https' is the only allowed URL scheme")];
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let mut causes = Vec::new();
    if host.is_empty() {
        causes.push(wrong("host must be specified"));
    }
    for (found, why) in [
        (host.contains('@'), "user information is not permitted in the URL"),
        (rest.contains('#'), "fragments are not permitted in the URL"),
        (
            rest.contains('?'),
            "query parameters are not permitted in the URL",
        ),
    ] {
        if found {
            causes.push(wrong(why));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut made = json!({"webhooks": [{"name": "a.example.com", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://h/p"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
        change(&mut made["webhooks"][0]);
        default(&mut made, true);
        validate(&made, true)
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    }

    #[test]
    fn defaults_are_upstreams() {
        let mut made = json!({"webhooks": [{"clientConfig": {"service": {"name": "s"}}, "rules": [{"operations": ["*"]}]}]});
        default(&mut made, true);
        assert_eq!(
            made["webhooks"][0],
            json!({"clientConfig": {"service": {"name": "s", "port": 443}}, "rules": [{"operations": ["*"], "scope": "*"}],
                "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "timeoutSeconds": 10, "reinvocationPolicy": "Never"})
        );
    }

    /// M06: conditions that cannot be evaluated are refused, like everything else that cannot work.
    #[test]
    fn what_cannot_work_is_refused() {
        assert_eq!(configuration(|_| {}), Vec::<String>::new());
        type Change = fn(&mut Value);
        let cases: &[(Change, &str)] = &[
            (
                |w| w["name"] = json!("a"),
                "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots",
            ),
            (
                |w| w["sideEffects"] = json!("Some"),
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                |w| w["sideEffects"] = Value::Null,
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                |w| w["timeoutSeconds"] = json!(31),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ),
            (
                |w| w["admissionReviewVersions"] = json!([]),
                "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ),
            (
                |w| w["clientConfig"] = json!({}),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ),
            (
                |w| w["clientConfig"]["url"] = json!("http://h"),
                "webhooks[0].clientConfig.url: Invalid value: \"http://h\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ),
            (
                |w| w["clientConfig"]["caBundle"] = json!("AAAA"),
                "webhooks[0].clientConfig.caBundle: Invalid value: \"<ca bundle>\": unable to load root certificates: unable to parse bytes as PEM block",
            ),
            (
                |w| w["rules"][0]["operations"] = json!([]),
                "webhooks[0].rules[0].operations: Required value",
            ),
            (
                |w| w["rules"][0]["operations"] = json!(["READ"]),
                "webhooks[0].rules[0].operations[0]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
            ),
            (
                |w| w["rules"][0]["apiGroups"] = json!(["*", "apps"]),
                "webhooks[0].rules[0].apiGroups: Invalid value: [\"*\",\"apps\"]: if '*' is present, must not specify other API groups",
            ),
            (
                |w| w["matchConditions"] = json!([{"name": "c", "expression": "object.x >"}]),
                "webhooks[0].matchConditions[0].expression: Invalid value: \"object.x >\": compilation failed: ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | object.x >\n | ..........^",
            ),
            (
                |w| w["matchConditions"] = json!([{"name": "c", "expression": "1"}]),
                "webhooks[0].matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(configuration(change), [*expected]);
        }
    }
}
