//! Pods of a namespace run on its nodes (`PodNodeSelector`): an annotation of the namespace, or the plugin's settings, say
//! which those are, and the settings which labels pods may select by.
use super::super::{Attempt, Operation};
use super::annotation_of_namespace;
use crate::status::ApiError;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// Where the settings say what holds for namespaces that say nothing.
const OF_ALL: &str = "clusterDefaultNodeSelector";

/// What the settings say, by namespace: `key=value,…`.
pub type NodeSelectors = BTreeMap<String, String>;
type Labels = BTreeMap<String, String>;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    let Some(wanted) = of_namespace(attempt)? else {
        return Ok(());
    };
    let merged = merge(&wanted, &selector(attempt)).ok_or_else(|| conflict(attempt))?;
    if let Some(pod) = attempt.object.as_deref_mut()
        && !merged.is_empty()
    {
        pod["spec"]["nodeSelector"] = json!(merged);
    }
    validate(attempt)
}

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let Some(wanted) = of_namespace(attempt)? else {
        return Ok(());
    };
    let selector = selector(attempt);
    if merge(&wanted, &selector).is_none() {
        return Err(conflict(attempt));
    }
    let settings = &attempt.server.admission.settings().node_selectors;
    let allowed = parse(settings.get(attempt.namespace).map_or("", String::as_str))?;
    let is_allowed = |(key, value): (&String, &String)| allowed.get(key) == Some(value);
    if allowed.is_empty() || selector.iter().all(is_allowed) {
        return Ok(());
    }
    Err(attempt.forbidden("pod node label selector labels conflict with its namespace whitelist"))
}

fn conflict(attempt: &Attempt<'_>) -> ApiError {
    attempt.forbidden("pod node label selector conflicts with its namespace node label selector")
}

/// What the pod's namespace says, if this is about a new pod.
fn of_namespace(attempt: &Attempt<'_>) -> Result<Option<Labels>, ApiError> {
    if !attempt.is("pods", "") || attempt.operation != Operation::Create {
        return Ok(None);
    }
    let own = annotation_of_namespace(attempt, ANNOTATION);
    let settings = &attempt.server.admission.settings().node_selectors;
    let of_all = || settings.get(OF_ALL).map_or("", String::as_str);
    parse(own.as_deref().unwrap_or_else(of_all)).map(Some)
}

fn selector(attempt: &Attempt<'_>) -> Labels {
    let pod = attempt.object.as_deref().unwrap_or(&Value::Null);
    let given = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    given
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Both, unless they say different things of one label.
fn merge(one: &Labels, other: &Labels) -> Option<Labels> {
    let conflicts = |(key, value): (&String, &String)| other.get(key).is_some_and(|given| given != value);
    if one.iter().any(conflicts) {
        return None;
    }
    let mut merged = one.clone();
    merged.extend(other.clone());
    Some(merged)
}

fn parse(text: &str) -> Result<Labels, ApiError> {
    let parts = text.split(',').filter(|_| !text.is_empty());
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').filter(|(_, value)| !value.contains('='))?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    let labels = parts.map(|part| pair(part).ok_or(part)).collect::<Result<_, _>>();
    labels.map_err(|part| ApiError::internal(format!("invalid selector: [{part}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_merged_unless_they_differ() {
        let labels = |text: &str| parse(text).unwrap();
        let wanted = labels("zone=a, disk = fast");
        assert_eq!(
            merge(&wanted, &labels("arch=arm")),
            Some(labels("arch=arm,disk=fast,zone=a"))
        );
        assert_eq!(merge(&wanted, &labels("zone=b")), None);
        assert_eq!(merge(&labels(""), &labels("")), Some(Labels::new()));
        assert!(parse("zone").is_err() && parse("zone=a=b").is_err());
    }
}
