//! A pod stays five minutes on a node that went away, unless it says otherwise (contract §12.2).
use super::{Attempt, Operation};
use crate::status::ApiError;
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// If nothing else is said.
const TOLERATION_SECONDS: i64 = 300;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    // Of an update as well: whoever puts back the pod as it was given leaves out what was added.
    let writes = matches!(attempt.operation, Operation::Create | Operation::Update);
    if attempt.is("pods", "")
        && writes
        && let Some(pod) = attempt.object.as_deref_mut()
    {
        let settings = attempt.server.admission.settings();
        let keys = [
            (NOT_READY, settings.not_ready_toleration),
            (UNREACHABLE, settings.unreachable_toleration),
        ];
        add(
            pod,
            keys.map(|(key, seconds)| (key, seconds.unwrap_or(TOLERATION_SECONDS))),
        );
    }
    Ok(())
}

fn add(pod: &mut Value, keys: [(&str, i64); 2]) {
    if !pod["spec"]["tolerations"].is_array() {
        pod["spec"]["tolerations"] = json!([]);
    }
    let Some(tolerations) = pod["spec"]["tolerations"].as_array_mut() else {
        return;
    };
    for (key, seconds) in keys {
        let tolerated = tolerations.iter().any(|toleration| {
            let text = |field: &str| toleration[field].as_str().unwrap_or_default();
            (text("key").is_empty() || text("key") == key) && matches!(text("effect"), "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": seconds,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tolerations_are_added_unless_given() {
        let keys = [(NOT_READY, 300), (UNREACHABLE, 30)];
        let mut pod = json!({"spec": {}});
        add(&mut pod, keys);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(pod["spec"]["tolerations"][1]["tolerationSeconds"], 30);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        add(&mut all, keys);
        assert_eq!(all["spec"]["tolerations"].as_array().unwrap().len(), 1);
        let mut other = json!({"spec": {"tolerations": [{"key": NOT_READY, "effect": "NoSchedule"}]}});
        add(&mut other, keys);
        assert_eq!(other["spec"]["tolerations"].as_array().unwrap().len(), 3);
    }
}
