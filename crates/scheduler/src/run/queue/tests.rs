//! Who is tried when.

use std::cell::Cell;

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn seconds(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn higher_priority_goes_first_then_earlier_arrival() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("first"), &"u".into(), 0, None, false, now);
    queue.put(&key("second"), &"u".into(), 0, None, false, now);
    queue.put(&key("critical"), &"u".into(), 100, None, false, now);
    queue.put(&key("first"), &"u".into(), 0, None, false, now);
    let order: Vec<ObjectKey> = std::iter::from_fn(|| queue.next(now)).collect();
    assert_eq!(order, [key("critical"), key("first"), key("second")]);
}

#[test]
fn a_pod_waits_for_what_concerns_it_and_for_its_backoff() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.put(
        &key("pinned"),
        &"u".into(),
        0,
        Some(vec!["a".into()]),
        false,
        start,
    );
    assert_eq!(queue.next(start), Some(key("pinned")));
    queue.unschedulable(&key("pinned"), start);
    queue.takes_its_time(&key("pinned"));
    let lengths = |active, backing_off, waiting| Lengths {
        active,
        backing_off,
        waiting,
    };
    assert_eq!(queue.lengths(), lengths(0, 0, 1));
    assert_eq!(queue.past(&key("pinned")), Some((1, start)));
    assert_eq!(queue.next(seconds(start, 299)), None);
    queue.happened_on("b", seconds(start, 2));
    assert_eq!(
        queue.next(seconds(start, 2)),
        None,
        "another node doesn't concern it"
    );
    queue.happened_on("a", start);
    assert_eq!(queue.next(start), None, "its back-off isn't over");
    assert_eq!(queue.lengths(), lengths(0, 1, 0));
    assert_eq!(queue.next(seconds(start, 1)), Some(key("pinned")));
    assert_eq!(queue.lengths(), lengths(1, 0, 0));
    queue.unschedulable(&key("pinned"), seconds(start, 1));
    queue.takes_its_time(&key("pinned"));
    queue.happened_on("a", seconds(start, 2));
    assert_eq!(queue.next(seconds(start, 2)), None, "the second back-off is 2 s");
    assert_eq!(queue.next(seconds(start, 3)), Some(key("pinned")));
    queue.unschedulable(&key("pinned"), seconds(start, 3));
    assert_eq!(
        queue.next(seconds(start, 303)),
        Some(key("pinned")),
        "tried again after five minutes"
    );
}

#[test]
fn a_pod_that_may_fit_now_is_tried_before_its_time_where_nobody_else_is_to_be() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("waits"), &"u".into(), 5, None, false, start);
    assert_eq!(queue.next(start), Some(key("waits")));
    queue.unschedulable(&key("waits"), start);
    assert_eq!(queue.next(start), None, "nothing has happened");
    queue.happened_on("a", start);
    queue.put(&key("new"), &"u".into(), 0, None, false, start);
    assert_eq!(queue.next(start), Some(key("new")));
    assert_eq!(queue.next(start), Some(key("waits")));
    queue.unschedulable(&key("waits"), start);
    queue.happened_on("a", start);
    assert_eq!(queue.next(start), None, "not twice in a row");
    assert_eq!(queue.next(seconds(start, 2)), Some(key("waits")));
    queue.unschedulable(&key("waits"), seconds(start, 2));
    queue.happened_on("a", seconds(start, 2));
    assert_eq!(
        queue.next(seconds(start, 2)),
        Some(key("waits")),
        "its time had come since"
    );
    queue.forget(&key("waits"));
    assert!(queue.hasty.is_empty());
}

#[test]
fn whether_something_helps_is_asked_of_who_waits_and_of_nobody_who_backs_off() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("p"), &"u".into(), 0, None, false, start);
    queue.next(start);
    queue.unschedulable(&key("p"), start);
    let asked = Cell::new(0);
    for _ in 0..3 {
        queue.happened_on_for("a", start, |_| {
            asked.set(asked.get() + 1);
            true
        });
    }
    assert_eq!(asked.get(), 1);
    assert_eq!(queue.next(start), Some(key("p")));
}

#[test]
fn a_pod_that_an_error_befell_waits_for_its_time() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("p"), &"u".into(), 0, None, false, start);
    queue.next(start);
    queue.retry(&key("p"), start);
    queue.happened_on("a", start);
    assert_eq!(queue.next(start), None);
    assert_eq!(queue.next(seconds(start, 1)), Some(key("p")));
}

#[test]
fn a_pod_that_changes_while_it_is_tried_is_tried_again() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("p"), &"u".into(), 0, None, false, start);
    queue.next(start);
    queue.put(&key("p"), &"u".into(), 0, None, false, start);
    queue.unschedulable(&key("p"), start);
    assert_eq!(
        queue.waiters[&key("p")].state,
        State::BackingOff(start + BACKOFF_MIN)
    );
    assert_eq!(queue.past(&key("p")), Some((1, start)));
}

