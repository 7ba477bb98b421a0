//! The bytes of a ControllerRevision's `data`, exactly as kubectl recomputes them, and the hash that
//! names the revision (contract §4.4).

use k8s_openapi::api::core::v1::PodTemplateSpec;
use orlop_api::wire;
use serde_json::{Map, Value, json};

/// Fields that the reference writes even when they are empty lists.
const LISTS_ALWAYS_PRESENT: [&str; 3] = ["containers", "nodeSelectorTerms", "sources"];
/// Maps that the reference leaves out when they are empty. Other empty objects mean something
/// (`emptyDir: {}`).
const MAPS_OMITTED_EMPTY: [&str; 7] = [
    "labels",
    "annotations",
    "nodeSelector",
    "matchLabels",
    "limits",
    "requests",
    "overhead",
];
/// Booleans that the reference leaves out when false. Others are pointers and keep their false.
const BOOLS_OMITTED_FALSE: [&str; 7] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
];

/// The patch that restores `template`, in canonical bytes.
pub fn of_template(template: &PodTemplateSpec) -> Result<String, serde_json::Error> {
    let mut template = serde_json::to_value(template)?;
    tidy(&mut template);
    if let Value::Object(fields) = &mut template {
        fields.insert("$patch".to_owned(), Value::from("replace"));
        if let Some(metadata) = fields
            .entry("metadata")
            .or_insert_with(|| json!({}))
            .as_object_mut()
        {
            metadata.remove("creationTimestamp");
        }
        if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
            for list in ["containers", "initContainers"] {
                for container in spec
                    .get_mut(list)
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    if let Some(container) = container.as_object_mut() {
                        container.entry("resources").or_insert_with(|| json!({}));
                    }
                }
            }
        }
    }
    Ok(canonical(&json!({"spec": {"template": template}})))
}

/// The bytes of a stored patch, comparable with those of a template: controller managers of before 1.34 wrote times of
/// creation that nothing has yet as null.
pub fn of_stored(mut patch: Value) -> String {
    drop_unset_times(&mut patch);
    canonical(&patch)
}

fn drop_unset_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "creationTimestamp" || !value.is_null());
            fields.values_mut().for_each(drop_unset_times);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unset_times),
        _ => {}
    }
}

/// Drops what the reference's encoder leaves out, adds what it always writes.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in fields.values_mut() {
                tidy(field);
            }
            fields.retain(|name, value| !is_omitted(name, value));
            if fields.contains_key("resource") && !fields.contains_key("divisor") && is_resource_field(fields)
            {
                fields.insert("divisor".to_owned(), Value::from("0"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn is_omitted(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty() && !LISTS_ALWAYS_PRESENT.contains(&name),
        Value::Object(fields) => fields.is_empty() && MAPS_OMITTED_EMPTY.contains(&name),
        Value::Bool(false) => BOOLS_OMITTED_FALSE.contains(&name),
        _ => false,
    }
}

/// Whether this is a ResourceFieldSelector rather than something else with a `resource`.
fn is_resource_field(fields: &Map<String, Value>) -> bool {
    fields
        .keys()
        .all(|name| name == "resource" || name == "containerName")
}

/// `value` as compact JSON with keys sorted bytewise and `<`, `>`, `&` and the two line separators
/// escaped, as Go does.
pub fn canonical(value: &Value) -> String {
    String::from_utf8(wire::json::encode_raw(value)).unwrap_or_default()
}

/// The name suffix and label of the revision with those bytes: up to ten letters that are safe in
/// labels and spell nothing. `collisions` makes another one when the name is taken.
pub fn hash(bytes: &str, collisions: Option<i32>) -> String {
    // Decimal digits to letters without vowels and without look-alikes.
    const LETTERS: [char; 10] = ['4', '5', '6', '7', '8', '9', 'b', 'c', 'd', 'f'];
    let mut input = bytes.as_bytes().to_vec();
    if let Some(collisions) = collisions {
        input.extend_from_slice(collisions.to_string().as_bytes());
    }
    let number = orlop_api::fnv::fnv1a32(&input).to_string();
    number
        .bytes()
        .map(|digit| LETTERS[usize::from(digit - b'0')])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract's example of §4.4.
    #[test]
    fn a_template_has_the_bytes_kubectl_recomputes() {
        let template = serde_json::from_value(json!({
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "app", "image": "p:1", "imagePullPolicy": "IfNotPresent",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "env": [], "tty": false}],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "securityContext": {}, "schedulerName": "default-scheduler", "nodeSelector": {}}}))
        .unwrap();
        assert_eq!(
            of_template(&template).unwrap(),
            r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"image":"p:1","imagePullPolicy":"IfNotPresent","name":"app","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}}"#
        );
    }

    /// Otherwise every pod of DaemonSets and StatefulSets is replaced when Orlop takes a cluster over.
    #[test]
    fn a_revision_of_an_older_controller_manager_is_that_of_its_template() {
        let template = serde_json::from_value(json!({
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "app", "image": "p:1"}],
                "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate":
                    {"metadata": {"labels": {"app": "x"}}, "spec": {}}}}]}}))
        .unwrap();
        let ours = of_template(&template).unwrap();
        let mut stored: Value = serde_json::from_str(&ours).unwrap();
        let template = &mut stored["spec"]["template"];
        template["metadata"]["creationTimestamp"] = Value::Null;
        template["spec"]["volumes"][0]["ephemeral"]["volumeClaimTemplate"]["metadata"]["creationTimestamp"] =
            Value::Null;
        assert_eq!(of_stored(stored), ours);
    }

    #[test]
    fn text_is_escaped_as_go_does() {
        let value = json!({"z": "a<b>&c", "a": ["\u{1}\u{2028}\n\"\\é"], "n": 1});
        assert_eq!(
            canonical(&value),
            "{\"a\":[\"\\u0001\\u2028\\n\\\"\\\\é\"],\"n\":1,\"z\":\"a\\u003cb\\u003e\\u0026c\"}"
        );
    }

    #[test]
    fn empty_directories_false_pointers_and_divisors_stay() {
        let template = serde_json::from_value(json!({"spec": {
            "automountServiceAccountToken": false,
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"resourceFieldRef":
                {"containerName": "c", "resource": "limits.cpu"}}}]}]}}))
        .unwrap();
        let bytes = of_template(&template).unwrap();
        assert!(
            bytes.contains(r#""automountServiceAccountToken":false"#),
            "{bytes}"
        );
        assert!(bytes.contains(r#"{"emptyDir":{},"name":"v"}"#), "{bytes}");
        assert!(
            bytes.contains(r#"{"containerName":"c","divisor":"0","resource":"limits.cpu"}"#),
            "{bytes}"
        );
        assert!(bytes.contains(r#""metadata":{}"#), "{bytes}");
    }

    #[test]
    fn u14_a_hash_is_short_label_safe_stable_and_changes_with_the_collision_count() {
        let hash_of = |collisions| hash("{}", collisions);
        assert_eq!(hash_of(None), hash_of(None));
        assert_ne!(hash_of(None), hash_of(Some(1)));
        assert_ne!(hash_of(Some(1)), hash_of(Some(2)));
        assert!((1..=10).contains(&hash_of(None).len()));
        assert!(hash_of(None).chars().all(|c| "456789bcdf".contains(c)));
        assert_eq!(
            hash("abc", None),
            "884f64775",
            "pinned: a new orlop must not roll every pod"
        );
    }
}
