//! Kinds that say how the API is served.

use serde_json::Value;

use super::cells::{NONE, age, name, or, text};
use super::{AGE, NAME, TableSpec, string};
use crate::conditions::condition;

pub(super) static API_SERVICES: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Service", "The Service behind it, or Local."),
        string("Available", "Whether it answers."),
        AGE,
    ],
    |object, now| {
        let service = match object.pointer("/spec/service") {
            Some(service) if service.is_object() => {
                format!("{}/{}", text(service, "/namespace"), text(service, "/name"))
            }
            _ => "Local".to_owned(),
        };
        let available = match condition(object, "Available") {
            None => "Unknown".to_owned(),
            Some(condition) => match (text(condition, "/status"), text(condition, "/reason")) {
                ("True", _) => "True".to_owned(),
                (status, reason) => format!("{status} ({reason})"),
            },
        };
        vec![name(object), service.into(), available.into(), age(object, now)]
    },
);

pub(super) static FLOW_SCHEMAS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("PriorityLevel", "The level its requests belong to."),
        string("MatchingPrecedence", "The lowest that matches decides."),
        string("DistinguisherMethod", "What tells one flow from another."),
        AGE,
        string("MissingPL", "Whether the level is missing."),
    ],
    |schema, now| {
        let dangling = condition(schema, "Dangling").map_or("", |condition| text(condition, "/status"));
        vec![
            name(schema),
            text(schema, "/spec/priorityLevelConfiguration/name").into(),
            number(schema, "/spec/matchingPrecedence"),
            or(text(schema, "/spec/distinguisherMethod/type"), NONE).into(),
            age(schema, now),
            or(dangling, "?").into(),
        ]
    },
);

pub(super) static PRIORITY_LEVELS: TableSpec = TableSpec::new(
    &[
        NAME,
        string("Type", "Limited or Exempt."),
        string("NominalConcurrencyShares", "Its share of the seats."),
        string("Queues", "How many queues wait for them."),
        string("HandSize", "How many of the queues a flow may use."),
        string("QueueLengthLimit", "How many requests may wait in a queue."),
        AGE,
    ],
    |level, now| {
        let kind = text(level, "/spec/type");
        let shares = format!("/spec/{}/nominalConcurrencyShares", kind.to_lowercase());
        let queuing = |field: &str| number(level, &format!("/spec/limited/limitResponse/queuing/{field}"));
        vec![
            name(level),
            kind.into(),
            number(level, &shares),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            age(level, now),
        ]
    },
);

fn number(object: &Value, pointer: &str) -> Value {
    match object.pointer(pointer) {
        Some(number @ Value::Number(_)) => number.clone(),
        _ => NONE.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn services_behind_the_api_and_its_levels_show_what_they_are() {
        let row = |spec: &TableSpec, object: Value| spec.row(&object, Timestamp::UNIX_EPOCH);
        let local = json!({"metadata": {"name": "v1."}, "spec": {},
            "status": {"conditions": [{"type": "Available", "status": "True", "reason": "Local"}]}});
        assert_eq!(row(&API_SERVICES, local)[1..3], ["Local", "True"]);
        let remote = json!({"metadata": {"name": "v1.a"}, "spec": {"service": {"namespace": "n", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "ServiceNotFound"}]}});
        assert_eq!(
            row(&API_SERVICES, remote)[1..3],
            ["n/s", "False (ServiceNotFound)"]
        );
        let schema = json!({"metadata": {"name": "f"}, "spec": {"matchingPrecedence": 900,
            "priorityLevelConfiguration": {"name": "system"}, "distinguisherMethod": {"type": "ByUser"}},
            "status": {"conditions": [{"type": "Dangling", "status": "False"}]}});
        let cells = row(&FLOW_SCHEMAS, schema);
        assert_eq!(
            (&cells[1..4], &cells[5]),
            (
                &[json!("system"), json!(900), json!("ByUser")][..],
                &json!("False")
            )
        );
        let level = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 30, "limitResponse": {"type": "Queue",
            "queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}}}}});
        assert_eq!(
            row(&PRIORITY_LEVELS, level)[1..6],
            [json!("Limited"), json!(30), json!(64), json!(6), json!(50)]
        );
        let exempt = json!({"metadata": {"name": "e"}, "spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}}});
        assert_eq!(row(&PRIORITY_LEVELS, exempt)[2..4], [json!(0), json!("<none>")]);
    }
}
