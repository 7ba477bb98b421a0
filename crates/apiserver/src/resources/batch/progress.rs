//! What is refused of a Job's status: whoever manages Jobs instead of our controller is kept to what their readers rely on.
//!
//! Most of it is only looked at where it changes: what is stored, or follows from a change of the spec that its controller
//! hasn't seen yet, is in nobody's way.
use super::indexes::count_indexes;
use crate::resources::validation::{list, not_negative, text};
use crate::status::{Cause, cause};
use jiff::Timestamp;
use orlop_api::conditions::is_true;
use serde_json::{Value, json};

const COUNTERS: [&str; 5] = ["active", "succeeded", "failed", "ready", "terminating"];

/// What is wrong with the status of a Job that was `old`.
pub fn validate(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes: Vec<Cause> = COUNTERS
        .iter()
        .filter_map(|counter| not_negative(&new["status"], counter, &format!("status.{counter}")))
        .collect();
    causes.extend(ready(&new["status"], &old["status"]));
    causes.extend(uncounted(&new["status"]["uncountedTerminatedPods"]));
    causes.extend(ends(new, old));
    causes.extend(at_the_end(new, old));
    causes.extend(indexes(new, old));
    causes.extend(times(new, old));
    causes.extend(counters(new, old));
    causes
}

/// Of the active pods some are ready, and no others.
fn ready(is: &Value, was: &Value) -> Option<Cause> {
    let number = |key: &str| is[key].as_i64().unwrap_or_default();
    let changes = ["ready", "active"].iter().any(|key| is[key] != was[key]);
    let hint = "cannot set more ready pods than active";
    (changes && number("ready") > number("active").max(0))
        .then(|| cause::invalid("status.ready", &is["ready"], hint))
}

/// Pods that are yet to be counted are named once.
fn uncounted(pods: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = Vec::new();
    for how in ["succeeded", "failed"] {
        for (number, uid) in list(pods, how).iter().enumerate() {
            let field = format!("status.uncountedTerminatedPods.{how}[{number}]");
            if uid == "" {
                causes.push(cause::invalid(&field, uid, "must not be empty"));
            } else if seen.contains(&uid) {
                causes.push(cause::duplicate(&field, uid));
            } else {
                seen.push(uid);
            }
        }
    }
    causes
}

fn has_ended(job: &Value) -> bool {
    is_true(job, "Complete") || is_true(job, "Failed")
}

/// Whether one of these conditions isn't what it was.
fn turns(new: &Value, old: &Value, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| is_true(new, kind) != is_true(old, kind))
}

