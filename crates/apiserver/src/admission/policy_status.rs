//! What a policy's status says: whether its expressions fit the types that its rules name. Expressions are evaluated
//! without types, so what doesn't fit is a warning and no refusal (contract §17).
use super::matching::GROUP;
use super::policies::ParamKind;
use super::{Attempt, Operation};
use crate::resources::Resource;
use crate::status::ApiError;
use orlop_api::cel::{self, Declarations, Program, Type};
use serde_json::{Value, json};

/// Types that one policy is checked against.
const TYPES_MAX: usize = 10;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let resource = attempt.resource;
    let is_policy = resource.group == GROUP && resource.kind == "ValidatingAdmissionPolicy";
    if !is_policy || !attempt.subresource.is_empty() {
        return Ok(());
    }
    let Some(policy) = attempt.object.as_deref() else {
        return Ok(());
    };
    let kinds = kinds(attempt, &policy["spec"]);
    let params = ParamKind::of(&policy["spec"]["paramKind"]);
    let params = params.and_then(|kind| kind.resource(attempt)).and_then(type_of);
    let params = params.unwrap_or(Type::Dyn);
    let (old, creates) = (attempt.old, attempt.operation == Operation::Create);
    if let Some(policy) = attempt.object.as_deref_mut() {
        let generation = match old {
            Some(old) if !creates => {
                let rises = old["spec"] != policy["spec"];
                old["metadata"]["generation"].as_i64().unwrap_or_default() + i64::from(rises)
            }
            _ => 1,
        };
        let warnings = warnings(&policy["spec"], &kinds, &params);
        if creates {
            policy["status"] = json!({});
        }
        policy["status"]["observedGeneration"] = json!(generation);
        policy["status"]["typeChecking"] = match warnings.is_empty() {
            true => json!({}),
            false => json!({"expressionWarnings": warnings}),
        };
    }
    Ok(())
}

/// The kinds that the rules name outright, with their types.
fn kinds(attempt: &Attempt<'_>, spec: &Value) -> Vec<(String, Type)> {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut kinds: Vec<(String, Type)> = Vec::new();
    let rules = spec["matchConstraints"]["resourceRules"]
        .as_array()
        .into_iter()
        .flatten();
    for rule in rules {
        for group in texts(&rule["apiGroups"]) {
            for version in texts(&rule["apiVersions"]) {
                for plural in texts(&rule["resources"]) {
                    let Some(resource) = attempt.server.resource(&group, &version, &plural) else {
                        continue;
                    };
                    let name = format!("{}, Kind={}", resource.api_version(), resource.kind);
                    let known = kinds.iter().any(|(known, _)| *known == name);
                    if let Some(ty) = type_of(resource).filter(|_| !known && kinds.len() < TYPES_MAX) {
                        kinds.push((name, ty));
                    }
                }
            }
        }
    }
    kinds
}

fn type_of(resource: &Resource) -> Option<Type> {
    match resource.custom {
        Some(custom) => Some(cel::type_of(&custom.definition().schema, "object", true)),
        None => cel::type_of_kind(&resource.api_version(), resource.kind),
    }
}

/// `params`: the type of the policy's parameters, if it has any.
fn warnings(spec: &Value, kinds: &[(String, Type)], params: &Type) -> Vec<Value> {
    let validations = spec["validations"].as_array().into_iter().flatten().enumerate();
    let mut warnings = Vec::new();
    for (number, validation) in validations {
        for key in ["expression", "messageExpression"] {
            let Some(expression) = validation[key].as_str().filter(|text| !text.is_empty()) else {
                continue;
            };
            let told: Vec<String> = kinds
                .iter()
                .filter_map(|(kind, ty)| {
                    let error = Program::compile(expression, &names(spec, ty, params)).err()?;
                    Some(format!("{kind}: {error}"))
                })
                .collect();
            if !told.is_empty() {
                let field = format!("spec.validations[{number}].{key}");
                warnings.push(json!({"fieldRef": field, "warning": told.join("\n")}));
            }
        }
    }
    warnings
}

/// The names of a policy, with the objects of that type. What an ill variable is remains open.
fn names(spec: &Value, object: &Type, params: &Type) -> Declarations {
    let has_params = spec["paramKind"].is_object();
    let mut names = cel::policy(has_params)
        .with("object", object.clone())
        .with("oldObject", object.clone());
    if has_params {
        names = names.with("params", params.clone());
    }
    let mut known = Vec::new();
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let text = |key: &str| variable[key].as_str().unwrap_or_default();
        let program = Program::compile(text("expression"), &names);
        let ty = program.map_or(Type::Dyn, |program| program.result().clone());
        known.push((text("name").to_owned(), ty));
        names = names.with("variables", Type::object("variables", known.clone()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_for_each_kind() {
        let spec = json!({
            "variables": [{"name": "count", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "variables.count > 1"},
                {"expression": "variables.count == 'x'"},
                {"expression": "object.spec.nope > 1", "messageExpression": "'x' + object.metadata.name"}]});
        let deployment = cel::type_of_kind("apps/v1", "Deployment").unwrap();
        let kinds = [("apps/v1, Kind=Deployment".to_owned(), deployment)];
        let told = warnings(&spec, &kinds, &Type::Dyn);
        assert_eq!(
            told,
            [
                json!({"fieldRef": "spec.validations[1].expression", "warning":
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:17: found no matching overload for '_==_' applied to '(int, string)'\n | variables.count == 'x'\n | ................^"}),
                json!({"fieldRef": "spec.validations[2].expression", "warning":
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nope'\n | object.spec.nope > 1\n | ...........^"}),
            ]
        );
    }

    #[test]
    fn what_does_not_fit_the_parameters_is_told() {
        let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [
            {"expression": "params.data.most == '3'"}, {"expression": "params.most == 3"}]});
        let kinds = [("v1, Kind=Pod".to_owned(), cel::type_of_kind("v1", "Pod").unwrap())];
        let told = warnings(&spec, &kinds, &cel::type_of_kind("v1", "ConfigMap").unwrap());
        assert_eq!(
            told,
            [json!({"fieldRef": "spec.validations[1].expression", "warning":
                "v1, Kind=Pod: ERROR: <input>:1:7: undefined field 'most'\n | params.most == 3\n | ......^"})]
        );
        assert_eq!(warnings(&spec, &kinds, &Type::Dyn), Vec::<Value>::new());
    }
}
