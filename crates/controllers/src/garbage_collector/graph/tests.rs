//! What is to be looked at after changes.

use super::*;
use serde_json::json;

fn owner(uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "K".to_owned(),
        name: uid.to_owned(),
        uid: uid.to_owned(),
        block_owner_deletion: Some(true),
        controller: None,
    }
}

fn object(uid: &str, owners: &[&str], finalizers: &[&str], terminating: bool) -> ObjectMeta {
    let owners: Vec<OwnerReference> = owners.iter().map(|uid| owner(uid)).collect();
    let mut meta = json!({"name": uid, "uid": uid, "finalizers": finalizers, "ownerReferences": owners});
    if terminating {
        meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    serde_json::from_value(meta).unwrap()
}

/// No owner is known to be there.
fn nobody(_: &OwnerReference) -> Option<Arc<str>> {
    None
}

fn check(uid: &str) -> Task {
    Task::Check(uid.into())
}

#[test]
fn s11_dependents_are_checked_when_their_owner_goes() {
    let mut graph = Graph::default();
    assert_eq!(
        graph.applied(0, &object("pod", &["ds"], &[], false), nobody),
        [check("pod")],
        "is there such an owner?"
    );
    graph.found_alive(&owner("ds"), &"".into());
    assert!(
        graph
            .applied(0, &object("pod2", &["ds"], &[], false), nobody)
            .is_empty(),
        "it is known to be alive"
    );
    let mut tasks = graph.deleted("ds");
    tasks.sort_by_key(|task| format!("{task:?}"));
    assert_eq!(tasks, [check("pod"), check("pod2")]);
    assert!(!graph.is_alive("ds", ""));
    assert!(graph.was_deleted("ds") && !graph.was_deleted("pod"));
    graph.found_alive(&owner("ds"), &"".into());
    assert!(
        !graph.is_alive("ds", ""),
        "a look that began before the deletion isn't believed"
    );
}

#[test]
fn an_owner_is_none_to_objects_of_other_namespaces() {
    let mut graph = Graph::default();
    let of = |uid: &str, namespace: &str| ObjectMeta {
        namespace: Some(namespace.to_owned()),
        ..object(uid, &["set"], &[], false)
    };
    graph.found_alive(&owner("set"), &"here".into());
    assert!(graph.applied(0, &of("near", "here"), nobody).is_empty());
    assert_eq!(graph.applied(0, &of("far", "there"), nobody), [check("far")]);
    assert_eq!(graph.unsettled(), [check("far")]);
    assert!(graph.is_abroad("set", "there") && !graph.is_abroad("set", "here"));
}

#[test]
fn an_owner_of_the_right_uid_and_another_name_is_asked_for() {
    let mut graph = Graph::default();
    graph.found_alive(&owner("set"), &"".into());
    assert!(
        graph
            .applied(0, &object("right", &["set"], &[], false), nobody)
            .is_empty()
    );
    for (kind, name) in [("Other", "set"), ("K", "other")] {
        let mut wrong = object(&format!("{kind}-{name}"), &[], &[], false);
        wrong.owner_references = Some(vec![OwnerReference {
            kind: kind.to_owned(),
            name: name.to_owned(),
            ..owner("set")
        }]);
        assert_eq!(graph.applied(0, &wrong, nobody).len(), 1, "{kind} {name}");
    }
}

#[test]
fn u22_a_foreground_deleted_owner_waits_for_blocking_dependents() {
    let mut graph = Graph::default();
    graph.applied(0, &object("pod", &["ds"], &[], false), nobody);
    let tasks = graph.applied(1, &object("ds", &[], &[FOREGROUND], true), nobody);
    assert_eq!(tasks, [Task::Foreground("ds".into()), check("pod")]);
    assert_eq!(graph.blocking("ds"), ["pod".into()]);
    assert!(!graph.is_terminating("pod"));
    assert!(
        graph
            .applied(0, &object("pod", &["ds"], &[], true), nobody)
            .is_empty()
    );
    assert_eq!(graph.blocking("ds"), ["pod".into()], "it is waited for");
    assert!(graph.is_terminating("pod"), "without another look at it");
    assert_eq!(graph.deleted("pod"), [Task::Foreground("ds".into())]);
    assert!(graph.blocking("ds").is_empty());
}

#[test]
fn u21_an_orphaning_owner_lets_its_dependents_go() {
    let mut graph = Graph::default();
    graph.applied(0, &object("pod", &["ds"], &[], false), nobody);
    assert_eq!(
        graph.applied(1, &object("ds", &[], &[ORPHAN], true), nobody),
        [Task::Orphan("ds".into())]
    );
    graph.applied(0, &object("pod", &[], &[], false), nobody);
    assert_eq!(graph.dependents_are("ds"), Dependents::None);
}

#[test]
fn what_was_there_when_its_owner_let_go_is_known_afterwards() {
    let mut graph = Graph::default();
    graph.applied(1, &object("ds", &[], &[ORPHAN], true), nobody);
    graph.deleted("ds");
    let at = |second: &str| serde_json::from_value(json!(format!("2026-01-01T00:00:{second}Z"))).unwrap();
    let at_once = object("ds", &[], &[], true).deletion_timestamp.unwrap();
    assert!(graph.let_go("ds", &at_once));
    assert!(
        !graph.let_go("ds", &at("01")),
        "nothing is made for it afterwards"
    );
    graph.applied(1, &object("other", &[], &[FOREGROUND], true), nobody);
    graph.deleted("other");
    assert!(!graph.let_go("other", &at_once), "it took what it had with it");
}

#[test]
fn a_dependent_that_waits_itself_is_told() {
    let mut graph = Graph::default();
    graph.applied(0, &object("a", &["b"], &[], false), nobody);
    assert_eq!(graph.dependents_are("b"), Dependents::There);
    graph.applied(0, &object("a", &["b"], &[FOREGROUND], true), nobody);
    assert_eq!(graph.dependents_are("b"), Dependents::Waiting);
}

#[test]
fn objects_without_owners_are_not_remembered() {
    let mut graph = Graph::default();
    assert!(
        graph
            .applied(0, &object("alone", &[], &[], false), nobody)
            .is_empty()
    );
    assert!(graph.deleted("alone").is_empty());
    assert!(graph.entries.is_empty() && !graph.was_deleted("alone"));
}