/// A Job ends in one way, which is announced before, and stays ended.
fn ends(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut refuse = |hint: &str| {
        let message = format!("Invalid value: {hint}");
        causes.push(Cause::new("FieldValueInvalid", "status.conditions", message));
    };
    let is = |kind: &str| is_true(new, kind);
    let was = |kind: &str| is_true(old, kind);
    // Two that cannot both be, as they are written.
    for (one, other, always, words) in [
        ("Complete", "Failed", false, "Complete=True and Failed=true"),
        (
            "Complete",
            "FailureTarget",
            false,
            "Complete=True and FailureTarget=true",
        ),
        (
            "SuccessCriteriaMet",
            "Failed",
            true,
            "SuccessCriteriaMet=True and Failed=true",
        ),
        (
            "SuccessCriteriaMet",
            "FailureTarget",
            true,
            "SuccessCriteriaMet=True and FailureTarget=true",
        ),
    ] {
        if is(one) && is(other) && (always || turns(new, old, &[one, other])) {
            refuse(&format!("cannot set {words} conditions"));
        }
    }
    for (end, announced) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
        if is(end) && !is(announced) && turns(new, old, &[end, announced]) {
            refuse(&format!(
                "cannot set {end}=True condition without the {announced}=true condition"
            ));
        }
    }
    if is("Complete") && !is("SuccessCriteriaMet") && new["spec"]["successPolicy"].is_object() {
        refuse("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
    }
    for end in ["Failed", "Complete", "FailureTarget"] {
        if was(end) && !is(end) {
            refuse(&format!("cannot disable the terminal {end}=True condition"));
        }
    }
    if was("SuccessCriteriaMet") && !is("SuccessCriteriaMet") {
        refuse("cannot disable the SuccessCriteriaMet=True condition");
    }
    if was("Complete") && !was("SuccessCriteriaMet") && is("SuccessCriteriaMet") {
        refuse("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
    }
    causes
}

/// Nothing is left of a Job that has ended.
fn at_the_end(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let ends = !has_ended(old);
    if !has_ended(new) {
        return causes;
    }
    let (is, was) = (&new["status"], &old["status"]);
    let changes = |key: &str| ends || is[key] != was[key];
    for key in ["active", "terminating"] {
        if changes(key) && is[key].as_i64().is_some_and(|pods| pods > 0) {
            let hint = format!("{key}>0 is invalid for finished job");
            causes.push(cause::invalid(&format!("status.{key}"), &is[key], &hint));
        }
    }
    // One that is suspended and wants nothing ends without ever having begun.
    let may_not_begin = new["spec"]["suspend"] == true && new["spec"]["completions"] == 0;
    if changes("startTime") && is["startTime"].is_null() && !may_not_begin {
        let hint = "startTime is required for finished job";
        causes.push(cause::required("status.startTime", hint));
    }
    let pods = &is["uncountedTerminatedPods"];
    let named = list(pods, "succeeded").len() + list(pods, "failed").len();
    if changes("uncountedTerminatedPods") && named > 0 {
        let hint = "uncountedTerminatedPods needs to be empty for finished job";
        causes.push(cause::invalid("status.uncountedTerminatedPods", pods, hint));
    }
    causes
}

/// Indexes that are done or given up are indexes of the Job.
fn indexes(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (spec, is, was) = (&new["spec"], &new["status"], &old["status"]);
    let each_fails = !spec["backoffLimitPerIndex"].is_null();
    for key in ["completedIndexes", "failedIndexes"] {
        let (field, listed) = (format!("status.{key}"), &is[key]);
        if *listed == was[key] || listed.is_null() {
            continue;
        }
        if key == "failedIndexes" && !each_fails {
            let hint = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            causes.push(cause::invalid(&field, listed, hint));
            continue;
        }
        if let Some(completions) = spec["completions"].as_i64()
            && let Err(why) = count_indexes(text(is, key), completions)
        {
            let hint = format!("error parsing {key}: {why}");
            causes.push(cause::invalid(&field, listed, &hint));
        }
        if key == "completedIndexes" && listed != "" && spec["completionMode"] != "Indexed" {
            let hint = "cannot set non-empty completedIndexes when non-indexed completion mode";
            causes.push(cause::invalid(&field, listed, hint));
        }
    }
    causes
}

/// A Job that is complete says since when, and goes on saying that.
fn times(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (is, was) = (&new["status"], &old["status"]);
    let (field, time) = ("status.completionTime", &is["completionTime"]);
    let mut refuse = |hint: &str| causes.push(cause::invalid(field, time, hint));
    let changes = *time != was["completionTime"];
    let (is_given, is_complete) = (!time.is_null(), is_true(new, "Complete"));
    let at = |time: &Value| time.as_str()?.parse::<Timestamp>().ok();
    if is_given && changes && !was["completionTime"].is_null() {
        refuse("completionTime cannot be mutated");
    }
    if (changes || is["startTime"] != was["startTime"])
        && let (Some(start), Some(end)) = (at(&is["startTime"]), at(time))
        && end < start
    {
        refuse("completionTime cannot be set before startTime");
    }
    if changes || turns(new, old, &["Complete"]) {
        if is_given && !is_complete {
            refuse("cannot set completionTime when there is no Complete=True condition");
        }
        if is_complete && !is_given {
            let hint = "completionTime is required for Complete jobs";
            causes.push(cause::required(field, hint));
        }
    }
    causes
}

/// What has happened has happened, but for the indexes of a Job that wants fewer of them now.
fn counters(new: &Value, old: &Value) -> Vec<Cause> {
    let spec = &new["spec"];
    let may_shrink = spec["completionMode"] == "Indexed" && spec["completions"] == spec["parallelism"];
    let mut causes = Vec::new();
    for (key, stays) in [("failed", true), ("succeeded", !may_shrink)] {
        let of = |job: &Value| job["status"][key].as_i64().unwrap_or_default();
        if stays && of(new) < of(old) {
            let hint = format!("cannot decrease the {key} counter");
            causes.push(cause::invalid(&format!("status.{key}"), &json!(of(new)), &hint));
        }
    }
    causes
}

#[cfg(test)]
mod tests;
