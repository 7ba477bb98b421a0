//! Creating, changing and deleting, by the API's rules.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use orlop_api::annotations::DAEMON_TEMPLATE_GENERATION;
use orlop_api::{defaults, patch};
use serde_json::{Value, json};

use super::Refusal;
use super::kinds::{DAEMON_SETS, NODES, PODS};
use super::store::{Actor, Contents, Key, Store};

pub type Answer = Result<Value, Refusal>;

/// What a deletion asks for.
#[derive(Debug, Default, Clone)]
pub struct Deletion {
    pub uid: Option<String>,
    pub version: Option<String>,
    pub grace_seconds: Option<i64>,
    pub propagation: Option<String>,
}

/// How a patch is to be understood.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    Strategic,
    Merge,
}

fn now() -> Value {
    // Seconds, as the API has them.
    let seconds = Timestamp::now().as_second();
    json!(Timestamp::from_second(seconds).unwrap().to_string())
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn is_deleted(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

fn finalizers(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}

impl Store {
    pub fn create(&self, by: Actor, key: &Key, mut object: Value) -> Answer {
        let mut contents = self.lock();
        let mut key = key.clone();
        key.name = match (
            text(&object, "/metadata/name"),
            text(&object, "/metadata/generateName"),
        ) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => format!("{prefix}{}", self.suffix()),
            (None, None) => return Err(Refusal::new(422, "Invalid", "name or generateName is required")),
        };
        if contents.objects.contains_key(&key) {
            let message = format!("{} \"{}\" already exists", key.kind.resource(), key.name);
            return Err(Refusal::new(409, "AlreadyExists", message));
        }
        contents.uids += 1;
        object["apiVersion"] = json!(key.kind.api_version());
        object["kind"] = json!(key.kind.kind);
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        if key.kind.namespaced {
            metadata["namespace"] = json!(key.namespace);
        }
        metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", contents.uids));
        metadata["creationTimestamp"] = now();
        if !object["spec"].is_null() {
            object["metadata"]["generation"] = json!(1);
        }
        let object = if key.kind == &PODS {
            new_pod(object)
        } else if key.kind == &NODES {
            new_node(object)
        } else if key.kind == &DAEMON_SETS {
            object["status"] = Value::Null;
            daemon_set(object, 1)
        } else {
            object
        };
        Ok((*self.commit(&mut contents, by, key, Some(object))).clone())
    }

    pub fn get(&self, key: &Key) -> Answer {
        self.lock()
            .get(key)
            .map(|object| (**object).clone())
            .ok_or_else(|| Refusal::not_found(key))
    }

    pub fn replace(&self, by: Actor, key: &Key, part: Option<&str>, object: Value) -> Answer {
        let mut contents = self.lock();
        self.write(&mut contents, by, key, part, object)
    }

    pub fn patch(&self, by: Actor, key: &Key, part: Option<&str>, form: Form, change: &Value) -> Answer {
        let mut contents = self.lock();
        let old = contents
            .get(key)
            .cloned()
            .ok_or_else(|| Refusal::not_found(key))?;
        if let Some(uid) = text(change, "/metadata/uid")
            && text(&old, "/metadata/uid") != Some(uid)
        {
            return Err(Refusal::new(
                422,
                "Invalid",
                "metadata.uid: Invalid value: field is immutable",
            ));
        }
        let patched = match form {
            Form::Strategic => patch::strategic(key.kind.kind, &old, change)
                .map_err(|error| Refusal::new(422, "Invalid", format!("{error:?}")))?,
            Form::Merge => {
                let mut patched = (*old).clone();
                patch::merge(&mut patched, change);
                patched
            }
        };
        self.write(&mut contents, by, key, part, patched)
    }

    /// Puts `new` in the place of what is there, or only its part that is a subresource.
    fn write(&self, contents: &mut Contents, by: Actor, key: &Key, part: Option<&str>, new: Value) -> Answer {
        let old = contents
            .get(key)
            .cloned()
            .ok_or_else(|| Refusal::not_found(key))?;
        let known = |field: &str| text(&old, &format!("/metadata/{field}"));
        let given = |field: &str| text(&new, &format!("/metadata/{field}"));
        for field in ["resourceVersion", "uid"] {
            if given(field).is_some() && given(field) != known(field) {
                return Err(Refusal::conflict(key));
            }
        }
        let mut object = (*old).clone();
        if part == Some("status") {
            object["status"] = new["status"].clone();
            for field in ["labels", "annotations"] {
                object["metadata"][field] = new["metadata"][field].clone();
            }
        } else {
            object = new;
            object["status"] = old["status"].clone();
            for field in [
                "uid",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "generation",
                "resourceVersion",
            ] {
                object["metadata"][field] = old["metadata"][field].clone();
            }
        }
        drop_nulls(&mut object);
        let controllers = object["metadata"]["ownerReferences"]
            .as_array()
            .map_or(0, |owners| {
                owners.iter().filter(|owner| owner["controller"] == true).count()
            });
        if controllers > 1 {
            let message = "metadata.ownerReferences: Only one reference can have Controller set to true";
            return Err(Refusal::new(422, "Invalid", message));
        }
        if key.kind == &DAEMON_SETS && part.is_none() {
            object = daemon_set_changed(&old, object);
        } else if object["spec"] != old["spec"] && !object["metadata"]["generation"].is_null() {
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        if object == *old {
            return Ok(object);
        }
        let graceful = old["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or(0)
            > 0;
        if is_deleted(&object) && finalizers(&object) == 0 && !graceful {
            return Ok((*self.commit(contents, by, key.clone(), None)).clone());
        }
        Ok((*self.commit(contents, by, key.clone(), Some(object))).clone())
    }

    pub fn delete(&self, by: Actor, key: &Key, deletion: &Deletion) -> Answer {
        let mut contents = self.lock();
        let old = contents
            .get(key)
            .cloned()
            .ok_or_else(|| Refusal::not_found(key))?;
        let fails = |wanted: &Option<String>, field: &str| {
            wanted.is_some() && wanted.as_deref() != text(&old, &format!("/metadata/{field}"))
        };
        if fails(&deletion.uid, "uid") || fails(&deletion.version, "resourceVersion") {
            return Err(Refusal::conflict(key));
        }
        let mut object = (*old).clone();
        let mut held: Vec<Value> = object["metadata"]["finalizers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        match deletion.propagation.as_deref() {
            Some("Foreground") => held.push(json!("foregroundDeletion")),
            Some("Orphan") => held.push(json!("orphan")),
            _ => {}
        }
        held.sort_by_key(ToString::to_string);
        held.dedup();
        let grace = if key.kind == &PODS {
            pod_grace(&old, deletion.grace_seconds)
        } else {
            0
        };
        if held.is_empty() && grace == 0 {
            return Ok((*self.commit(&mut contents, by, key.clone(), None)).clone());
        }
        let running_out = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
        if is_deleted(&old) && running_out.is_some_and(|left| left <= grace) {
            return Ok((*old).clone());
        }
        if !is_deleted(&object) {
            object["metadata"]["deletionTimestamp"] = now();
            if let Some(generation) = object["metadata"]["generation"].as_i64() {
                object["metadata"]["generation"] = json!(generation + 1);
            }
        }
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if !held.is_empty() {
            object["metadata"]["finalizers"] = json!(held);
        }
        Ok((*self.commit(&mut contents, by, key.clone(), Some(object))).clone())
    }

    pub fn bind(&self, by: Actor, key: &Key, binding: &Value) -> Answer {
        let mut contents = self.lock();
        let old = contents
            .get(key)
            .cloned()
            .ok_or_else(|| Refusal::not_found(key))?;
        let uid = text(binding, "/metadata/uid");
        let taken = text(&old, "/spec/nodeName").is_some() || is_deleted(&old);
        if taken || uid.is_some_and(|uid| text(&old, "/metadata/uid") != Some(uid)) {
            return Err(Refusal::conflict(key));
        }
        let mut pod = (*old).clone();
        pod["spec"]["nodeName"] = binding["target"]["name"].clone();
        let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now()});
        let conditions = json!({"status": {"conditions": [scheduled]}});
        let pod = patch::strategic("Pod", &pod, &conditions).unwrap();
        self.commit(&mut contents, by, key.clone(), Some(pod));
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
    }
}

/// The grace that a pod has: none if nothing of it can be running.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let unbound = text(pod, "/spec/nodeName").is_none();
    let ended = matches!(text(pod, "/status/phase"), Some("Failed" | "Succeeded"));
    if unbound || ended {
        return 0;
    }
    asked
        .or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30)
}

