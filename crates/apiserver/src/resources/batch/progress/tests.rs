//! What a Job's status may become.

use super::super::testing::job;
use super::*;

/// What is wrong when a status becomes another one.
fn becomes(spec: &Value, old: &Value, new: &Value) -> Vec<String> {
    let with = |status: &Value| {
        let mut job = job(spec.clone());
        job["status"] = status.clone();
        job
    };
    cause::shown(&validate(&with(new), &with(old)))
}

fn conditions(kinds: &[&str]) -> Value {
    let conditions = kinds.iter().map(|kind| json!({"type": kind, "status": "True"}));
    json!({"conditions": conditions.collect::<Vec<Value>>()})
}

/// That of a Job which has ended so.
fn ended(kinds: &[&str]) -> Value {
    let mut status = conditions(kinds);
    status["startTime"] = json!("2026-01-01T00:00:00Z");
    if kinds.contains(&"Complete") {
        status["completionTime"] = json!("2026-01-01T00:01:00Z");
    }
    status
}

fn with(mut status: Value, more: &Value) -> Value {
    orlop_api::patch::merge(&mut status, more);
    status
}

#[test]
fn a_job_ends_in_one_way_that_was_announced() {
    let is = "status.conditions: Invalid value: cannot";
    let (complete, failed) = (["SuccessCriteriaMet", "Complete"], ["FailureTarget", "Failed"]);
    for (old, new, want) in [
        (json!({}), ended(&complete), vec![]),
        (json!({}), ended(&failed), vec![]),
        (conditions(&["FailureTarget"]), ended(&failed), vec![]),
        (
            json!({}),
            ended(&["Complete"]),
            vec![format!(
                "{is} set Complete=True condition without the SuccessCriteriaMet=true condition"
            )],
        ),
        (
            json!({}),
            ended(&["Failed"]),
            vec![format!(
                "{is} set Failed=True condition without the FailureTarget=true condition"
            )],
        ),
        (
            ended(&["Failed"]),
            with(ended(&["Failed"]), &json!({"ready": 0})),
            vec![],
        ),
        (
            conditions(&["SuccessCriteriaMet"]),
            conditions(&["SuccessCriteriaMet", "FailureTarget"]),
            vec![format!(
                "{is} set SuccessCriteriaMet=True and FailureTarget=true conditions"
            )],
        ),
        (
            ended(&failed),
            ended(&["FailureTarget"]),
            vec![format!("{is} disable the terminal Failed=True condition")],
        ),
        (
            conditions(&["SuccessCriteriaMet"]),
            conditions(&[]),
            vec![format!("{is} disable the SuccessCriteriaMet=True condition")],
        ),
    ] {
        assert_eq!(becomes(&json!({}), &old, &new), want, "{old} {new}");
    }
}

#[test]
fn no_more_pods_are_ready_than_are_active() {
    let too_many = "status.ready: Invalid value: 2: cannot set more ready pods than active";
    let both = json!({"active": 2, "ready": 2});
    for (old, new, want) in [
        (json!({}), both.clone(), None),
        (json!({}), json!({"active": 1, "ready": 2}), Some(too_many)),
        (both, json!({"ready": 2}), Some(too_many)),
        (json!({"ready": 2}), json!({"ready": 2, "failed": 1}), None),
    ] {
        let told = becomes(&json!({}), &old, &new);
        assert_eq!(
            told.iter().map(String::as_str).collect::<Vec<_>>(),
            want.as_slice(),
            "{old} {new}"
        );
    }
}

#[test]
fn nothing_is_left_of_a_job_that_has_ended() {
    let failed = ended(&["FailureTarget", "Failed"]);
    for (more, want) in [
        (
            json!({"active": 1}),
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
        ),
        (
            json!({"terminating": 2}),
            "status.terminating: Invalid value: 2: terminating>0 is invalid for finished job",
        ),
        (
            json!({"startTime": null}),
            "status.startTime: Required value: startTime is required for finished job",
        ),
        (
            json!({"uncountedTerminatedPods": {"failed": ["u"]}}),
            "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"u\"]}: uncountedTerminatedPods needs to be \
             empty for finished job",
        ),
    ] {
        let new = with(failed.clone(), &more);
        assert_eq!(becomes(&json!({}), &json!({}), &new), [want]);
        let later = with(new.clone(), &json!({"ready": 0}));
        assert!(
            becomes(&json!({}), &new, &later).is_empty(),
            "it is stored: {more}"
        );
    }
    let never_began = with(
        ended(&["SuccessCriteriaMet", "Complete"]),
        &json!({"startTime": null}),
    );
    for (completions, may) in [(0, true), (1, false)] {
        let spec = json!({"suspend": true, "completions": completions});
        assert_eq!(becomes(&spec, &json!({}), &never_began).is_empty(), may, "{spec}");
    }
    let twice = json!({"uncountedTerminatedPods": {"succeeded": ["u", ""], "failed": ["u"]}});
    assert_eq!(
        becomes(&json!({}), &json!({}), &twice),
        [
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
            "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"u\""
        ]
    );
}

