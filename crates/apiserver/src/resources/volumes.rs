//! Volumes and what asks for them: what they are is settled once.
use super::definition::{Resource, STATUS};
use super::meaning::{amount, fill};
use super::rules::Rules;
use crate::registry::now;
use crate::status::{Cause, cause};
use serde_json::{Value, json};

const RULES: Rules = Rules {
    delete_answers_object: true,
    ..Rules::GENERIC
};

const MODES: &[&str] = &[
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

pub const PERSISTENTVOLUMECLAIMS: Resource = Resource::new(
    "",
    "persistentvolumeclaims",
    "persistentvolumeclaim",
    "PersistentVolumeClaim",
)
.short(&["pvc"])
.with_subresources(&[STATUS])
.with_rules(Rules {
    default: |claim| fill(&mut claim["spec"], "volumeMode", || json!("Filesystem")),
    prepare_create: |claim| claim["status"] = json!({"phase": "Pending"}),
    validate_create: validate_claim,
    validate_update: validate_claim_update,
    ..RULES
});

pub const PERSISTENTVOLUMES: Resource =
    Resource::new("", "persistentvolumes", "persistentvolume", "PersistentVolume")
        .cluster_scoped()
        .short(&["pv"])
        .with_subresources(&[STATUS])
        .with_rules(Rules {
            default: |volume| {
                fill(&mut volume["spec"], "persistentVolumeReclaimPolicy", || {
                    json!("Retain")
                });
                fill(&mut volume["spec"], "volumeMode", || json!("Filesystem"));
            },
            prepare_create: |volume| {
                volume["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now()});
            },
            prepare_status: |new, old| {
                if let Some(status) = new.get_mut("status") {
                    date_phase(status, &old["status"], now);
                }
            },
            validate_create: validate_volume,
            validate_update: validate_volume_update,
            ..RULES
        });

/// When a volume came into its phase: a change that isn't dated is one of now.
fn date_phase(new: &mut Value, old: &Value, now: fn() -> String) {
    const SINCE: &str = "lastPhaseTransitionTime";
    let changes = new["phase"] != old["phase"];
    let is_dated = !new[SINCE].is_null() && (!changes || new[SINCE] != old[SINCE]);
    if is_dated {
        return;
    }
    let since = if changes { json!(now()) } else { old[SINCE].clone() };
    if let Some(status) = new.as_object_mut().filter(|_| !since.is_null()) {
        status.insert(SINCE.to_owned(), since);
    }
}

fn validate_modes(spec: &Value, hint: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let modes: Vec<&str> = spec["accessModes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if modes.is_empty() {
        causes.push(cause::required("spec.accessModes", hint));
    }
    for mode in &modes {
        if !MODES.contains(mode) {
            causes.push(cause::unsupported("spec.accessModes", mode, MODES));
        }
    }
    if modes.len() > 1 && modes.contains(&"ReadWriteOncePod") {
        let why = "may not use ReadWriteOncePod with other access modes";
        causes.push(cause::forbidden("spec.accessModes", why));
    }
    let mode = spec["volumeMode"].as_str().unwrap_or("Filesystem");
    let known = ["Block", "Filesystem"];
    if !known.contains(&mode) {
        causes.push(cause::unsupported("spec.volumeMode", mode, &known));
    }
    causes
}

fn positive(field: &str, value: &Value) -> Option<Cause> {
    let amount = amount(value)?;
    (amount.is_zero() || amount.is_negative())
        .then(|| cause::invalid(field, value, "must be greater than zero"))
}

fn validate_claim(claim: &Value) -> Vec<Cause> {
    let spec = &claim["spec"];
    let mut causes = validate_modes(spec, "at least 1 access mode is required");
    let storage = &spec["resources"]["requests"]["storage"];
    if storage.is_null() {
        causes.push(cause::required("spec.resources[storage]", ""));
    }
    causes.extend(positive("spec.resources[storage]", storage));
    causes
}

/// What may change of a claim: how much it asks for, and where that counts the class of its attributes; whoever binds
/// it names the volume.
fn validate_claim_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_claim(new);
    let mut fixed = new["spec"].clone();
    let before = &old["spec"];
    let size = |claim: &Value| amount(&claim["spec"]["resources"]["requests"]["storage"]);
    let (now, was) = (size(new), size(old));
    let same_size = now.zip(was).is_some_and(|(now, was)| now == was);
    let bound = new["status"]["phase"] == "Bound";
    // Another way to write the same is no change.
    if (bound || same_size) && fixed["resources"]["requests"].is_object() {
        let before = &before["resources"]["requests"];
        put_back(&mut fixed["resources"]["requests"], before, "storage");
    }
    let class = |spec: &Value| spec["volumeAttributesClassName"].as_str().map(str::to_owned);
    if bound && class(&fixed).is_some() {
        put_back(&mut fixed, before, "volumeAttributesClassName");
    }
    if before["volumeName"].as_str().unwrap_or_default().is_empty() {
        put_back(&mut fixed, before, "volumeName");
    }
    // A claim without a class may get the default one later.
    if before["storageClassName"].is_null() {
        put_back(&mut fixed, before, "storageClassName");
    }
    if fixed != *before {
        causes.push(cause::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
    let granted = amount(&old["status"]["capacity"]["storage"]);
    if let (Some(now), Some(was)) = (now, was) {
        // A growth that failed may be taken back, as long as it stays above what there is.
        let enough = granted.is_some_and(|granted| now > granted);
        if now < was && !enough {
            let why = "field can not be less than status.capacity";
            causes.push(cause::forbidden("spec.resources.requests.storage", why));
        }
    }
    if class(before).is_some() {
        let why = match class(&new["spec"]).as_deref() {
            None => Some("update from non-nil value to nil is forbidden"),
            Some("") => Some("update from non-nil value to an empty string is forbidden"),
            Some(_) => None,
        };
        causes.extend(why.map(|why| cause::forbidden("spec.volumeAttributesClassName", why)));
    }
    causes
}

fn put_back(spec: &mut Value, old: &Value, member: &str) {
    let Some(spec) = spec.as_object_mut() else { return };
    match old.get(member) {
        Some(value) => spec.insert(member.to_owned(), value.clone()),
        None => spec.remove(member),
    };
}

/// What a volume is made of.
const SOURCES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

fn validate_volume(volume: &Value) -> Vec<Cause> {
    let spec = &volume["spec"];
    let mut causes = validate_modes(spec, "");
    let capacity = &spec["capacity"];
    let sizes = capacity.as_object().map_or(0, serde_json::Map::len);
    if sizes == 0 {
        causes.push(cause::required("spec.capacity", ""));
    } else if sizes > 1 || capacity["storage"].is_null() {
        let why = "supported values: \"storage\"";
        causes.push(Cause::new(
            "FieldValueNotSupported",
            "spec.capacity",
            format!("Unsupported value: {capacity}: {why}"),
        ));
    }
    causes.extend(positive("spec.capacity[storage]", &capacity["storage"]));
    let policy = spec["persistentVolumeReclaimPolicy"].as_str().unwrap_or_default();
    let policies = ["Delete", "Recycle", "Retain"];
    if !policies.contains(&policy) {
        causes.push(cause::unsupported(
            "spec.persistentVolumeReclaimPolicy",
            policy,
            &policies,
        ));
    }
    let sources = SOURCES.iter().filter(|source| spec[**source].is_object());
    for (at, source) in sources.clone().enumerate() {
        if at > 0 {
            let why = "may not specify more than 1 volume type";
            causes.push(cause::forbidden(&format!("spec.{source}"), why));
        }
    }
    if sources.count() == 0 {
        causes.push(cause::required("spec", "must specify a volume type"));
    }
    if spec["local"].is_object() && !spec["nodeAffinity"].is_object() {
        let why = "Local volume requires node affinity";
        causes.push(cause::required("metadata.annotations", why));
    }
    causes
}

fn validate_volume_update(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = validate_volume(new);
    let same = |member: &&&str| new["spec"][**member] == old["spec"][**member];
    if !SOURCES.iter().all(|source| same(&source)) {
        let why = "spec.persistentvolumesource is immutable after creation";
        causes.push(cause::forbidden("spec.persistentvolumesource", why));
    }
    if new["spec"]["volumeMode"] != old["spec"]["volumeMode"] {
        let mode = &new["spec"]["volumeMode"];
        causes.push(cause::invalid("spec.volumeMode", mode, "field is immutable"));
    }
    let affinity = &new["spec"]["nodeAffinity"];
    if !old["spec"]["nodeAffinity"].is_null() && *affinity != old["spec"]["nodeAffinity"] {
        causes.push(cause::invalid(
            "spec.nodeAffinity",
            affinity,
            "field is immutable",
        ));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cause::shown;

    #[test]
    fn claims_say_how_much_and_how() {
        let claim = |spec: Value| json!({"spec": spec});
        let whole = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        assert!(validate_claim(&claim(whole.clone())).is_empty());
        assert_eq!(
            shown(&validate_claim(&claim(json!({})))),
            [
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ]
        );
        let mut other = whole.clone();
        other["accessModes"] = json!(["ReadWriteMany"]);
        assert_eq!(
            shown(&validate_claim_update(&claim(other), &claim(whole.clone()))),
            [
                "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
            ]
        );
        let mut bound = whole.clone();
        bound["volumeName"] = json!("v");
        assert!(validate_claim_update(&claim(bound.clone()), &claim(whole.clone())).is_empty());
        let mut said_otherwise = whole.clone();
        said_otherwise["resources"]["requests"]["storage"] = json!("1024Mi");
        assert!(validate_claim_update(&claim(said_otherwise), &claim(whole.clone())).is_empty());
        bound["resources"]["requests"]["storage"] = json!("2Gi");
        assert_eq!(
            validate_claim_update(&claim(bound.clone()), &claim(whole.clone())).len(),
            1,
            "only what is bound grows"
        );
        let of = |spec: Value| json!({"spec": spec, "status": {"phase": "Bound"}});
        let mut small = bound.clone();
        small["resources"]["requests"]["storage"] = json!("1Gi");
        assert!(validate_claim_update(&of(bound.clone()), &of(small.clone())).is_empty());
        assert_eq!(
            shown(&validate_claim_update(&of(small), &of(bound))),
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
        );
    }

    #[test]
    fn a_volume_tells_since_when_it_is_in_its_phase() {
        let dated = |new: Value, old: Value| {
            let mut new = new;
            date_phase(&mut new, &old, || "now".to_owned());
            new
        };
        let of = |phase: &str, since: &str| json!({"phase": phase, "lastPhaseTransitionTime": since});
        let cases = [
            (
                json!({"phase": "Bound"}),
                of("Available", "then"),
                of("Bound", "now"),
            ),
            (of("Bound", "then"), of("Available", "then"), of("Bound", "now")),
            (
                of("Bound", "given"),
                of("Available", "then"),
                of("Bound", "given"),
            ),
            (
                json!({"phase": "Bound"}),
                of("Bound", "then"),
                of("Bound", "then"),
            ),
            (
                json!({"phase": "Bound"}),
                json!({"phase": "Bound"}),
                json!({"phase": "Bound"}),
            ),
        ];
        for (new, old, expected) in cases {
            assert_eq!(dated(new.clone(), old.clone()), expected, "{old} becomes {new}");
        }
    }

    #[test]
    fn volumes_are_of_one_sort() {
        let volume = |more: Value| {
            let mut volume = json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "persistentVolumeReclaimPolicy": "Retain"}});
            for (key, value) in more.as_object().unwrap() {
                volume["spec"][key] = value.clone();
            }
            volume
        };
        let path = || json!({"hostPath": {"path": "/x"}});
        assert!(validate_volume(&volume(path())).is_empty());
        assert_eq!(
            shown(&validate_volume(&volume(json!({})))),
            ["spec: Required value: must specify a volume type"]
        );
        assert_eq!(
            shown(&validate_volume(&volume(
                json!({"hostPath": {}, "nfs": {}, "capacity": {}})
            ))),
            [
                "spec.capacity: Required value",
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
            ]
        );
        let moved = volume(json!({"hostPath": {"path": "/y"}}));
        assert_eq!(
            shown(&validate_volume_update(&moved, &volume(path()))),
            [
                "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
            ]
        );
    }
}