#[test]
fn another_pod_of_that_name_starts_afresh() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("p"), &"old".into(), 0, None, false, start);
    queue.next(start);
    queue.unschedulable(&key("p"), start);
    assert!(queue.has(&key("p"), "old") && !queue.has(&key("p"), "new"));
    let later = seconds(start, 5);
    queue.put(&key("p"), &"new".into(), 0, None, false, later);
    assert!(queue.has(&key("p"), "new") && !queue.has(&key("p"), "old"));
    assert_eq!(queue.past(&key("p")), Some((0, later)));
    assert_eq!(queue.next(later), Some(key("p")));
}

#[test]
fn whom_the_rules_of_others_keep_away_is_woken_by_what_happens_to_them_elsewhere() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("p"), &"u".into(), 0, Some(vec!["a".into()]), false, start);
    queue.next(start);
    queue.minds_others(&key("p"));
    queue.unschedulable(&key("p"), start);
    assert!(queue.happened_to_a_pod(seconds(start, 2)));
    assert_eq!(queue.next(seconds(start, 2)), Some(key("p")));
}

#[test]
fn what_happens_to_pods_wakes_only_those_who_mind() {
    let start = Instant::now();
    let mut queue = Queue::default();
    for (name, minds) in [("picky", true), ("plain", false)] {
        queue.put(&key(name), &"u".into(), 0, None, minds, start);
        queue.next(start);
        queue.unschedulable(&key(name), start);
    }
    assert!(queue.happened_to_a_pod(seconds(start, 2)));
    assert_eq!(queue.next(seconds(start, 2)), Some(key("picky")));
    assert_eq!(queue.next(seconds(start, 2)), None);
    queue.forget(&key("picky"));
    assert!(!queue.happened_to_a_pod(seconds(start, 3)) && queue.company.is_empty());
}

#[test]
fn what_happens_while_others_are_asked_about_a_pod_is_not_lost() {
    let start = Instant::now();
    let state_after = |confined_to: Option<Vec<Arc<str>>>, minds: bool, happens: fn(&mut Queue, Instant)| {
        let mut queue = Queue::default();
        queue.put(&key("p"), &"u".into(), 0, confined_to, minds, start);
        queue.next(start);
        queue.happened_on("a", start);
        queue.looked_for(&key("p"));
        happens(&mut queue, start);
        queue.unschedulable(&key("p"), start);
        assert_eq!(queue.past(&key("p")), Some((1, start)));
        queue.waiters[&key("p")].state
    };
    let waits = State::Waiting(start + WAIT_MAX);
    let backs_off = State::BackingOff(start + BACKOFF_MIN);
    let on_a = |queue: &mut Queue, now| queue.happened_on("a", now);
    let to_a_pod = |queue: &mut Queue, now| {
        queue.happened_to_a_pod(now);
    };
    let to_a_pod_that_keeps_it_away = |queue: &mut Queue, now| {
        queue.happened_to_a_pod(now);
        queue.minds_others(&key("p"));
    };
    let confined_to = |node: &str| Some(vec![node.into()]);
    assert_eq!(state_after(None, false, |_, _| {}), waits, "it was seen before");
    assert_eq!(state_after(None, false, on_a), backs_off);
    assert_eq!(state_after(confined_to("a"), false, on_a), backs_off);
    assert_eq!(state_after(confined_to("b"), false, on_a), waits);
    assert_eq!(state_after(None, false, to_a_pod), waits);
    assert_eq!(state_after(None, true, to_a_pod), backs_off);
    let kept_away = state_after(confined_to("b"), false, to_a_pod_that_keeps_it_away);
    assert_eq!(kept_away, backs_off);
}

#[test]
fn a_pod_that_waits_in_vain_is_tried_again_after_its_backoff() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("p"), &"u".into(), 0, None, false, start);
    queue.next(start);
    queue.unschedulable(&key("p"), start);
    queue.in_vain(&key("p"), start);
    assert_eq!(
        queue.waiters[&key("p")].state,
        State::BackingOff(start + BACKOFF_MIN)
    );
    assert_eq!(
        queue.past(&key("p")),
        Some((1, start)),
        "that was no other attempt"
    );
}

#[test]
fn a_forgotten_pod_leaves_nothing_behind() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.put(&key("p"), &"u".into(), 0, Some(vec!["a".into()]), false, now);
    queue.next(now);
    queue.unschedulable(&key("p"), now);
    queue.forget(&key("p"));
    assert!(queue.waiters.is_empty() && queue.due.is_empty() && queue.by_node.is_empty());
    assert_eq!(queue.lengths(), Lengths::default());
    assert_eq!(queue.backoff.after(1), BACKOFF_MIN);
    assert_eq!(queue.backoff.after(9), BACKOFF_MAX);
}
