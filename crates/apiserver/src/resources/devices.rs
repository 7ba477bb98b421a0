//! `resource.k8s.io`: devices that drivers offer and pods claim.
use super::definition::{Field, Read, Resource, STATUS};
use super::meaning::{fill, items_at};
use super::rules::{Rules, StatusMetadata};
use super::validation::list;
use crate::registry::now;
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const GROUP: &str = "resource.k8s.io";
/// Upstream's limits.
const REQUESTS_MAX: usize = 32;
const SUB_REQUESTS_MAX: usize = 8;
const DEVICES_MAX: usize = 128;
const RESERVED_MAX: usize = 256;

const GENERIC: Rules = Rules {
    delete_answers_object: true,
    ..Rules::GENERIC
};

pub const DEVICECLASSES: Resource = Resource::new(GROUP, "deviceclasses", "deviceclass", "DeviceClass")
    .cluster_scoped()
    .with_rules(Rules {
        generation: true,
        validate_create: validate_class,
        validate_update: |new, _| validate_class(new),
        ..GENERIC
    });

pub const RESOURCECLAIMS: Resource = Resource::new(GROUP, "resourceclaims", "resourceclaim", "ResourceClaim")
    .with_subresources(&[STATUS])
    .with_rules(Rules {
        status_metadata: StatusMetadata::Kept,
        default: |claim| default_claim(&mut claim["spec"]),
        prepare_create: |claim| claim["status"] = json!({}),
        validate_create: |claim| validate_claim(&claim["spec"], "spec"),
        validate_update: |new, old| unchanged(new, old),
        prepare_status: drop_given_back,
        validate_status,
        ..GENERIC
    });

pub const RESOURCECLAIMTEMPLATES: Resource = Resource::new(
    GROUP,
    "resourceclaimtemplates",
    "resourceclaimtemplate",
    "ResourceClaimTemplate",
)
.with_rules(Rules {
    default: |template| default_claim(&mut template["spec"]["spec"]),
    validate_create: |template| validate_claim(&template["spec"]["spec"], "spec.spec"),
    validate_update: unchanged,
    ..GENERIC
});

pub const RESOURCESLICES: Resource = Resource::new(GROUP, "resourceslices", "resourceslice", "ResourceSlice")
    .cluster_scoped()
    .with_fields(&[
        Field {
            name: "spec.nodeName",
            read: Read::Text("/spec/nodeName"),
        },
        Field {
            name: "spec.driver",
            read: Read::Text("/spec/driver"),
        },
    ])
    .with_rules(Rules {
        generation: true,
        default: default_slice,
        validate_create: validate_slice,
        validate_update: validate_slice_update,
        ..GENERIC
    });

/// A request is for one device unless it says otherwise.
fn default_claim(spec: &mut Value) {
    for request in items_at(spec, "/devices/requests") {
        if request["exactly"].is_object() {
            default_request(&mut request["exactly"]);
        }
        items_at(request, "/firstAvailable").for_each(default_request);
    }
}

fn default_request(request: &mut Value) {
    fill(request, "allocationMode", || json!("ExactCount"));
    if request["allocationMode"] == "ExactCount" {
        fill(request, "count", || json!(1));
    }
    for toleration in items_at(request, "/tolerations") {
        fill(toleration, "operator", || json!("Equal"));
    }
}

/// A taint without a time was added now.
fn default_slice(slice: &mut Value) {
    for device in items_at(slice, "/spec/devices") {
        for taint in items_at(device, "/taints") {
            fill(taint, "timeAdded", || json!(now()));
        }
    }
}

fn required(object: &Value, member: &str, field: &str) -> Option<Cause> {
    let is_missing = object[member].as_str().is_none_or(str::is_empty);
    is_missing.then(|| cause::required(&format!("{field}.{member}"), ""))
}

/// Names of a list's items are there, and each once.
fn names(items: &[Value], field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let field = format!("{field}[{at}]");
        causes.extend(required(item, "name", &field));
        if seen.contains(&&item["name"]) {
            causes.push(cause::duplicate(&format!("{field}.name"), &item["name"]));
        }
        seen.push(&item["name"]);
    }
    causes
}

