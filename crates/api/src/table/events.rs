//! Events of both groups: the same object under two sets of names.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{name, number, text, time};
use super::{Column, NAME, TableSpec, string};
use crate::age;

const COLUMNS: &[Column] = &[
    string("Last Seen", "Time since the event happened last."),
    string("Type", "Normal or Warning."),
    string("Reason", "Why, in one word."),
    string("Object", "What the event is about."),
    string("Subobject", "Which part of it.").wide(),
    string("Source", "Who says so.").wide(),
    string("Message", "What happened."),
    string("First Seen", "Time since the event happened first.").wide(),
    string("Count", "How often it happened.").wide(),
    NAME.wide(),
];

pub(super) static CORE: TableSpec = TableSpec::new(COLUMNS, |event, now| {
    cells(
        event,
        now,
        &Names {
            object: "involvedObject",
            first: "/firstTimestamp",
            last: "/lastTimestamp",
            count: "/count",
            source: "source",
            reporter: "/reportingComponent",
            message: "/message",
        },
    )
});

pub(super) static EVENTS: TableSpec = TableSpec::new(COLUMNS, |event, now| {
    cells(
        event,
        now,
        &Names {
            object: "regarding",
            first: "/deprecatedFirstTimestamp",
            last: "/deprecatedLastTimestamp",
            count: "/deprecatedCount",
            source: "deprecatedSource",
            reporter: "/reportingController",
            message: "/note",
        },
    )
});

/// What the group calls things.
struct Names {
    object: &'static str,
    first: &'static str,
    last: &'static str,
    count: &'static str,
    source: &'static str,
    reporter: &'static str,
    message: &'static str,
}

fn cells(event: &Value, now: Timestamp, names: &Names) -> Vec<Value> {
    let first = time(event, names.first).or_else(|| time(event, "/eventTime"));
    let last = time(event, "/series/lastObservedTime")
        .or_else(|| time(event, names.last))
        .or(first);
    let count = match (number(event, "/series/count"), number(event, names.count)) {
        (0, 0) => 1,
        (0, count) => count,
        (series, _) => series,
    };
    let object = event.get(names.object).unwrap_or(&Value::Null);
    let source = event.get(names.source).unwrap_or(&Value::Null);
    let mut component = text(source, "/component");
    let mut host = text(source, "/host");
    if component.is_empty() {
        component = text(event, names.reporter);
        host = text(event, "/reportingInstance");
    }
    let source = if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };
    vec![
        age::since(last, now).into(),
        text(event, "/type").into(),
        text(event, "/reason").into(),
        format!(
            "{}/{}",
            text(object, "/kind").to_lowercase(),
            text(object, "/name")
        )
        .into(),
        text(object, "/fieldPath").into(),
        source.into(),
        text(event, names.message).trim().into(),
        age::since(first, now).into(),
        count.into(),
        name(event),
    ]
}