#[test]
fn indexes_that_a_status_lists_are_of_the_job() {
    let indexed = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 1});
    let each = with(indexed.clone(), &json!({"backoffLimitPerIndex": 1}));
    for (spec, status, want) in [
        (&indexed, json!({"completedIndexes": "0,2"}), vec![]),
        (&each, json!({"failedIndexes": "1"}), vec![]),
        (&each, json!({"failedIndexes": ""}), vec![]),
        (
            &indexed,
            json!({"completedIndexes": "0,3"}),
            vec![
                "status.completedIndexes: Invalid value: \"0,3\": error parsing completedIndexes: too large index: \"3\"",
            ],
        ),
        (
            &indexed,
            json!({"failedIndexes": "1"}),
            vec![
                "status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ],
        ),
        (
            &json!({"completions": 3}),
            json!({"completedIndexes": "1"}),
            vec![
                "status.completedIndexes: Invalid value: \"1\": cannot set non-empty completedIndexes when non-indexed completion mode",
            ],
        ),
    ] {
        assert_eq!(becomes(spec, &json!({}), &status), want, "{status}");
        assert!(
            becomes(spec, &status, &status).is_empty(),
            "it is stored: {status}"
        );
    }
}

#[test]
fn what_a_status_says_of_the_past_stays() {
    let complete = ended(&["SuccessCriteriaMet", "Complete"]);
    let counted = json!({"failed": 2, "succeeded": 2});
    for (old, new, want) in [
        (&complete, with(complete.clone(), &json!({"ready": 0})), None),
        (
            &complete,
            with(
                complete.clone(),
                &json!({"completionTime": "2026-01-01T00:02:00Z"}),
            ),
            Some(
                "status.completionTime: Invalid value: \"2026-01-01T00:02:00Z\": completionTime cannot be mutated",
            ),
        ),
        (
            &complete,
            with(complete.clone(), &json!({"completionTime": null})),
            Some("status.completionTime: Required value: completionTime is required for Complete jobs"),
        ),
        (
            &json!({}),
            json!({"completionTime": "2026-01-01T00:02:00Z"}),
            Some(
                "status.completionTime: Invalid value: \"2026-01-01T00:02:00Z\": cannot set completionTime when there is \
                 no Complete=True condition",
            ),
        ),
        (
            &json!({}),
            with(complete.clone(), &json!({"startTime": "2026-01-01T00:02:00Z"})),
            Some(
                "status.completionTime: Invalid value: \"2026-01-01T00:01:00Z\": completionTime cannot be set before \
                 startTime",
            ),
        ),
        (
            &counted,
            json!({"failed": 1, "succeeded": 3}),
            Some("status.failed: Invalid value: 1: cannot decrease the failed counter"),
        ),
        (
            &counted,
            json!({"failed": 2}),
            Some("status.succeeded: Invalid value: 0: cannot decrease the succeeded counter"),
        ),
    ] {
        let told = becomes(&json!({}), old, &new);
        assert_eq!(
            told.iter().map(String::as_str).collect::<Vec<_>>(),
            want.as_slice(),
            "{old} {new}"
        );
    }
    let fewer = json!({"completionMode": "Indexed", "completions": 1, "parallelism": 1});
    assert!(becomes(&fewer, &json!({"succeeded": 2}), &json!({"succeeded": 1})).is_empty());
    assert_eq!(
        becomes(&fewer, &json!({}), &json!({"active": -1})),
        ["status.active: Invalid value: -1: must be greater than or equal to 0"]
    );
}
