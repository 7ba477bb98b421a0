//! Ingresses, and the classes that they are of.
use super::{list, text};
use crate::resources::validation::domain_prefixed_path;
use crate::status::{Cause, cause};
use orlop_api::names::{check_dns_subdomain, is_dns_subdomain};
use serde_json::{Value, json};
use std::net::IpAddr;

pub(super) fn validate_ingress(ingress: &Value) -> Vec<Cause> {
    let spec = &ingress["spec"];
    let mut causes = Vec::new();
    let rules = spec["rules"].as_array().is_some_and(|rules| !rules.is_empty());
    if !rules && !spec["defaultBackend"].is_object() {
        causes.push(cause::invalid(
            "spec",
            &json!([]),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if spec["defaultBackend"].is_object() {
        causes.extend(validate_backend(&spec["defaultBackend"], "spec.defaultBackend"));
    }
    for (at, rule) in list(spec, "rules") {
        let field = format!("spec.rules[{at}]");
        causes.extend(validate_host(text(rule, "host"), &format!("{field}.host")));
        let http = &rule["http"];
        if !http.is_object() {
            continue;
        }
        let field = format!("{field}.http.paths");
        if list(http, "paths").next().is_none() {
            causes.push(cause::required(&field, ""));
        }
        for (at, path) in list(http, "paths") {
            causes.extend(validate_path(path, &format!("{field}[{at}]")));
        }
    }
    for (at, tls) in list(spec, "tls") {
        for (host_at, host) in list(tls, "hosts") {
            let field = format!("spec.tls[{at}].hosts[{host_at}]");
            causes.extend(validate_host(host.as_str().unwrap_or_default(), &field));
        }
    }
    let class = text(spec, "ingressClassName");
    if spec["ingressClassName"].is_string() {
        for why in check_dns_subdomain(class) {
            causes.push(cause::invalid("spec.ingressClassName", &json!(class), &why));
        }
    }
    let annotated = &ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    let both = annotated.is_string() && spec["ingressClassName"].is_string();
    if both && annotated != &spec["ingressClassName"] {
        causes.push(cause::invalid(
            "metadata.annotations[kubernetes.io/ingress.class]",
            annotated,
            "must match `ingressClassName` when both are specified",
        ));
    }
    causes
}

fn validate_host(host: &str, field: &str) -> Vec<Cause> {
    if host.is_empty() {
        return Vec::new();
    }
    if host.parse::<IpAddr>().is_ok() {
        let why = "must be a DNS name, not an IP address";
        return vec![cause::invalid(field, &json!(host), why)];
    }
    if let Some(rest) = host.strip_prefix("*.") {
        return match is_dns_subdomain(rest) {
            true => Vec::new(),
            false => vec![cause::invalid(
                field,
                &json!(host),
                "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            )],
        };
    }
    let problems = check_dns_subdomain(host);
    problems
        .iter()
        .map(|why| cause::invalid(field, &json!(host), why))
        .collect()
}

fn validate_path(path: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let sorts = ["Exact", "ImplementationSpecific", "Prefix"];
    let (sort, of) = (text(path, "pathType"), text(path, "path"));
    let at_path = format!("{field}.path");
    match sort {
        "" => causes.push(cause::required(
            &format!("{field}.pathType"),
            "pathType must be specified",
        )),
        "Exact" | "Prefix" => {
            if !of.starts_with('/') {
                causes.push(cause::invalid(&at_path, &json!(of), "must be an absolute path"));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if of.contains(bad) {
                    let why = format!("must not contain '{bad}'");
                    causes.push(cause::invalid(&at_path, &json!(of), &why));
                }
            }
            for bad in ["/..", "/."] {
                if of.ends_with(bad) {
                    causes.push(cause::invalid(
                        &at_path,
                        &json!(of),
                        &format!("cannot end with '{bad}'"),
                    ));
                }
            }
        }
        "ImplementationSpecific" => {
            if !of.is_empty() && !of.starts_with('/') {
                causes.push(cause::invalid(&at_path, &json!(of), "must be an absolute path"));
            }
        }
        other => causes.push(cause::unsupported(&format!("{field}.pathType"), other, &sorts)),
    }
    causes.extend(validate_backend(&path["backend"], &format!("{field}.backend")));
    causes
}

fn validate_backend(backend: &Value, field: &str) -> Vec<Cause> {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => vec![cause::invalid(
            field,
            &json!(""),
            "cannot set both resource and service backends",
        )],
        (false, false) => vec![cause::required(
            field,
            "either service or resource backend is required",
        )],
        (false, true) => ["kind", "name"]
            .iter()
            .filter(|member| text(resource, member).is_empty())
            .map(|member| cause::required(&format!("{field}.resource.{member}"), ""))
            .collect(),
        (true, false) => {
            let mut causes = Vec::new();
            let field = format!("{field}.service");
            if text(service, "name").is_empty() {
                causes.push(cause::required(&format!("{field}.name"), ""));
            }
            let port = &service["port"];
            let number = port["number"].as_i64().unwrap_or_default();
            let at = format!("{field}.port");
            match (text(port, "name"), number) {
                ("", 0) => causes.push(cause::required(&at, "port name or number is required")),
                ("", number) if !(1..=65535).contains(&number) => causes.push(cause::invalid(
                    &format!("{at}.number"),
                    &json!(number),
                    "must be between 1 and 65535, inclusive",
                )),
                ("", _) | (_, 0) => {}
                _ => causes.push(cause::invalid(
                    &at,
                    &json!(""),
                    "cannot set both port name & port number",
                )),
            }
            causes
        }
    }
}

pub(super) fn ingress_warnings(ingress: &Value) -> Vec<String> {
    let annotation = &ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    match annotation.is_string() {
        true => vec![
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
                .to_owned(),
        ],
        false => Vec::new(),
    }
}

pub(super) fn validate_class(class: &Value) -> Vec<Cause> {
    let spec = &class["spec"];
    let mut causes = domain_prefixed_path("spec.controller", text(spec, "controller"));
    let parameters = &spec["parameters"];
    if !parameters.is_object() {
        return causes;
    }
    for member in ["kind", "name"] {
        if text(parameters, member).is_empty() {
            let field = format!("spec.parameters.{member}");
            causes.push(cause::required(&field, &format!("{member} is required")));
        }
    }
    let namespace = parameters["namespace"].is_string();
    match text(parameters, "scope") {
        "Namespace" if !namespace => causes.push(cause::required(
            "spec.parameters.namespace",
            "`parameters.scope` is set to 'Namespace'",
        )),
        "Cluster" if namespace => causes.push(cause::forbidden(
            "spec.parameters.namespace",
            "`parameters.scope` is set to 'Cluster'",
        )),
        "Namespace" | "Cluster" => {}
        other => causes.push(cause::unsupported(
            "spec.parameters.scope",
            other,
            &["Cluster", "Namespace"],
        )),
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    #[test]
    fn ingresses_lead_somewhere() {
        let ingress = |spec: Value| shown(&validate_ingress(&json!({"metadata": {}, "spec": spec})));
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let rule = |path: Value| json!({"rules": [{"host": "a.example", "http": {"paths": [path]}}]});
        assert!(
            ingress(rule(
                json!({"path": "/", "pathType": "Prefix", "backend": backend})
            ))
            .is_empty()
        );
        assert!(ingress(json!({"defaultBackend": backend})).is_empty());
        assert_eq!(
            ingress(json!({})),
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]
        );
        assert_eq!(
            ingress(rule(json!({"path": "x", "pathType": "Exact", "backend": {}}))),
            [
                "spec.rules[0].http.paths[0].path: Invalid value: \"x\": must be an absolute path",
                "spec.rules[0].http.paths[0].backend: Required value: either service or resource backend is required",
            ]
        );
        assert_eq!(
            ingress(rule(
                json!({"path": "/", "backend": {"service": {"name": "s", "port": {}}}})
            )),
            [
                "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
                "spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required",
            ]
        );
        assert_eq!(
            ingress(
                json!({"defaultBackend": backend, "rules": [{"host": "1.2.3.4"}, {"host": "*.example.com"}]})
            ),
            ["spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"]
        );
    }

    #[test]
    fn ingress_classes_name_their_controller() {
        let class = |spec: Value| shown(&validate_class(&json!({"spec": spec})));
        assert!(class(json!({"controller": "acme.io/foo"})).is_empty());
        assert_eq!(class(json!({})), ["spec.controller: Required value"]);
        assert_eq!(
            class(json!({"controller": "foo"})),
            [
                "spec.controller: Invalid value: \"foo\": must be a domain-prefixed path (such as \"acme.io/foo\")"
            ]
        );
        assert_eq!(
            class(
                json!({"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}})
            ),
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
        );
    }
}
