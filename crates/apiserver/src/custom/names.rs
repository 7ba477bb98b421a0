//! Which names a definition gets, and what its status says about it.
use crate::resources::approval_condition;
use orlop_api::conditions::{condition, is_true};
use serde_json::{Value, json};

const ESTABLISHED: &str = "Established";

/// Whether a definition's resource is served.
pub fn is_established(crd: &Value) -> bool {
    is_true(crd, ESTABLISHED)
}

/// Whether it wants names that another has.
pub fn are_refused(crd: &Value) -> bool {
    condition(crd, "NamesAccepted").is_some_and(|c| c["status"] == "False")
}

/// The names that a definition has, which no other of its group can have.
#[derive(Clone, Debug)]
pub struct Names {
    /// Of the definition.
    of: String,
    group: String,
    accepted: Value,
}

impl Names {
    pub fn of(crd: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            of: text(&crd["metadata"]["name"]),
            group: text(&crd["spec"]["group"]),
            accepted: crd["status"]["acceptedNames"].clone(),
        }
    }
}

/// The status of a definition beside the others of its group: names are given to whoever comes first, and who has them
/// keeps them.
pub fn status(crd: &Value, others: &[Names], now: &str) -> Value {
    let stored = crd["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<&Value> = stored
        .filter(|v| v["storage"] == true)
        .map(|v| &v["name"])
        .collect();
    let mut status = match &crd["status"] {
        status @ Value::Object(_) => status.clone(),
        _ => json!({}),
    };
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if !status["storedVersions"].is_array() {
        status["storedVersions"] = json!(stored);
    }
    let (accepted, conflict) = accepted(crd, others);
    status["acceptedNames"] = accepted;
    let (accepted, reason, message) = match &conflict {
        None => (true, "NoConflicts", "no conflicts found".to_owned()),
        Some((reason, name)) => (false, *reason, format!("{name:?} is already in use")),
    };
    let mut conditions = vec![("NamesAccepted", accepted, reason, message)];
    if let Some((approved, reason, message)) = approval_condition(crd) {
        conditions.push(("KubernetesAPIApprovalPolicyConformant", approved, reason, message));
    }
    if accepted && !is_established(crd) {
        let message = "the initial names have been accepted".to_owned();
        conditions.push((ESTABLISHED, true, "InitialNamesAccepted", message));
    } else if condition(crd, ESTABLISHED).is_none() {
        let message = "not all names are accepted".to_owned();
        conditions.push((ESTABLISHED, false, "NotAccepted", message));
    }
    for (kind, holds, reason, message) in conditions {
        let holds = if holds { "True" } else { "False" };
        set(&mut status["conditions"], kind, holds, reason, &message, now);
    }
    status
}

/// A condition as it is now; when it changed last is kept as long as it does not.
fn set(conditions: &mut Value, kind: &str, holds: &str, reason: &str, message: &str, now: &str) {
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    let new = |since: &Value| json!({"type": kind, "status": holds, "lastTransitionTime": since, "reason": reason, "message": message});
    match conditions.iter_mut().find(|c| c["type"] == kind) {
        Some(old) if old["status"] == holds => *old = new(&old["lastTransitionTime"]),
        Some(old) => *old = new(&json!(now)),
        None => conditions.push(new(&json!(now))),
    }
}

/// The names that a definition has, and what it cannot have: the reason, and a name.
fn accepted(crd: &Value, others: &[Names]) -> (Value, Option<(&'static str, String)>) {
    let spec = &crd["spec"];
    let (wanted, own) = (&spec["names"], &crd["status"]["acceptedNames"]);
    let taken = |key: &str| -> Vec<&Value> {
        others
            .iter()
            .filter(|other| spec["group"] == other.group.as_str())
            // One of the same name has just been deleted: it is gone, although not from every view yet.
            .filter(|other| crd["metadata"]["name"] != other.of.as_str())
            .flat_map(|other| match &other.accepted[key] {
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
    let mut accepted = match own {
        Value::Object(_) => own.clone(),
        _ => json!({"plural": "", "kind": ""}),
    };
    let mut conflict = None;
    for (key, reason, taken) in single {
        let name = &wanted[key];
        let is_others = name != &own[key] && taken.contains(&name);
        match name.as_str().filter(|name| !name.is_empty()) {
            Some(name) if is_others => conflict = conflict.or(Some((reason, name.to_owned()))),
            Some(name) => accepted[key] = json!(name),
            None => {}
        }
    }
    let has = |name: &Value| own["shortNames"].as_array().is_some_and(|own| own.contains(name));
    let mut short = wanted["shortNames"].as_array().into_iter().flatten();
    match short.find(|name| !has(name) && resources.contains(name)) {
        Some(name) => {
            let name = name.as_str().unwrap_or_default().to_owned();
            conflict = conflict.or(Some(("ShortNamesConflict", name)));
        }
        None => put(&mut accepted, "shortNames", &wanted["shortNames"]),
    }
    put(&mut accepted, "categories", &wanted["categories"]);
    (accepted, conflict)
}

fn put(names: &mut Value, key: &str, list: &Value) {
    match (list.is_array(), names.as_object_mut()) {
        (true, _) => names[key] = list.clone(),
        (false, Some(names)) => {
            names.remove(key);
        }
        (false, None) => {}
    }
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
        first["status"] = status(&first, &[], "t");
        assert!(is_established(&first));
        assert_eq!(first["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(first["status"]["acceptedNames"], first["spec"]["names"]);
        let others = [Names::of(&first)];
        let mut second = crd("gadgets", "Widget");
        second["status"] = status(&second, &others, "t");
        assert!(!is_established(&second));
        let conditions = &second["status"]["conditions"];
        assert_eq!(conditions[0]["reason"], "KindConflict");
        assert_eq!(conditions[0]["message"], "\"Widget\" is already in use");
        assert_eq!(conditions[1]["reason"], "NotAccepted");
        assert_eq!(
            second["status"]["acceptedNames"],
            json!({"plural": "gadgets", "singular": "gadgets", "kind": ""})
        );
        // The one that was deleted a moment ago is still seen when it is made again.
        let again = status(&crd("widgets", "Widget"), &others, "t");
        assert_eq!(again["conditions"][0]["status"], "True");
        // Once the other is gone, the second has what it wants.
        second["status"] = status(&second, &[], "later");
        assert!(is_established(&second));
        assert_eq!(second["status"]["conditions"][0]["lastTransitionTime"], "later");
        assert_eq!(second["status"]["acceptedNames"]["kind"], "Widget");
    }

    #[test]
    fn names_that_change_are_given_if_nobody_has_them() {
        let mut widgets = crd("widgets", "Widget");
        widgets["spec"]["names"]["shortNames"] = json!(["w"]);
        widgets["status"] = status(&widgets, &[], "t");
        let mut gadgets = crd("gadgets", "Gadget");
        gadgets["status"] = status(&gadgets, &[Names::of(&widgets)], "t");
        gadgets["spec"]["names"]["shortNames"] = json!(["g"]);
        gadgets["spec"]["names"]["categories"] = json!(["all"]);
        gadgets["status"] = status(&gadgets, &[Names::of(&widgets)], "t");
        assert_eq!(gadgets["status"]["acceptedNames"]["shortNames"], json!(["g"]));
        gadgets["spec"]["names"]["shortNames"] = json!(["g", "w"]);
        gadgets["status"] = status(&gadgets, &[Names::of(&widgets)], "t");
        // It keeps what it had, and is served on.
        assert_eq!(gadgets["status"]["acceptedNames"]["shortNames"], json!(["g"]));
        assert_eq!(gadgets["status"]["acceptedNames"]["categories"], json!(["all"]));
        assert_eq!(gadgets["status"]["conditions"][0]["reason"], "ShortNamesConflict");
        assert!(is_established(&gadgets));
    }

    #[test]
    fn apis_of_the_project_say_who_approved_them() {
        let mut crd = crd("widgets", "Widget");
        crd["spec"]["group"] = json!("widgets.k8s.io");
        for (given, holds, reason) in [
            (
                "https://github.com/kubernetes/kubernetes/pull/1",
                "True",
                "ApprovedAnnotation",
            ),
            ("unapproved, a trial", "False", "UnapprovedAnnotation"),
        ] {
            crd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": given});
            crd["status"] = status(&crd, &[], "t");
            let found = condition(&crd, "KubernetesAPIApprovalPolicyConformant").unwrap();
            assert_eq!(
                (found["status"].as_str(), found["reason"].as_str()),
                (Some(holds), Some(reason))
            );
        }
    }
}
