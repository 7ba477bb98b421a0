//! DaemonSet: template generation, status counters (contract daemonsets §2).
use super::definition::{Resource, STATUS};
use super::rules::Rules;
use super::validation;
use orlop_api::defaults;
use serde_json::{Value, json};

/// Carries the template's generation for old clients.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
/// Counters that are written also when 0.
const COUNTERS: &[&str] = &[
    "currentNumberScheduled",
    "desiredNumberScheduled",
    "numberMisscheduled",
    "numberReady",
];

pub const DAEMONSETS: Resource = Resource::new("apps", "daemonsets", "daemonset", "DaemonSet")
    .short(&["ds"])
    .in_all()
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        default: |set| {
            defaults::daemon_set(set);
            counters(set);
            let annotations = &mut set["metadata"]["annotations"];
            // Who writes without it is known to have changed it.
            if annotations.get(TEMPLATE_GENERATION).is_none() {
                annotations[TEMPLATE_GENERATION] = json!("0");
            }
        },
        prepare_create,
        prepare_update,
        prepare_status: |new, old| {
            counters(new);
            set_template_generation(new, template_generation(old).unwrap_or(1));
        },
        validate_create: validation::daemon_set_create,
        validate_update: validation::daemon_set_update,
        validate_status: validation::daemon_set_status_update,
        warnings: |set| validation::template_warnings(&set["spec"]["template"], "spec.template"),
        ..Rules::WITH_GENERATION
    });

fn counters(set: &mut Value) {
    for counter in COUNTERS {
        if set["status"][*counter].is_null() {
            set["status"][*counter] = json!(0);
        }
    }
}

fn template_generation(set: &Value) -> Option<i64> {
    set["metadata"]["annotations"]
        .get(TEMPLATE_GENERATION)?
        .as_str()?
        .parse()
        .ok()
        .filter(|n| *n >= 1)
}

fn set_template_generation(set: &mut Value, generation: i64) {
    set["metadata"]["annotations"][TEMPLATE_GENERATION] = json!(generation.to_string());
}

fn prepare_create(set: &mut Value) {
    set["status"] = json!({});
    counters(set);
    let generation = template_generation(set).unwrap_or(1);
    set_template_generation(set, generation);
}

fn prepare_update(new: &mut Value, old: &Value) {
    let mut generation = template_generation(old).unwrap_or(1);
    if new["spec"]["template"] != old["spec"]["template"] {
        generation += 1;
    }
    set_template_generation(new, generation);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A08 and A12: the template's generation is the server's own and follows the template.
    #[test]
    fn the_template_generation_follows_the_template() {
        let mut old = json!({"metadata": {}, "spec": {"template": {"a": 1}}});
        prepare_create(&mut old);
        assert_eq!(old["metadata"]["annotations"][TEMPLATE_GENERATION], "1");
        assert_eq!(old["status"]["numberReady"], 0);
        let mut same = old.clone();
        same["metadata"]["annotations"][TEMPLATE_GENERATION] = json!("99");
        prepare_update(&mut same, &old);
        assert_eq!(same["metadata"]["annotations"][TEMPLATE_GENERATION], "1");
        let mut changed = old.clone();
        changed["spec"]["template"]["a"] = json!(2);
        prepare_update(&mut changed, &old);
        assert_eq!(changed["metadata"]["annotations"][TEMPLATE_GENERATION], "2");
    }
}
