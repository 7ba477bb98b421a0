//! ConversionReview (apiextensions.k8s.io): what a webhook is asked, and which answers count. Pure.
use serde_json::{Map, Value, json};

const KIND: &str = "ConversionReview";
/// What a webhook may change of an object's metadata.
const CHANGEABLE: &[&str] = &["labels", "annotations"];

/// The version of the review that a webhook understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V1Beta1,
}

impl Version {
    /// The first of `conversionReviewVersions` that is known here.
    pub fn of(versions: &Value) -> Option<Self> {
        let mut named = versions.as_array()?.iter().filter_map(Value::as_str);
        named.find_map(|version| match version {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "apiextensions.k8s.io/v1",
            Self::V1Beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }
}

/// The review that asks for `objects` in the form of `desired`.
pub fn request(version: Version, uid: &str, desired: &str, objects: &[Value]) -> Value {
    json!({
        "kind": KIND,
        "apiVersion": version.api_version(),
        "request": {"uid": uid, "desiredAPIVersion": desired, "objects": objects},
    })
}

/// The objects of an answer.
///
/// # Errors
/// It is none, or says that objects could not be converted: why, in upstream's words.
pub fn read(answer: &mut Value, version: Version, uid: &str) -> Result<Vec<Value>, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
    let strict = version == Version::V1;
    if strict && (api_version != version.api_version() || kind != KIND) {
        return Err(format!(
            "expected webhook response of {}, Kind={KIND}, got {api_version}, Kind={kind}",
            version.api_version()
        ));
    }
    let response = &mut answer["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    if strict && response["uid"] != uid {
        return Err(format!(
            "expected response.uid={uid:?}, got {:?}",
            text(&response["uid"])
        ));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        return Err(match text(&result["message"]) {
            message if message.is_empty() => format!(
                "response.result.status was '{}', not 'Success'",
                text(&result["status"])
            ),
            message => message,
        });
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// An object as the webhook made it of `original`, with the metadata that is not for webhooks to change.
///
/// # Errors
/// It is not the same object in the desired form.
pub fn accept(original: &Value, mut converted: Value, desired: &str) -> Result<Value, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&converted["apiVersion"]);
    if version != desired {
        return Err(format!(
            "invalid groupVersion (expected {desired}, received {version})"
        ));
    }
    for (key, what) in [("kind", "kind")] {
        if converted[key] != original[key] {
            return Err(format!(
                "invalid {what} (expected {}, received {})",
                text(&original[key]),
                text(&converted[key])
            ));
        }
    }
    for (key, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (
            text(&original["metadata"][key]),
            text(&converted["metadata"][key]),
        );
        if before != after {
            return Err(format!("must have the same {what}: {before} != {after}"));
        }
    }
    let Value::Object(changed) = converted["metadata"].take() else {
        return Err("missing metadata in converted object".to_owned());
    };
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_default();
    for key in CHANGEABLE {
        metadata.remove(*key);
        if let Some(value) = changed.get(*key).filter(|value| !value.is_null()) {
            metadata.insert((*key).to_owned(), texts(key, value)?);
        }
    }
    converted["metadata"] = Value::Object(metadata);
    Ok(converted)
}

fn texts(key: &str, value: &Value) -> Result<Value, String> {
    let members = value.as_object().map(Map::values);
    let texts = members.is_some_and(|mut values| values.all(Value::is_string));
    if !texts {
        return Err(format!("invalid metadata of type {key} in converted object"));
    }
    Ok(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_that_both_know_is_spoken() {
        for (versions, expected) in [
            (json!(["v2", "v1beta1", "v1"]), Some(Version::V1Beta1)),
            (json!(["v1"]), Some(Version::V1)),
            (json!(["v2"]), None),
            (Value::Null, None),
        ] {
            assert_eq!(Version::of(&versions), expected, "{versions}");
        }
    }

    #[test]
    fn answers_that_do_not_fit_are_refused() {
        let answer = |response: Value| json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
        let good = json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [1]});
        for (mut given, expected) in [
            (answer(good.clone()), Ok(1)),
            (answer(Value::Null), Err("no response provided")),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "response": good}),
                Err(
                    "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v1, Kind=Pod",
                ),
            ),
            (
                answer(json!({"uid": "x", "result": {"status": "Success"}})),
                Err("expected response.uid=\"u\", got \"x\""),
            ),
            (
                answer(json!({"uid": "u", "result": {"status": "Failure", "message": "no"}})),
                Err("no"),
            ),
            (
                answer(json!({"uid": "u", "result": {"status": "Odd"}})),
                Err("response.result.status was 'Odd', not 'Success'"),
            ),
        ] {
            let got = read(&mut given, Version::V1, "u").map(|objects| objects.len());
            assert_eq!(got, expected.map_err(str::to_owned));
        }
        // The older form was never checked for these.
        let mut older = json!({"response": {"result": {"status": "Success"}, "convertedObjects": []}});
        assert_eq!(read(&mut older, Version::V1Beta1, "u"), Ok(Vec::new()));
    }

    #[test]
    fn only_labels_and_annotations_of_the_metadata_are_the_webhooks() {
        let original = json!({"apiVersion": "e.io/v1", "kind": "W", "spec": {"a": 1},
            "metadata": {"name": "w", "uid": "u", "labels": {"old": "1"}, "finalizers": ["e.io/f"], "generation": 3}});
        let converted = json!({"apiVersion": "e.io/v2", "kind": "W", "spec": {"b": 1},
            "metadata": {"name": "w", "uid": "u", "labels": {"new": "1"}, "finalizers": [], "generation": 9}});
        let accepted = accept(&original, converted.clone(), "e.io/v2").unwrap();
        assert_eq!(
            accepted["metadata"],
            json!({"name": "w", "uid": "u", "labels": {"new": "1"}, "finalizers": ["e.io/f"], "generation": 3})
        );
        assert_eq!(accepted["spec"], json!({"b": 1}));
        type Change = fn(&mut Value);
        let wrong: &[(Change, &str)] = &[
            (
                |o| o["apiVersion"] = json!("e.io/v3"),
                "invalid groupVersion (expected e.io/v2, received e.io/v3)",
            ),
            (
                |o| o["kind"] = json!("X"),
                "invalid kind (expected W, received X)",
            ),
            (
                |o| o["metadata"]["name"] = json!("x"),
                "must have the same name: w != x",
            ),
            (
                |o| o["metadata"]["uid"] = json!("x"),
                "must have the same UID: u != x",
            ),
            (
                |o| o["metadata"]["namespace"] = json!("x"),
                "must have the same namespace:  != x",
            ),
            (
                |o| o["metadata"]["labels"] = json!({"a": 1}),
                "invalid metadata of type labels in converted object",
            ),
        ];
        for (change, expected) in wrong {
            let mut other = converted.clone();
            change(&mut other);
            assert_eq!(accept(&original, other, "e.io/v2"), Err((*expected).to_owned()));
        }
    }
}
