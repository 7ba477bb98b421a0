//! LimitRanges: what containers get that say nothing, and what containers, pods and claims may ask for (contract
//! api-server §17). Texts are upstream's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, PodSpec, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::resources::{Resources, amounts, container_limits, container_requests};
use crate::quantity::{Amount, amount};

/// Where a pod says what it was given.
pub const ANNOTATION: &str = "kubernetes.io/limit-ranger";

type Quantities = BTreeMap<String, Quantity>;

fn items(range: &LimitRange) -> &[LimitRangeItem] {
    range.spec.as_ref().map_or(&[], |spec| &spec.limits)
}

/// Gives each container of a pod what it leaves open, and notes that in an annotation.
pub fn give_defaults(range: &LimitRange, pod: &mut Pod) {
    let of_containers = || items(range).iter().filter(|item| item.type_ == "Container");
    let collect = |pick: fn(&LimitRangeItem) -> &Option<Quantities>| -> Quantities {
        of_containers()
            .flat_map(|item| pick(item).clone().unwrap_or_default())
            .collect()
    };
    let requests = collect(|item| &item.default_request);
    let limits = collect(|item| &item.default);
    let Some(spec) = &mut pod.spec else { return };
    let mut notes = Vec::new();
    let main = spec.containers.iter_mut().map(|c| ("container", c));
    let init = spec.init_containers.iter_mut().flatten();
    for (sort, container) in main.chain(init.map(|c| ("init container", c))) {
        if requests.is_empty() && limits.is_empty() {
            break;
        }
        let Container { name, resources, .. } = container;
        let resources = resources.get_or_insert_default();
        for (word, defaults, own) in [
            ("request", &requests, &mut resources.requests),
            ("limit", &limits, &mut resources.limits),
        ] {
            let given = fill(own, defaults);
            if !given.is_empty() {
                notes.push(format!("{} {word} for {sort} {name}", given.join(", ")));
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION.to_owned(), note);
    }
}

/// Names of what was filled in, sorted.
fn fill<'d>(own: &mut Option<Quantities>, defaults: &'d Quantities) -> Vec<&'d str> {
    let mut given = Vec::new();
    for (resource, quantity) in defaults {
        let own = own.get_or_insert_default();
        if !own.contains_key(resource) {
            own.insert(resource.clone(), quantity.clone());
            given.push(resource.as_str());
        }
    }
    given
}

/// What a pod asks for that the range doesn't allow.
pub fn pod_problems(range: &LimitRange, spec: &PodSpec) -> Vec<String> {
    let mut problems = Problems::default();
    let resources = |c: &Container| c.resources.clone().unwrap_or_default();
    for item in items(range) {
        match item.type_.as_str() {
            "Container" => {
                let init = crate::pod::init_containers(spec);
                for container in spec.containers.iter().chain(init) {
                    let ResourceRequirements { requests, limits, .. } = resources(container);
                    problems.check(item, &amounts(requests.as_ref()), &amounts(limits.as_ref()));
                }
            }
            "Pod" => problems.check(item, &container_requests(spec), &container_limits(spec)),
            _ => {}
        }
    }
    problems.sorted()
}

