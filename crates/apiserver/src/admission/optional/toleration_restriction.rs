//! What pods of a namespace tolerate (`PodTolerationRestriction`): annotations of the namespace, or the plugin's settings,
//! say what they tolerate anyway and what they may.
use super::super::{Attempt, Operation};
use super::{annotation_of_namespace, writes_pod};
use crate::resources::qos_class;
use crate::settings::{self, Problems, Section, SettingsError};
use crate::status::ApiError;
use k8s_openapi::api::core::v1::Toleration;
use orlop_api::pod::QosClass;
use orlop_api::validation::FieldError;
use serde_json::{Value, json};

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
/// Of nodes short of memory, which tell pods by their class anyway.
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

const KIND: &str = "Configuration";
const GROUPS: &[(&str, &[&str])] = &[("podtolerationrestriction.admission.k8s.io", &["v1alpha1"])];

/// What holds for namespaces that say nothing.
#[derive(Debug, Default)]
pub struct Tolerations {
    defaults: Vec<Toleration>,
    allowed: Vec<Toleration>,
}

impl Tolerations {
    /// Reads the plugin's configuration.
    ///
    /// # Errors
    /// It is another one, or has something that is no toleration.
    pub fn read(config: &Value) -> Result<Self, SettingsError> {
        settings::expect(config, KIND, GROUPS)?;
        let mut problems = Problems::default();
        let whole = Section::whole(config);
        whole.only(&["default", "whitelist"], &mut problems);
        let mut list = |member: &str| -> Vec<Toleration> {
            let entries = whole.list(member, &mut problems);
            let each = entries.iter().filter_map(|entry| {
                entry.only(
                    &["key", "operator", "value", "effect", "tolerationSeconds"],
                    &mut problems,
                );
                let read = serde_json::from_value(entry.value().clone());
                read.map_err(|error| {
                    let at = entry.path().to_owned();
                    problems.add(FieldError::invalid(
                        at,
                        entry.value().to_string(),
                        &error.to_string(),
                    ));
                })
                .ok()
            });
            each.collect()
        };
        let made = Self {
            defaults: list("default"),
            allowed: list("whitelist"),
        };
        problems.or(made)
    }
}

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    if !writes_pod(attempt) {
        return Ok(());
    }
    let defaults = match attempt.operation {
        Operation::Create => of_namespace(attempt, DEFAULTS)?
            .unwrap_or_else(|| attempt.server.admission.settings().tolerations.defaults.clone()),
        _ => Vec::new(),
    };
    if let Some(pod) = attempt.object.as_deref_mut() {
        let merged = tolerated(pod, defaults);
        if !merged.is_empty() {
            pod["spec"]["tolerations"] = json!(merged);
        }
    }
    validate(attempt)
}

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let pod = attempt.object.as_deref().filter(|_| writes_pod(attempt));
    let given = pod.map(tolerations).unwrap_or_default();
    if given.is_empty() {
        return Ok(());
    }
    let settings = &attempt.server.admission.settings().tolerations;
    let (allowed, whose) = match of_namespace(attempt, ALLOWED)? {
        Some(own) => (own, "namespace"),
        None => (settings.allowed.clone(), "cluster"),
    };
    if are_allowed(&given, &allowed) {
        return Ok(());
    }
    Err(ApiError::untyped(format!(
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
    )))
}

/// What the pod's namespace says in an annotation, if it has that.
fn of_namespace(attempt: &Attempt<'_>, annotation: &str) -> Result<Option<Vec<Toleration>>, ApiError> {
    match annotation_of_namespace(attempt, annotation).as_deref() {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => {
            let read = serde_json::from_str(text);
            read.map(Some)
                .map_err(|error| ApiError::untyped(error.to_string()))
        }
    }
}

fn tolerations(pod: &Value) -> Vec<Toleration> {
    // Validation says what is wrong with others.
    serde_json::from_value(pod["spec"]["tolerations"].clone()).unwrap_or_default()
}

