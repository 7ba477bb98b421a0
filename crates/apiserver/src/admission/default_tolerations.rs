//! A pod stays five minutes on a node that went away, unless it says otherwise (contract §12.2).
use super::{Attempt, Operation};
use crate::status::ApiError;
use serde_json::{Value, json};

const KEYS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const TOLERATION_SECONDS: i64 = 300;

pub fn admit(attempt: &mut Attempt<'_>) -> Result<(), ApiError> {
    // Of an update as well: whoever puts back the pod as it was given leaves out what was added.
    let writes = matches!(attempt.operation, Operation::Create | Operation::Update);
    if attempt.is("pods", "")
        && writes
        && let Some(pod) = attempt.object.as_deref_mut()
    {
        add(pod);
    }
    Ok(())
}

fn add(pod: &mut Value) {
    if !pod["spec"]["tolerations"].is_array() {
        pod["spec"]["tolerations"] = json!([]);
    }
    let Some(tolerations) = pod["spec"]["tolerations"].as_array_mut() else {
        return;
    };
    let given = tolerations.clone();
    for key in KEYS {
        let tolerated = given.iter().any(|t| {
            let text = |field: &str| t[field].as_str().unwrap_or_default().to_owned();
            (text("key").is_empty() || text("key") == *key)
                && matches!(text("effect").as_str(), "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tolerations_are_added_unless_given() {
        let mut pod = json!({"spec": {}});
        add(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        add(&mut all);
        assert_eq!(all["spec"]["tolerations"].as_array().unwrap().len(), 1);
        let mut other = json!({"spec": {"tolerations": [{"key": KEYS[0], "effect": "NoSchedule"}]}});
        add(&mut other);
        assert_eq!(other["spec"]["tolerations"].as_array().unwrap().len(), 3);
    }
}