fn new_pod(object: Value) -> Value {
    let mut pod: Pod = serde_json::from_value(object).unwrap();
    defaults::typed(&mut pod, defaults::pod).unwrap();
    let mut pod = serde_json::to_value(&pod).unwrap();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["status"] = json!({"phase": "Pending"});
    pod
}

fn new_node(mut node: Value) -> Value {
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.push(json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}));
    node["spec"]["taints"] = json!(taints);
    node
}

/// With defaults and this template generation.
fn daemon_set(object: Value, template_generation: i64) -> Value {
    let mut set: DaemonSet = serde_json::from_value(object).unwrap();
    defaults::typed(&mut set, defaults::daemon_set).unwrap();
    set.metadata.annotations.get_or_insert_default().insert(
        DAEMON_TEMPLATE_GENERATION.to_owned(),
        template_generation.to_string(),
    );
    let mut set = serde_json::to_value(&set).unwrap();
    set["apiVersion"] = json!("apps/v1");
    set["kind"] = json!("DaemonSet");
    drop_nulls(&mut set);
    set
}

fn daemon_set_changed(old: &Value, new: Value) -> Value {
    let at = |object: &Value| {
        object["metadata"]["annotations"][DAEMON_TEMPLATE_GENERATION]
            .as_str()
            .and_then(|text| text.parse::<i64>().ok())
            .unwrap_or(1)
    };
    let mut new = daemon_set(new, at(old));
    if new["spec"] != old["spec"] {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        new["metadata"]["generation"] = json!(generation + 1);
        if new["spec"]["template"] != old["spec"]["template"] {
            return daemon_set(new, at(old) + 1);
        }
    }
    new
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