/// What a pod tolerates with what is given to all, and, where it asks for something, nodes short of memory.
fn tolerated(pod: &Value, defaults: Vec<Toleration>) -> Vec<Toleration> {
    let mut all = match defaults.is_empty() {
        true => tolerations(pod),
        false => merged(&[defaults, tolerations(pod)].concat()),
    };
    if asks_for_something(pod) {
        all.push(Toleration {
            key: Some(MEMORY_PRESSURE.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some("NoSchedule".to_owned()),
            ..Toleration::default()
        });
        all = merged(&all);
    }
    all
}

fn asks_for_something(pod: &Value) -> bool {
    qos_class(&pod["spec"]) != QosClass::BestEffort
}

/// Those that no other one includes; of equal ones the first.
fn merged(all: &[Toleration]) -> Vec<Toleration> {
    let mut merged: Vec<Toleration> = Vec::new();
    for (place, one) in all.iter().enumerate() {
        let mut later = all[place + 1..].iter();
        let is_needless = merged.iter().any(|other| includes(other, one))
            || later.any(|other| other != one && includes(other, one));
        if !is_needless {
            merged.push(one.clone());
        }
    }
    merged
}

/// Whether each is included in one that is allowed; where nothing is said, all are.
fn are_allowed(given: &[Toleration], allowed: &[Toleration]) -> bool {
    let is_allowed = |one: &Toleration| allowed.iter().any(|other| includes(other, one));
    allowed.is_empty() || given.iter().all(is_allowed)
}

/// Whether `wide` tolerates everything that `one` does.
fn includes(wide: &Toleration, one: &Toleration) -> bool {
    fn text(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or_default()
    }
    if wide == one {
        return true;
    }
    let (key, effect) = (text(&wide.key), text(&wide.effect));
    let any_key = key.is_empty() && text(&wide.operator) == "Exists";
    if (key != text(&one.key) && !any_key) || (effect != text(&one.effect) && !effect.is_empty()) {
        return false;
    }
    if let (Some(most), "NoExecute") = (wide.toleration_seconds, effect)
        && one.toleration_seconds.is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match text(&wide.operator) {
        "Equal" | "" => text(&one.operator) == "Equal" && text(&wide.value) == text(&one.value),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: Value) -> Vec<Toleration> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_another_one_includes_is_left_out() {
        let exists = json!({"key": "a", "operator": "Exists"});
        let narrow = json!({"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"});
        let all = json!({"operator": "Exists"});
        let brief = json!({"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 50});
        for (given, left) in [
            (json!([narrow, exists]), json!([exists])),
            (json!([exists, narrow]), json!([exists])),
            (json!([narrow, narrow]), json!([narrow])),
            (json!([brief, long]), json!([long])),
            (json!([narrow, all, brief]), json!([all])),
            (json!([exists, brief]), json!([exists, brief])),
        ] {
            assert_eq!(merged(&list(given.clone())), list(left), "{given}");
        }
    }

    #[test]
    fn only_what_is_included_in_something_allowed_is() {
        let allowed = list(json!([{"key": "a", "operator": "Exists"}]));
        let own = |key: &str| list(json!([{"key": key, "operator": "Equal", "value": "1"}]));
        assert!(are_allowed(&own("a"), &allowed) && !are_allowed(&own("b"), &allowed));
        assert!(are_allowed(&own("b"), &[]));
    }

    #[test]
    fn pods_that_ask_for_something_tolerate_nodes_short_of_memory() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}],
            "tolerations": [{"key": "a", "operator": "Exists"}]}});
        assert_eq!(tolerated(&pod, Vec::new()).len(), 1);
        pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        let keys: Vec<Option<String>> = tolerated(&pod, list(json!([{"key": "d", "operator": "Exists"}])))
            .into_iter()
            .map(|toleration| toleration.key)
            .collect();
        assert_eq!(keys, ["d", "a", MEMORY_PRESSURE].map(|key| Some(key.to_owned())));
    }

    #[test]
    fn settings_are_lists_of_tolerations() {
        let config = |list: Value| {
            json!({"apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration",
                "default": list})
        };
        let read = Tolerations::read(&config(json!([{"key": "a", "operator": "Exists"}]))).unwrap();
        assert_eq!(read.defaults.len(), 1);
        let told = Tolerations::read(&config(json!([{"key": "a", "sort": "x"}]))).unwrap_err();
        assert!(told.to_string().contains("default[0].sort"), "{told}");
    }
}
