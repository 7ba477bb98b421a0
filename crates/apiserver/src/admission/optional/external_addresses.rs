//! Services get no new external addresses: whoever takes one takes other people's traffic (`DenyServiceExternalIPs`).
use super::super::{Attempt, Operation};
use crate::status::ApiError;
use serde_json::Value;

pub fn validate(attempt: &Attempt<'_>) -> Result<(), ApiError> {
    let writes = matches!(attempt.operation, Operation::Create | Operation::Update);
    let new = attempt.object.as_deref().unwrap_or(&Value::Null);
    if attempt.is("services", "") && writes && takes_more(new, attempt.old.unwrap_or(&Value::Null)) {
        return Err(attempt.forbidden("Use of external IPs is denied by admission control"));
    }
    Ok(())
}

fn takes_more(new: &Value, old: &Value) -> bool {
    let addresses = |service: &Value| {
        service["spec"]["externalIPs"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let had = addresses(old);
    addresses(new).iter().any(|address| !had.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_may_stay_and_go_but_not_come() {
        let service = |addresses: &[&str]| json!({"spec": {"externalIPs": addresses}});
        let both = service(&["192.0.2.1", "192.0.2.2"]);
        assert!(takes_more(&both, &Value::Null) && takes_more(&both, &service(&["192.0.2.1"])));
        assert!(
            !takes_more(&service(&["192.0.2.2"]), &both) && !takes_more(&json!({"spec": {}}), &Value::Null)
        );
    }
}
