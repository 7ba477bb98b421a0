//! Which names a definition gets, and what its status says about it.
use serde_json::{Value, json};

const ESTABLISHED: &str = "Established";

/// Whether a definition's resource is served.
pub fn is_established(crd: &Value) -> bool {
    let conditions = crd["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|c| c["type"] == ESTABLISHED && c["status"] == "True")
    })
}

/// The status of a new definition, beside the others of its group: names are given to whoever comes first.
pub fn initial_status(crd: &Value, others: &[Value], now: &str) -> Value {
    let spec = &crd["spec"];
    let stored: Vec<&Value> = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| v["storage"] == true)
        .map(|v| &v["name"])
        .collect();
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        json!({"type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": now,
            "reason": reason, "message": message})
    };
    let (accepted, conditions) = match conflict(crd, others) {
        None => (
            spec["names"].clone(),
            [
                condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
                condition(
                    ESTABLISHED,
                    true,
                    "InitialNamesAccepted",
                    "the initial names have been accepted",
                ),
            ],
        ),
        Some((reason, name)) => (
            json!({"plural": "", "kind": ""}),
            [
                condition(
                    "NamesAccepted",
                    false,
                    reason,
                    &format!("{name:?} is already in use"),
                ),
                condition(ESTABLISHED, false, "NotAccepted", "not all names are accepted"),
            ],
        ),
    };
    json!({"conditions": conditions, "acceptedNames": accepted, "storedVersions": stored})
}

fn conflict(crd: &Value, others: &[Value]) -> Option<(&'static str, String)> {
    let spec = &crd["spec"];
    let own = &spec["names"];
    let taken = |key: &str| -> Vec<&Value> {
        others
            .iter()
            .filter(|other| other["spec"]["group"] == spec["group"])
            // One of the same name has just been deleted: it is gone, although not from every view yet.
            .filter(|other| other["metadata"]["name"] != crd["metadata"]["name"])
            .flat_map(|other| match &other["status"]["acceptedNames"][key] {
                Value::Array(names) => names.iter().collect(),
                name => vec![name],
            })
            .collect()
    };
    let resources: Vec<&Value> = ["plural", "singular", "shortNames"]
        .into_iter()
        .flat_map(taken)
        .collect();
    let kinds: Vec<&Value> = ["kind", "listKind"].into_iter().flat_map(taken).collect();
    let single = [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ];
    for (key, reason, taken) in single {
        if let Some(name) = own[key].as_str().filter(|n| taken.iter().any(|t| *t == n)) {
            return Some((reason, name.to_owned()));
        }
    }
    let mut short = own["shortNames"].as_array().into_iter().flatten();
    let name = short.find(|name| resources.contains(name))?;
    Some(("ShortNamesConflict", name.as_str().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(plural: &str, kind: &str) -> Value {
        json!({"metadata": {"name": format!("{plural}.g")}, "spec": {"group": "g", "names": {"plural": plural, "singular": plural, "kind": kind},
            "versions": [{"name": "v1", "storage": true}, {"name": "v2"}]}})
    }

    #[test]
    fn names_are_given_once() {
        let mut first = crd("widgets", "Widget");
        first["status"] = initial_status(&first, &[], "t");
        assert!(is_established(&first));
        assert_eq!(first["status"]["storedVersions"], json!(["v1"]));
        let others = [first];
        let mut second = crd("gadgets", "Widget");
        second["status"] = initial_status(&second, &others, "t");
        assert!(!is_established(&second));
        assert_eq!(second["status"]["conditions"][0]["reason"], "KindConflict");
        assert_eq!(
            second["status"]["conditions"][0]["message"],
            "\"Widget\" is already in use"
        );
        // The one that was deleted a moment ago is still seen when it is made again.
        let again = initial_status(&crd("widgets", "Widget"), &others, "t");
        assert_eq!(again["conditions"][0]["status"], "True");
    }
}
