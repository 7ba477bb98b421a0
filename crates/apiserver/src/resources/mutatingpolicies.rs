//! Mutating admission policies (contract §17). What they bring about is in `admission::policies`.
use super::admissionregistration::{
    GROUP, default_match, default_policy, expression, fill_all, list, text, unsupported,
    validate_binding_spec, validate_policy_spec,
};
use super::definition::Resource;
use super::rules::Rules;
use crate::status::{Cause, cause};
use orlop_api::cel::{self, Type};
use serde_json::{Value, json};

const RULES: Rules = Rules {
    unconditional_update: false,
    ..Rules::WITH_GENERATION
};

pub const MUTATINGADMISSIONPOLICIES: Resource = Resource {
    categories: &["api-extensions"],
    ..Resource::new(
        GROUP,
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicy",
        "MutatingAdmissionPolicy",
    )
    .cluster_scoped()
    .with_rules(Rules {
        default: |policy| {
            default_policy(policy);
            fill_all(&mut policy["spec"], &[("reinvocationPolicy", json!("Never"))]);
        },
        validate_create: validate,
        validate_update: |new, _| validate(new),
        ..RULES
    })
};

pub const MUTATINGADMISSIONPOLICYBINDINGS: Resource = Resource {
    categories: &["api-extensions"],
    ..Resource::new(
        GROUP,
        "mutatingadmissionpolicybindings",
        "mutatingadmissionpolicybinding",
        "MutatingAdmissionPolicyBinding",
    )
    .cluster_scoped()
    .with_rules(Rules {
        default: |binding| {
            if let Some(constraints) = binding.pointer_mut("/spec/matchResources") {
                default_match(constraints);
            }
        },
        validate_create: |binding| validate_binding_spec(&binding["spec"]),
        validate_update: |new, _| validate_binding_spec(&new["spec"]),
        ..RULES
    })
};

fn validate(policy: &Value) -> Vec<Cause> {
    let spec = &policy["spec"];
    let mut causes = validate_policy_spec(spec);
    causes.extend(unsupported(
        "spec.reinvocationPolicy",
        &spec["reinvocationPolicy"],
        &["IfNeeded", "Never"],
    ));
    let mutations = list(&spec["mutations"]);
    if mutations.is_empty() {
        causes.push(cause::required(
            "spec.mutations",
            "mutations must contain at least one item",
        ));
    }
    let names = cel::policy(spec["paramKind"].is_object()).making_objects();
    for (number, mutation) in mutations.iter().enumerate() {
        let at = format!("spec.mutations[{number}]");
        let (key, other, wanted) = match text(&mutation["patchType"]) {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Type::Opaque(cel::OBJECT)),
            "JSONPatch" => (
                "jsonPatch",
                "applyConfiguration",
                Type::list(Type::Opaque(cel::JSON_PATCH)),
            ),
            "" => {
                causes.push(cause::required(&format!("{at}.patchType"), ""));
                continue;
            }
            odd => {
                let known = ["ApplyConfiguration", "JSONPatch"];
                causes.push(cause::unsupported(&format!("{at}.patchType"), odd, &known));
                continue;
            }
        };
        if mutation[other].is_object() {
            causes.push(cause::invalid(
                &format!("{at}.{other}"),
                &mutation[other],
                &format!(
                    "must not be specified when patchType is {}",
                    text(&mutation["patchType"])
                ),
            ));
        }
        if !mutation[key].is_object() {
            causes.push(cause::required(
                &format!("{at}.{key}"),
                &format!(
                    "must be specified when patchType is {}",
                    text(&mutation["patchType"])
                ),
            ));
            continue;
        }
        let field = format!("{at}.{key}.expression");
        causes.extend(expression(
            &field,
            &mutation[key]["expression"],
            &names,
            &[wanted],
        ));
    }
    causes
}