/// What a claim asks for that the range doesn't allow.
pub fn claim_problems(range: &LimitRange, claim: &PersistentVolumeClaim) -> Vec<String> {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = amounts(resources.and_then(|r| r.requests.as_ref()));
    let mut problems = Problems::default();
    for item in items(range) {
        if item.type_ == "PersistentVolumeClaim" {
            problems.at_least(item, &requests, &Resources::new());
            for (resource, bound) in item.max.iter().flatten() {
                let bound = amount(bound);
                let said = match requests.get(resource) {
                    None => "  No request is specified".to_owned(),
                    Some(request) if *request > bound => format!(", but request is {request}"),
                    Some(_) => continue,
                };
                problems.bound("maximum", item, resource, bound, &said);
            }
        }
    }
    problems.sorted()
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    /// One text for each problem: whoever reads it wants to read it once, and in the same order each time.
    fn sorted(mut self) -> Vec<String> {
        self.0.sort_unstable();
        self.0.dedup();
        self.0
    }

    fn check(&mut self, item: &LimitRangeItem, requests: &Resources, limits: &Resources) {
        self.at_least(item, requests, limits);
        self.at_most(item, requests, limits);
        self.ratio(item, requests, limits);
    }

    /// `said` begins with a comma, or with the spaces of a new sentence.
    fn bound(&mut self, word: &str, item: &LimitRangeItem, resource: &str, bound: Amount, said: &str) {
        let stop = if said.starts_with(',') { "" } else { "." };
        self.0.push(format!(
            "{word} {resource} usage per {} is {bound}{stop}{said}",
            item.type_
        ));
    }

    fn at_least(&mut self, item: &LimitRangeItem, requests: &Resources, limits: &Resources) {
        for (resource, bound) in item.min.iter().flatten() {
            let bound = amount(bound);
            let said = match (requests.get(resource), limits.get(resource)) {
                (None, _) => "  No request is specified".to_owned(),
                (Some(request), _) if bound > *request => format!(", but request is {request}"),
                (_, Some(limit)) if bound > *limit => format!(", but limit is {limit}"),
                _ => continue,
            };
            self.bound("minimum", item, resource, bound, &said);
        }
    }

    fn at_most(&mut self, item: &LimitRangeItem, requests: &Resources, limits: &Resources) {
        for (resource, bound) in item.max.iter().flatten() {
            let bound = amount(bound);
            let said = match (limits.get(resource), requests.get(resource)) {
                (None, _) => "  No limit is specified".to_owned(),
                (Some(limit), _) if *limit > bound => format!(", but limit is {limit}"),
                (_, Some(request)) if *request > bound => format!(", but request is {request}"),
                _ => continue,
            };
            self.bound("maximum", item, resource, bound, &said);
        }
    }

    fn ratio(&mut self, item: &LimitRangeItem, requests: &Resources, limits: &Resources) {
        let some = |map: &Resources, resource: &str| map.get(resource).copied().filter(|a| !a.is_zero());
        for (resource, bound) in item.max_limit_request_ratio.iter().flatten() {
            let bound = amount(bound);
            let said = match (some(requests, resource), some(limits, resource)) {
                (None, _) => "no request is specified or request is 0".to_owned(),
                (_, None) => "no limit is specified or limit is 0".to_owned(),
                (Some(request), Some(limit)) => {
                    let ratio = limit.nanos() as f64 / request.nanos() as f64;
                    if ratio <= bound.approximate() {
                        continue;
                    }
                    format!("provided ratio is {ratio:.6}")
                }
            };
            self.0.push(format!(
                "{resource} max limit to request ratio per {} is {bound}, but {said}",
                item.type_
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::summary;
    use serde_json::{Value, json};

    fn range(limits: Value) -> LimitRange {
        serde_json::from_value(json!({"spec": {"limits": limits}})).unwrap()
    }

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn asks(requests: Value, limits: Value) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]})
    }

    #[test]
    fn containers_get_what_they_leave_open_and_the_pod_says_so() {
        let range = range(
            json!([{"type": "Container", "default": {"cpu": "300m", "memory": "200Mi"},
            "defaultRequest": {"cpu": "200m", "memory": "100Mi"}}, {"type": "Pod", "max": {"cpu": "1"}}]),
        );
        let mut given = pod(json!({
            "containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1m"}, "limits": {"cpu": "2"}}}],
            "initContainers": [{"name": "i"}]}));
        give_defaults(&range, &mut given);
        assert_eq!(
            given.metadata.annotations.as_ref().unwrap()[ANNOTATION],
            "LimitRanger plugin set: cpu, memory request for container a; cpu, memory limit for container a; \
             memory request for container b; memory limit for container b; \
             cpu, memory request for init container i; cpu, memory limit for init container i"
        );
        let spec = given.spec.as_ref().unwrap();
        let resources = spec.containers[1].resources.as_ref().unwrap();
        assert_eq!(resources.requests.as_ref().unwrap()["cpu"].0, "1m");
        assert_eq!(resources.limits.as_ref().unwrap()["memory"].0, "200Mi");
        let before = given.clone();
        give_defaults(&range, &mut given);
        assert_eq!(given, before, "nothing is open any more");
        let mut untouched = pod(json!({"containers": [{"name": "a"}]}));
        give_defaults(&super::tests::range(json!([])), &mut untouched);
        assert_eq!(untouched, pod(json!({"containers": [{"name": "a"}]})));
    }

    #[test]
    fn bounds_of_containers() {
        let min = json!({"type": "Container", "min": {"cpu": "100m"}});
        let max = json!({"type": "Container", "max": {"memory": "1Gi"}});
        let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
        for (limits, spec, want) in [
            (
                &min,
                asks(json!({}), json!({})),
                "minimum cpu usage per Container is 100m.  No request is specified",
            ),
            (
                &min,
                asks(json!({"cpu": "50m"}), json!({"cpu": "1"})),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                &min,
                asks(json!({"cpu": "100m"}), json!({"cpu": "0.05"})),
                "minimum cpu usage per Container is 100m, but limit is 50m",
            ),
            (&min, asks(json!({"cpu": "0.1"}), json!({})), ""),
            (
                &max,
                asks(json!({}), json!({})),
                "maximum memory usage per Container is 1Gi.  No limit is specified",
            ),
            (
                &max,
                asks(json!({}), json!({"memory": "2Gi"})),
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
            ),
            (
                &max,
                asks(json!({"memory": "1025Mi"}), json!({"memory": "1Gi"})),
                "maximum memory usage per Container is 1Gi, but request is 1025Mi",
            ),
            (&max, asks(json!({}), json!({"memory": "1024Mi"})), ""),
            (
                &ratio,
                asks(json!({}), json!({"cpu": "1"})),
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ),
            (
                &ratio,
                asks(json!({"cpu": "1"}), json!({"cpu": "0"})),
                "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
            ),
            (
                &ratio,
                asks(json!({"cpu": "300m"}), json!({"cpu": "1"})),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 3.333333",
            ),
            (&ratio, asks(json!({"cpu": "500m"}), json!({"cpu": "1"})), ""),
        ] {
            let found = pod_problems(&range(json!([limits])), pod(spec.clone()).spec.as_ref().unwrap());
            assert_eq!(found.join("|"), want, "{limits} {spec}");
        }
    }

    #[test]
    fn a_pods_containers_count_together_and_all_problems_are_told_once() {
        let range = range(json!([
            {"type": "Pod", "max": {"cpu": "2"}, "min": {"memory": "10Mi"}},
            {"type": "Container", "max": {"cpu": "1"}}]));
        let one =
            json!({"name": "a", "resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": "1500m"}}});
        let found = pod_problems(
            &range,
            pod(json!({"containers": [one, one]})).spec.as_ref().unwrap(),
        );
        assert_eq!(
            summary(&found),
            "[maximum cpu usage per Container is 1, but limit is 1500m, \
             maximum cpu usage per Pod is 2, but limit is 3, \
             minimum memory usage per Pod is 10Mi.  No request is specified]"
        );
        assert_eq!(
            summary(&found[..1]),
            "maximum cpu usage per Container is 1, but limit is 1500m"
        );
    }

    #[test]
    fn bounds_of_claims() {
        let range = range(
            json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]),
        );
        for (request, want) in [
            (json!({"storage": "1Gi"}), ""),
            (
                json!({"storage": "512Mi"}),
                "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi",
            ),
            (
                json!({"storage": "3Gi"}),
                "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi",
            ),
            (
                json!({}),
                "maximum storage usage per PersistentVolumeClaim is 2Gi.  No request is specified|\
                 minimum storage usage per PersistentVolumeClaim is 1Gi.  No request is specified",
            ),
        ] {
            let claim =
                serde_json::from_value(json!({"spec": {"resources": {"requests": request}}})).unwrap();
            assert_eq!(claim_problems(&range, &claim).join("|"), want, "{request}");
        }
    }
}
