//! FlowSchemas say whether the PriorityLevelConfiguration that they name is there.
use super::own_call;
use crate::ApiServer;
use crate::flow::GROUP;
use crate::registry::now;
use http::{Method, StatusCode};
use orlop_api::conditions;
use serde_json::{Value, json};
use std::sync::Arc;

pub const KINDS: &[(&str, &str)] = &[(GROUP, "flowschemas"), (GROUP, "prioritylevelconfigurations")];

pub async fn tell(server: Arc<ApiServer>) -> bool {
    let schemas = server.cache.values_of(GROUP, "flowschemas");
    let levels = server.cache.values_of(GROUP, "prioritylevelconfigurations");
    let mut done = true;
    for (name, status) in changes(&schemas, &levels, &now()) {
        let path = format!("/apis/{GROUP}/v1/flowschemas/{name}/status");
        let code = own_call(&server, Method::PATCH, &path, json!({"status": status})).await;
        done &= code.is_success() || matches!(code, StatusCode::CONFLICT | StatusCode::NOT_FOUND);
    }
    done
}

/// Names, and the status of those that say something else.
fn changes<'s>(schemas: &'s [Value], levels: &[Value], now: &str) -> Vec<(&'s str, Value)> {
    let mut changes = Vec::new();
    for schema in schemas {
        let level = &schema["spec"]["priorityLevelConfiguration"]["name"];
        let found = levels.iter().any(|known| known["metadata"]["name"] == *level);
        let (dangling, reason, what) = match found {
            true => ("False", "Found", "and it exists"),
            false => ("True", "NotFound", "but there is no such object"),
        };
        let before = conditions::condition(schema, "Dangling");
        if before.is_some_and(|before| before["status"] == dangling) {
            continue;
        }
        let condition = json!({"type": "Dangling", "status": dangling, "reason": reason, "lastTransitionTime": now,
            "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level} {what}")});
        let name = schema["metadata"]["name"].as_str().unwrap_or_default();
        let conditions = conditions::with(schema, condition);
        changes.push((name, json!({"conditions": conditions})));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_without_its_level_dangles_and_what_others_say_of_it_stays() {
        let schema = json!({"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"}},
            "status": {"conditions": [{"type": "Other", "status": "True"}]}});
        let told = changes(std::slice::from_ref(&schema), &[], "now");
        assert_eq!(told[0].0, "s");
        assert_eq!(
            told[0].1["conditions"],
            json!([{"type": "Other", "status": "True"},
                {"type": "Dangling", "status": "True", "reason": "NotFound", "lastTransitionTime": "now", "message":
                    "This FlowSchema references the PriorityLevelConfiguration object named \"l\" but there is no such object"}])
        );
        let mut dangling = schema.clone();
        dangling["status"] = told[0].1.clone();
        let level = json!({"metadata": {"name": "l"}});
        assert!(changes(std::slice::from_ref(&dangling), &[], "now").is_empty());
        let told = changes(std::slice::from_ref(&dangling), &[level], "now");
        assert_eq!(told[0].1["conditions"][1]["status"], "False");
    }
}
