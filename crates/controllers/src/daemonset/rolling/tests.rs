//! Rolling updates, pass by pass.
use super::super::options::{self, Updates};
use super::super::testing::{choice, names, nodes, now, pod};
use super::*;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

fn current() -> Current<'static> {
    Current {
        hash: "new",
        generation: Some("2"),
        min_ready_seconds: 0,
        now: now(),
    }
}

fn deletes(max_unavailable: usize, nodes: &[NodeChoice], pods: &[Pod]) -> Vec<String> {
    names(&with(&Options::default(), max_unavailable, 0, nodes, pods).delete)
}

fn with(
    options: &Options,
    max_unavailable: usize,
    max_surge: usize,
    nodes: &[NodeChoice],
    pods: &[Pod],
) -> Replacements {
    let number = |number: usize| IntOrString::Int(i32::try_from(number).unwrap());
    let strategy = Strategy::Rolling {
        max_unavailable: number(max_unavailable),
        max_surge: number(max_surge),
    };
    let desired = nodes.iter().filter(|node| node.run).count();
    replace(
        &current(),
        options,
        &strategy,
        desired,
        nodes,
        &PodsByNode::new(pods),
    )
}

fn surge(max_surge: usize, nodes: &[NodeChoice], pods: &[Pod]) -> (Vec<String>, Vec<String>) {
    let plan = with(&Options::default(), 0, max_surge, nodes, pods);
    (
        plan.create.iter().map(ToString::to_string).collect(),
        names(&plan.delete),
    )
}

fn old(node: &str) -> Pod {
    pod(&format!("old-{node}")).on(node).ready().build()
}

fn new(node: &str) -> Pod {
    pod(&format!("new-{node}"))
        .on(node)
        .hash("new")
        .ready()
        .age(5)
        .build()
}

#[test]
fn u03_rounds_of_two_delete_two_two_and_one() {
    let nodes = nodes(FIVE);
    let mut pods: Vec<Pod> = FIVE.iter().map(|node| old(node)).collect();
    assert_eq!(deletes(2, &nodes, &pods), ["old-a", "old-b"]);
    pods.drain(..2);
    assert!(deletes(2, &nodes, &pods).is_empty(), "two nodes are empty");
    pods.extend([new("a"), new("b")]);
    assert_eq!(deletes(2, &nodes, &pods), ["old-c", "old-d"]);
    pods.drain(..2);
    pods.extend([new("c"), new("d")]);
    assert_eq!(deletes(2, &nodes, &pods), ["old-e"]);
}

#[test]
fn u04_new_pods_that_stay_unready_stop_the_update() {
    let pods = [pod("new-a").on("a").hash("new").build(), old("b"), old("c")];
    assert!(deletes(1, &nodes(["a", "b", "c"]), &pods).is_empty());
}

#[test]
fn u05_unready_old_pods_are_all_deleted_whatever_the_limit() {
    let pods: Vec<Pod> = FIVE.iter().map(|node| pod(node).on(node).build()).collect();
    assert_eq!(deletes(3, &nodes(FIVE), &pods), FIVE);
}

#[test]
fn u06_healthy_old_pods_stay_while_broken_new_ones_use_up_the_limit() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n:02}")).collect();
    let nodes: Vec<NodeChoice> = names.iter().map(|name| choice(name, true, true)).collect();
    let broken = |name: &str| pod(name).on(name).hash("broken").build();
    let pods: Vec<Pod> = names[..10]
        .iter()
        .map(|n| broken(n))
        .chain(names[10..].iter().map(|n| old(n)))
        .collect();
    assert_eq!(deletes(10, &nodes, &pods), names[..10], "only the broken ones");
    let with_eleven = deletes(11, &nodes, &pods);
    assert_eq!(with_eleven.len(), 11, "one healthy old pod goes: {with_eleven:?}");
}

#[test]
fn u07_pods_of_the_current_template_are_not_touched() {
    let by_generation = {
        let mut view = pod("p").on("a").ready().build().object.clone();
        Arc::make_mut(&mut view.labels).insert(POD_TEMPLATE_GENERATION.into(), "2".into());
        Arc::new(orlop_client::informer::Cached {
            key: orlop_client::informer::ObjectKey::new("ns", "p"),
            uid: "p".into(),
            resource_version: 1,
            object: view,
        })
    };
    assert!(deletes(1, &nodes(["a"]), &[by_generation]).is_empty());
}

#[test]
fn u09_surge_rounds_create_before_they_delete() {
    let nodes = nodes(FIVE);
    let mut pods: Vec<Pod> = FIVE.iter().map(|node| old(node)).collect();
    assert_eq!(surge(2, &nodes, &pods), (vec!["a".into(), "b".into()], vec![]));
    pods.extend([new("a"), new("b")]);
    assert_eq!(
        surge(2, &nodes, &pods),
        (vec!["c".into(), "d".into()], vec!["old-a".into(), "old-b".into()])
    );
    pods.drain(..2);
    pods.extend([new("c"), new("d")]);
    assert_eq!(
        surge(2, &nodes, &pods),
        (vec!["e".into()], vec!["old-c".into(), "old-d".into()])
    );
    pods.drain(..2);
    pods.push(new("e"));
    assert_eq!(surge(2, &nodes, &pods), (vec![], vec!["old-e".into()]));
}

