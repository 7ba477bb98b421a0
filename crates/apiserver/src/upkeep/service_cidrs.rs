//! ServiceCIDRs: whether they give addresses, and that none goes while a Service has one of them and no other range
//! holds it (contract §21).
use super::own_call;
use crate::ApiServer;
use crate::registry::{now, offered};
use http::{Method, StatusCode};
use orlop_api::conditions;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

pub const KINDS: &[(&str, &str)] = &[
    ("networking.k8s.io", "servicecidrs"),
    ("networking.k8s.io", "ipaddresses"),
];
/// Upstream's.
pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

const PATH: &str = "/apis/networking.k8s.io/v1/servicecidrs";

/// Brings all in order; answers whether they are.
pub async fn follow(server: Arc<ApiServer>) -> bool {
    let cidrs = server.cache.values_of("networking.k8s.io", "servicecidrs");
    // There may be many, and they matter only to a range that is to go.
    let goes = cidrs
        .iter()
        .any(|cidr| !cidr["metadata"]["deletionTimestamp"].is_null());
    let addresses = match goes {
        true => server.cache.values_of("networking.k8s.io", "ipaddresses"),
        false => Vec::new(),
    };
    let mut done = true;
    for step in plan(&cidrs, &addresses, &now()) {
        let (path, patch) = match step {
            Step::Status(name, status) => (format!("{PATH}/{name}/status"), json!({"status": status})),
            Step::Finalizers(name, version, finalizers) => (
                format!("{PATH}/{name}"),
                json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}}),
            ),
        };
        let code = own_call(&server, Method::PATCH, &path, patch).await;
        // Who changed or deleted it meanwhile has woken this task again.
        done &= code.is_success() || matches!(code, StatusCode::CONFLICT | StatusCode::NOT_FOUND);
    }
    done
}

#[derive(Debug, PartialEq)]
enum Step {
    Status(String, Value),
    /// With the version that they were seen in.
    Finalizers(String, Value, Vec<Value>),
}

/// Pure: what is to be written. A range is held before it is said to give addresses.
fn plan(cidrs: &[Value], addresses: &[Value], now: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for cidr in cidrs {
        let name = cidr["metadata"]["name"].as_str().unwrap_or_default();
        let finalizers = cidr["metadata"]["finalizers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let held = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        let set = |finalizers: Vec<Value>| {
            Step::Finalizers(
                name.to_owned(),
                cidr["metadata"]["resourceVersion"].clone(),
                finalizers,
            )
        };
        let mut say = |condition: Value| {
            let before = conditions::condition(cidr, "Ready");
            let says_so = before.is_some_and(|before| before["status"] == condition["status"]);
            if !says_so {
                let conditions = conditions::with(cidr, condition);
                steps.push(Step::Status(name.to_owned(), json!({"conditions": conditions})));
            }
        };
        if cidr["metadata"]["deletionTimestamp"].is_null() {
            say(
                json!({"type": "Ready", "status": "True", "lastTransitionTime": now, "reason": "",
                "message": "Kubernetes Service CIDR is ready"}),
            );
            if !held {
                steps.push(set(finalizers.into_iter().chain([json!(FINALIZER)]).collect()));
            }
        } else if held && is_needed(cidr, cidrs, addresses) {
            say(
                json!({"type": "Ready", "status": "False", "lastTransitionTime": now, "reason": "Terminating",
                "message": "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"}),
            );
        } else if held {
            let others = finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER);
            steps.push(set(others.collect()));
        }
    }
    steps
}

/// Whether an address is in the range and in no other that stays.
fn is_needed(cidr: &Value, all: &[Value], addresses: &[Value]) -> bool {
    let mut staying = cidr.clone();
    staying["metadata"]["deletionTimestamp"] = Value::Null;
    let own = offered(&staying);
    let others: Vec<_> = all.iter().flat_map(offered).collect();
    let names = addresses
        .iter()
        .filter_map(|address| address["metadata"]["name"].as_str());
    names.filter_map(|name| name.parse::<IpAddr>().ok()).any(|ip| {
        own.iter().any(|range| range.contains(ip)) && !others.iter().any(|range| range.contains(ip))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(name: &str, range: &str) -> Value {
        json!({"metadata": {"name": name, "resourceVersion": "7"}, "spec": {"cidrs": [range]}})
    }

    #[test]
    fn a_range_is_ready_and_held_and_goes_when_nobody_has_an_address_of_it() {
        let now = "2026-01-01T00:00:00Z";
        let mut new = cidr("a", "10.1.0.0/24");
        let first = plan(std::slice::from_ref(&new), &[], now);
        let [Step::Status(_, status), Step::Finalizers(_, version, finalizers)] = &first[..] else {
            panic!("{first:?}");
        };
        assert_eq!(status["conditions"][0]["status"], "True");
        assert_eq!((version, finalizers), (&json!("7"), &vec![json!(FINALIZER)]));
        new["status"] = status.clone();
        new["metadata"]["finalizers"] = json!(["example.com/other", FINALIZER]);
        assert_eq!(plan(std::slice::from_ref(&new), &[], now), []);
        let address = json!({"metadata": {"name": "10.1.0.9"}});
        new["metadata"]["deletionTimestamp"] = json!(now);
        let told = plan(std::slice::from_ref(&new), std::slice::from_ref(&address), now);
        let [Step::Status(_, status)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(status["conditions"][0]["reason"], "Terminating");
        new["status"] = status.clone();
        assert_eq!(
            plan(std::slice::from_ref(&new), std::slice::from_ref(&address), now),
            []
        );
        let freed = vec![Step::Finalizers(
            "a".to_owned(),
            json!("7"),
            vec![json!("example.com/other")],
        )];
        assert_eq!(plan(std::slice::from_ref(&new), &[], now), freed);
        let mut wider = cidr("b", "10.1.0.0/16");
        wider["metadata"]["finalizers"] = json!([FINALIZER]);
        wider["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(
            plan(&[new, wider], &[address], now),
            freed,
            "another range holds it"
        );
    }
}