fn validate_class(class: &Value) -> Vec<Cause> {
    validate_selectors(&class["spec"], "spec")
}

fn validate_selectors(of: &Value, field: &str) -> Vec<Cause> {
    let selectors = list(of, "selectors");
    let field = format!("{field}.selectors");
    let mut causes: Vec<Cause> = cause::too_many(&field, selectors.len(), REQUESTS_MAX)
        .into_iter()
        .collect();
    for (at, selector) in selectors.iter().enumerate() {
        if selector["cel"].is_null() {
            causes.push(cause::required(&format!("{field}[{at}].cel"), ""));
        } else {
            causes.extend(required(
                &selector["cel"],
                "expression",
                &format!("{field}[{at}].cel"),
            ));
        }
    }
    causes
}

fn validate_claim(spec: &Value, field: &str) -> Vec<Cause> {
    let field = format!("{field}.devices.requests");
    let requests = list(&spec["devices"], "requests");
    let mut causes: Vec<Cause> = cause::too_many(&field, requests.len(), REQUESTS_MAX)
        .into_iter()
        .collect();
    causes.extend(names(requests, &field));
    for (at, request) in requests.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let choices = list(request, "firstAvailable");
        match (request["exactly"].is_object(), choices.is_empty()) {
            (true, false) => causes.push(cause::invalid(
                &field,
                request,
                "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            )),
            (false, true) => causes.push(cause::required(
                &field,
                "exactly one of `exactly` or `firstAvailable` is required",
            )),
            (true, true) => causes.extend(validate_request(&request["exactly"], &format!("{field}.exactly"))),
            (false, false) => {
                let field = format!("{field}.firstAvailable");
                causes.extend(cause::too_many(&field, choices.len(), SUB_REQUESTS_MAX));
                causes.extend(names(choices, &field));
                for (at, choice) in choices.iter().enumerate() {
                    causes.extend(validate_request(choice, &format!("{field}[{at}]")));
                }
            }
        }
    }
    causes
}

fn validate_request(request: &Value, field: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = required(request, "deviceClassName", field).into_iter().collect();
    causes.extend(validate_selectors(request, field));
    let count = request["count"].as_i64().unwrap_or_default();
    match request["allocationMode"].as_str().unwrap_or_default() {
        "ExactCount" if count <= 0 => causes.push(cause::invalid(
            &format!("{field}.count"),
            &json!(count),
            "must be greater than zero",
        )),
        "All" if count != 0 => causes.push(cause::invalid(
            &format!("{field}.count"),
            &json!(count),
            "must not be specified when allocationMode is 'All'",
        )),
        "ExactCount" | "All" => {}
        other => causes.push(cause::unsupported(
            &format!("{field}.allocationMode"),
            other,
            &["All", "ExactCount"],
        )),
    }
    causes
}

/// What is asked for stays: others have decided by it.
fn unchanged(new: &Value, old: &Value) -> Vec<Cause> {
    let is_other = new["spec"] != old["spec"];
    let told = || cause::invalid("spec", &new["spec"], "field is immutable");
    is_other.then(told).into_iter().collect()
}

/// What names a device: its driver, pool and name, and of one that is shared out, which share.
fn device_id(of: &Value) -> [&Value; 4] {
    ["driver", "pool", "device", "shareID"].map(|member| &of[member])
}

fn allocated(claim: &Value) -> Vec<[&Value; 4]> {
    let results = list(&claim["status"]["allocation"]["devices"], "results");
    results.iter().map(device_id).collect()
}

/// What drivers have said of a device goes when it is given back.
fn drop_given_back(new: &mut Value, old: &Value) {
    let before = allocated(old);
    let now: Vec<[Value; 4]> = allocated(new)
        .into_iter()
        .map(|id| id.map(Value::clone))
        .collect();
    let Some(devices) = new["status"]["devices"].as_array_mut() else {
        return;
    };
    devices.retain(|device| {
        let id = device_id(device);
        !before.contains(&id) || now.iter().any(|other| other.each_ref() == id)
    });
    if devices.is_empty()
        && let Some(status) = new["status"].as_object_mut()
    {
        status.remove("devices");
    }
}

/// Drivers speak of devices that the claim has, once of each.
fn validate_devices(claim: &Value) -> Vec<Cause> {
    let has = allocated(claim);
    let mut causes = Vec::new();
    let mut seen = Vec::new();
    for (at, device) in list(&claim["status"], "devices").iter().enumerate() {
        let field = format!("status.devices[{at}]");
        for member in ["driver", "pool", "device"] {
            causes.extend(required(device, member, &field));
        }
        let id = device_id(device);
        let shown = json!(
            id.map(|part| part.as_str().unwrap_or_default())
                .join("/")
                .trim_end_matches('/')
        );
        if seen.contains(&id) {
            causes.push(cause::duplicate(&field, &shown));
        } else if !has.contains(&id) {
            let why = "must be an allocated device in the claim";
            causes.push(cause::invalid(&field, &shown, why));
        }
        seen.push(id);
    }
    causes
}

/// What was allocated stays until it is given back, which nobody can who reserves it.
fn validate_status(new: &Value, old: &Value) -> Vec<Cause> {
    let (status, before) = (&new["status"], &old["status"]);
    let mut causes = Vec::new();
    let reserved = list(status, "reservedFor");
    causes.extend(cause::too_many(
        "status.reservedFor",
        reserved.len(),
        RESERVED_MAX,
    ));
    for (at, consumer) in reserved.iter().enumerate() {
        let field = format!("status.reservedFor[{at}]");
        for member in ["resource", "name", "uid"] {
            causes.extend(required(consumer, member, &field));
        }
    }
    if status["allocation"].is_null() && !reserved.is_empty() {
        let why = "may not be specified when `allocated` is not set";
        causes.push(cause::forbidden("status.reservedFor", why));
    }
    if !before["allocation"].is_null()
        && !status["allocation"].is_null()
        && status["allocation"] != before["allocation"]
    {
        causes.push(cause::invalid(
            "status.allocation",
            &status["allocation"],
            "field is immutable",
        ));
    }
    causes.extend(validate_devices(new));
    causes
}

fn validate_slice(slice: &Value) -> Vec<Cause> {
    let spec = &slice["spec"];
    let mut causes: Vec<Cause> = required(spec, "driver", "spec").into_iter().collect();
    causes.extend(required(&spec["pool"], "name", "spec.pool"));
    if spec["pool"]["resourceSliceCount"].as_i64().unwrap_or_default() <= 0 {
        causes.push(cause::invalid(
            "spec.pool.resourceSliceCount",
            &spec["pool"]["resourceSliceCount"],
            "must be greater than zero",
        ));
    }
    let is_set = |member: &&&str| match &spec[**member] {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    const PLACES: [&str; 4] = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    const ONE_OF: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match PLACES.iter().filter(is_set).count() {
        0 => causes.push(cause::required("spec", ONE_OF)),
        1 => {}
        _ => causes.push(cause::invalid(
            "spec",
            spec,
            &format!("{ONE_OF}, but multiple fields are set"),
        )),
    }
    let devices = list(spec, "devices");
    causes.extend(cause::too_many("spec.devices", devices.len(), DEVICES_MAX));
    causes.extend(names(devices, "spec.devices"));
    causes
}

fn validate_slice_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_slice(new);
    for pointer in ["/spec/driver", "/spec/pool/name", "/spec/nodeName"] {
        let (now, was) = (new.pointer(pointer), old.pointer(pointer));
        if now != was {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            causes.push(cause::invalid(
                &field,
                now.unwrap_or(&Value::Null),
                "field is immutable",
            ));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    #[test]
    fn a_claim_asks_for_one_device_of_a_class_unless_it_says_more() {
        let mut claim = json!({"spec": {"devices": {"requests": [
            {"name": "a", "exactly": {"deviceClassName": "c", "tolerations": [{"key": "k"}]}},
            {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "c", "allocationMode": "All"}]}]}}});
        default_claim(&mut claim["spec"]);
        let requests = &claim["spec"]["devices"]["requests"];
        let exactly = &requests[0]["exactly"];
        assert_eq!(
            (&exactly["allocationMode"], &exactly["count"]),
            (&json!("ExactCount"), &json!(1))
        );
        assert_eq!(exactly["tolerations"][0]["operator"], "Equal");
        assert_eq!(requests[1]["firstAvailable"][0].get("count"), None);
        assert!(validate_claim(&claim["spec"], "spec").is_empty());
    }

    #[test]
    fn a_claim_that_cannot_be_met_is_refused() {
        let claim = |requests: Value| {
            let mut spec = json!({"devices": {"requests": requests}});
            default_claim(&mut spec);
            shown(&validate_claim(&spec, "spec"))
        };
        assert_eq!(
            claim(json!([{"name": "a", "exactly": {"deviceClassName": "c", "count": -1}}, {"name": "a"}])),
            [
                "spec.devices.requests[1].name: Duplicate value: \"a\"",
                "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero",
                "spec.devices.requests[1]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ]
        );
        assert_eq!(
            claim(json!([{"name": "a", "exactly": {"allocationMode": "Some", "selectors": [{}]}}])),
            [
                "spec.devices.requests[0].exactly.deviceClassName: Required value",
                "spec.devices.requests[0].exactly.selectors[0].cel: Required value",
                "spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
            ]
        );
    }

    #[test]
    fn an_allocation_stays_until_it_is_given_back() {
        let claim = |status: Value| json!({"spec": {}, "status": status});
        let allocated = claim(json!({"allocation": {"devices": {}}}));
        let consumer = json!({"resource": "pods", "name": "p", "uid": "u"});
        let reserved = claim(json!({"allocation": {"devices": {}}, "reservedFor": [consumer]}));
        assert!(validate_status(&reserved, &allocated).is_empty());
        assert!(validate_status(&claim(json!({})), &allocated).is_empty());
        assert_eq!(
            shown(&validate_status(
                &claim(json!({"reservedFor": [consumer]})),
                &reserved
            )),
            ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]
        );
        let other = claim(json!({"allocation": {"devices": {"results": []}}}));
        assert_eq!(validate_status(&other, &allocated)[0].field, "status.allocation");
    }

    #[test]
    fn drivers_speak_of_devices_that_the_claim_has() {
        let result = |share: Value| json!({"driver": "d", "pool": "p", "device": "x", "shareID": share});
        let claim = |results: Value, devices: Value| json!({"status": {"allocation": {"devices": {"results": results}}, "devices": devices}});
        let whole = json!({"driver": "d", "pool": "p", "device": "x"});
        let had = claim(
            json!([whole, result(json!("s1"))]),
            json!([whole, result(json!("s1"))]),
        );
        assert!(validate_devices(&had).is_empty());
        let odd = claim(
            json!([whole]),
            json!([whole, whole, {"driver": "d", "pool": "p"}]),
        );
        assert_eq!(
            shown(&validate_devices(&odd)),
            [
                "status.devices[1]: Duplicate value: \"d/p/x\"",
                "status.devices[2].device: Required value",
                "status.devices[2]: Invalid value: \"d/p\": must be an allocated device in the claim",
            ]
        );
        let mut less = had.clone();
        less["status"]["allocation"]["devices"]["results"] = json!([whole]);
        drop_given_back(&mut less, &had);
        assert_eq!(less["status"]["devices"], json!([whole]));
        let mut none = had.clone();
        none["status"]["allocation"] = Value::Null;
        drop_given_back(&mut none, &had);
        assert_eq!(none["status"].get("devices"), None);
    }

    #[test]
    fn a_slice_says_where_its_devices_are() {
        let slice = |more: Value| {
            let mut spec = json!({"driver": "d.example.com", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            json!({"spec": spec})
        };
        assert!(validate_slice(&slice(json!({"nodeName": "n", "devices": [{"name": "a"}]}))).is_empty());
        assert_eq!(
            shown(&validate_slice(&slice(
                json!({"devices": [{"name": "a"}, {"name": "a"}]})
            ))),
            [
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
                "spec.devices[1].name: Duplicate value: \"a\"",
            ]
        );
        let moved = validate_slice_update(&slice(json!({"nodeName": "m"})), &slice(json!({"nodeName": "n"})));
        assert_eq!(
            shown(&moved),
            ["spec.nodeName: Invalid value: \"m\": field is immutable"]
        );
    }
}
