//! Devices, and what claims them.

use serde_json::Value;

use super::cells::{age, list, name, text};
use super::{AGE, NAME, TableSpec, string};

pub(super) static NAMED: TableSpec =
    TableSpec::new(&[NAME, AGE], |object, now| vec![name(object), age(object, now)]);

/// `allocated,reserved`.
fn state(claim: &Value) -> String {
    let mut states = Vec::new();
    let is_deleted = !text(claim, "/metadata/deletionTimestamp").is_empty();
    let is_allocated = claim.pointer("/status/allocation").is_some();
    if is_deleted {
        states.push("deleted");
    }
    match is_allocated {
        true => states.push("allocated"),
        false if !is_deleted => states.push("pending"),
        false => {}
    }
    if is_allocated && !list(claim, "/status/reservedFor").is_empty() {
        states.push("reserved");
    }
    states.join(",")
}

pub(super) static CLAIMS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("State", "Whether it has its devices, and who uses them."),
        AGE,
    ],
    |claim, now| vec![name(claim), state(claim).into(), age(claim, now)],
);

pub(super) static SLICES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Node", "The node that has the devices."),
        string("Driver", "Who offers them."),
        string("Pool", "What they belong to."),
        AGE,
    ],
    |slice, now| {
        vec![
            name(slice),
            text(slice, "/spec/nodeName").into(),
            text(slice, "/spec/driver").into(),
            text(slice, "/spec/pool/name").into(),
            age(slice, now),
        ]
    },
);

#[cfg(test)]
mod tests {
    use super::state;
    use serde_json::{Value, json};

    #[test]
    fn a_claims_state_names_what_it_has_come_to() {
        let claim = |status: Value, deleted: Value| {
            state(&json!({"metadata": {"deletionTimestamp": deleted}, "status": status}))
        };
        let allocated = json!({"allocation": {}});
        let reserved = json!({"allocation": {}, "reservedFor": [{"name": "p"}]});
        assert_eq!(claim(json!({}), Value::Null), "pending");
        assert_eq!(claim(allocated, Value::Null), "allocated");
        assert_eq!(claim(reserved.clone(), Value::Null), "allocated,reserved");
        assert_eq!(
            claim(reserved, json!("2026-01-01T00:00:00Z")),
            "deleted,allocated,reserved"
        );
        assert_eq!(claim(json!({}), json!("2026-01-01T00:00:00Z")), "deleted");
    }
}