#[test]
fn u10_an_unready_old_pod_gets_its_new_one_beyond_the_limit() {
    let pods = [
        old("a"),
        pod("old-b").on("b").build(),
        pod("old-c").on("c").build(),
    ];
    let (mut creates, _) = surge(1, &nodes(["a", "b", "c"]), &pods);
    creates.sort();
    assert_eq!(creates, ["a", "b", "c"]);
}

#[test]
fn u13_pods_leaving_a_node_group_wait_for_the_others() {
    // `y` is left, `s` is in both groups, `z` is new.
    let nodes = [
        choice("s", true, true),
        choice("y", false, true),
        choice("z", true, true),
    ];
    let pods = [old("s"), old("y")];
    assert_eq!(
        surge(1, &nodes, &pods),
        (vec!["s".into()], vec![]),
        "2 available, 2 desired"
    );
    let pods = [new("s"), new("z"), old("y")];
    assert_eq!(surge(1, &nodes, &pods).1, ["old-y"]);
    let nodes = [choice("s", false, true), choice("y", false, true)];
    assert_eq!(surge(1, &nodes, &[old("s"), old("y")]).1, ["old-s", "old-y"]);
}

/// Options from annotations, as users write them.
fn annotated(annotations: &[(&str, &str)]) -> Options {
    let set = serde_json::json!({"metadata": {"annotations": annotations.iter().copied().collect::<std::collections::BTreeMap<_, _>>()}});
    Options::of(&serde_json::from_value(set).unwrap())
}

#[test]
fn nodes_that_are_not_ready_hold_an_advanced_update_up_for_nobody() {
    let mut nodes = nodes(FIVE);
    for dead in [0, 1] {
        nodes[dead].ready = false;
    }
    let pods = [
        pod("old-a").on("a").build(),
        pod("old-b").on("b").terminating().build(),
        old("c"),
        old("d"),
        old("e"),
    ];
    assert_eq!(deletes(2, &nodes, &pods), ["old-a"], "upstream waits for a and b");
    let options = annotated(&[
        (options::UPDATE_STRATEGY, "AdvancedRollingUpdate"),
        (options::MAX_UNAVAILABLE, "2"),
    ]);
    assert_eq!(options.updates, Updates::Advanced);
    let plan = with(&options, 1, 0, &nodes, &pods);
    assert_eq!(names(&plan.delete), ["old-c", "old-d"]);
    assert!(plan.down.is_empty());
}

#[test]
fn a_strict_budget_holds_for_broken_old_pods_too() {
    let pods: Vec<Pod> = FIVE.iter().map(|node| pod(node).on(node).build()).collect();
    let strict = annotated(&[(options::STRICT_BUDGET, "true")]);
    assert_eq!(
        names(&with(&strict, 2, 0, &nodes(FIVE), &pods).delete),
        ["a", "b"]
    );
    let surging = with(&strict, 0, 2, &nodes(FIVE), &pods).create;
    assert_eq!(surging.len(), 2, "maxSurge holds for them as well");
    let pods = [
        new("a"),
        pod("new-b").on("b").hash("new").build(),
        pods[2].clone(),
        old("d"),
    ];
    let nodes = nodes(["a", "b", "c", "d"]);
    assert!(
        with(&strict, 1, 0, &nodes, &pods).delete.is_empty(),
        "b is being replaced"
    );
    assert_eq!(names(&with(&strict, 2, 0, &nodes, &pods).delete), ["c"]);
}

#[test]
fn partition_pause_and_selector_keep_old_pods() {
    let pods: Vec<Pod> = FIVE.iter().map(|node| old(node)).collect();
    let mut nodes = nodes(FIVE);
    let plan = with(&annotated(&[(options::PARTITION, "60%")]), 5, 0, &nodes, &pods);
    assert_eq!(
        (names(&plan.delete), plan.kept),
        (vec!["old-a".to_owned(), "old-b".into()], 3)
    );
    let plan = with(&annotated(&[(options::PARTITION, "4")]), 0, 5, &nodes, &pods);
    assert_eq!(plan.create.len(), 1);
    assert!(
        with(&annotated(&[(options::PAUSED, "true")]), 5, 0, &nodes, &pods)
            .delete
            .is_empty()
    );
    nodes[0].update = false;
    nodes[2].update = false;
    let plan = with(&annotated(&[(options::SELECTOR, "zone=b")]), 2, 0, &nodes, &pods);
    assert_eq!(names(&plan.delete), ["old-b", "old-d"]);
}
