//! Decides what a quota's status says, from what is there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuotaSpec, ResourceQuotaStatus};
use orlop_api::pod::Resources;
use orlop_api::pod::resources::add;
use orlop_api::quantity::Amount;
use orlop_api::quota::{Kind, concerns, count_name, kind_of_count, quantities, selects, usage};
use serde_json::Value;

/// How the objects of a kind are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is enough to know how many there are.
    Number,
    /// Each one has to be seen.
    Each,
}

/// The kinds a quota bounds, and how they have to be looked at.
pub fn kinds(spec: &ResourceQuotaSpec) -> BTreeMap<Kind<'_>, Look> {
    let mut kinds = BTreeMap::new();
    let scoped = spec.scopes.as_ref().is_some_and(|s| !s.is_empty()) || spec.scope_selector.is_some();
    for name in spec.hard.iter().flatten().map(|(name, _)| name) {
        let Some(kind) = kind_of_count(name) else { continue };
        // One of each of these names is what every object of the kind is.
        let is_number =
            !scoped && (*name == count_name(kind) || (*name == kind.plural && kind.plural != "pods"));
        let look = if is_number { Look::Number } else { Look::Each };
        let known = kinds.entry(kind).or_insert(look);
        if look == Look::Each {
            *known = Look::Each;
        }
    }
    kinds
}

/// What objects of one kind use of a quota.
#[derive(Debug)]
pub enum Found {
    /// So many are there.
    Number(i64),
    /// These are there.
    Objects(Vec<Value>),
    /// No such kind is served.
    Unserved,
}

/// The status of a quota when this was found.
pub fn status(spec: &ResourceQuotaSpec, found: &[(Kind<'_>, Found)], now: Timestamp) -> ResourceQuotaStatus {
    let bounds: BTreeSet<&str> = spec
        .hard
        .iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let mut used = Resources::new();
    for (kind, found) in found {
        if matches!(found, Found::Unserved) {
            continue;
        }
        // What is bounded and not used at all is used 0 times.
        let own = bounds.iter().filter(|name| concerns(*kind, name));
        used.extend(own.map(|name| ((*name).to_owned(), Amount::ZERO)));
        match found {
            Found::Unserved => {}
            Found::Number(number) => {
                let number = Amount::from_units(*number);
                for name in [count_name(*kind), kind.plural.to_owned()] {
                    add(&mut used, &Resources::from([(name, number)]));
                }
            }
            Found::Objects(objects) => {
                let counted = objects.iter().filter(|object| selects(spec, *kind, object));
                counted.for_each(|object| add(&mut used, &usage(*kind, object, now)));
            }
        }
    }
    used.retain(|name, _| bounds.contains(name.as_str()));
    ResourceQuotaStatus {
        hard: spec.hard.clone(),
        used: Some(quantities(&used)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(value: Value) -> ResourceQuotaSpec {
        serde_json::from_value(value).unwrap()
    }

    const PODS: Kind<'_> = Kind {
        group: "",
        plural: "pods",
    };
    const SECRETS: Kind<'_> = Kind {
        group: "",
        plural: "secrets",
    };
    const SERVICES: Kind<'_> = Kind {
        group: "",
        plural: "services",
    };

    #[test]
    fn kinds_are_counted_where_a_number_is_enough() {
        let look = |hard: Value| -> Vec<String> {
            kinds(&spec(json!({"hard": hard})))
                .into_iter()
                .map(|(kind, look)| format!("{} {look:?}", kind.plural))
                .collect()
        };
        assert_eq!(
            look(json!({"count/pods": "1", "secrets": "1"})),
            ["pods Number", "secrets Number"]
        );
        assert_eq!(
            look(json!({"pods": "1"})),
            ["pods Each"],
            "those that ended don't count"
        );
        assert_eq!(
            look(json!({"count/pods": "1", "requests.cpu": "1"})),
            ["pods Each"]
        );
        assert_eq!(
            look(json!({"services": "1", "count/deployments.apps": "2"})),
            ["services Number", "deployments Number"]
        );
        assert_eq!(
            look(json!({"services": "1", "services.nodeports": "2"})),
            ["services Each"]
        );
        assert!(look(json!({"bogus": "1"})).is_empty());
        let scoped = spec(json!({"hard": {"count/pods": "1"}, "scopes": ["BestEffort"]}));
        assert_eq!(kinds(&scoped)[&PODS], Look::Each);
    }

    #[test]
    fn a_status_has_every_bound_and_nothing_else() {
        let pod = |phase: &str, cpu: &str| {
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
                "status": {"phase": phase}})
        };
        let spec = spec(
            json!({"hard": {"pods": "5", "count/pods": "9", "requests.cpu": "2", "limits.cpu": "1",
            "secrets": "3", "services.nodeports": "1", "count/gone.example.com": "1", "bogus": "1"}}),
        );
        let found = [
            (
                PODS,
                Found::Objects(vec![pod("Running", "100m"), pod("Failed", "1"), pod("", "200m")]),
            ),
            (SECRETS, Found::Number(2)),
            (SERVICES, Found::Objects(Vec::new())),
            (
                Kind {
                    group: "example.com",
                    plural: "gone",
                },
                Found::Unserved,
            ),
        ];
        let status = status(&spec, &found, Timestamp::UNIX_EPOCH);
        assert_eq!(
            serde_json::to_value(&status).unwrap()["used"],
            json!({"pods": "2", "count/pods": "3", "requests.cpu": "300m", "limits.cpu": "0", "secrets": "2",
                "services.nodeports": "0"})
        );
        assert_eq!(status.hard, spec.hard);
    }

    #[test]
    fn only_what_the_scopes_choose_counts() {
        let spec = spec(json!({"hard": {"pods": "5"}, "scopes": ["Terminating"]}));
        let pods = vec![
            json!({"spec": {"containers": [], "activeDeadlineSeconds": 1}}),
            json!({"spec": {"containers": []}}),
        ];
        let status = status(&spec, &[(PODS, Found::Objects(pods))], Timestamp::UNIX_EPOCH);
        assert_eq!(status.used.unwrap()["pods"].0, "1");
    }
}
