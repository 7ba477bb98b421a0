//! Which of two pods an owner that has too many gives up first.

use std::cmp::Ordering;

use jiff::Timestamp;

use crate::cache::{Phase, Pod, Ready};

/// `Less` if `a` goes first: unbound before bound, pending before running, unready before ready,
/// cheaper before dearer, crowded before lonely, ready for a shorter time, restarted more often,
/// younger. Times are compared by order of magnitude, so that among pods of about the same age
/// chance decides and not who came last.
pub fn goes_first(a: &Pod, b: &Pod, neighbours_a: usize, neighbours_b: usize, now: Timestamp) -> Ordering {
    let running = |pod: &Pod| pod.phase != Phase::Pending;
    a.node
        .is_some()
        .cmp(&b.node.is_some())
        .then(running(a).cmp(&running(b)))
        .then(a.is_ready().cmp(&b.is_ready()))
        .then(a.deletion_cost.cmp(&b.deletion_cost))
        .then(neighbours_b.cmp(&neighbours_a))
        .then_with(|| match (a.ready, b.ready) {
            (Ready::Since(a), Ready::Since(b)) => younger_first(a, b, now),
            _ => Ordering::Equal,
        })
        .then(b.restarts.cmp(&a.restarts))
        .then_with(|| younger_first(a.created, b.created, now))
        // Uids are random: no node, age or name is preferred.
        .then_with(|| a.uid.cmp(&b.uid))
}

fn younger_first(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => magnitude(a, now).cmp(&magnitude(b, now)),
        // What has no time counts as youngest.
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// The binary logarithm of an age in nanoseconds; the future has none.
fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let age = now.as_nanosecond().saturating_sub(since.as_nanosecond());
    u128::try_from(age)
        .ok()
        .and_then(u128::checked_ilog2)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owned::testing::{PodBuilder, now, pod};

    #[test]
    fn pods_that_are_worth_less_go_first() {
        type Make = fn(PodBuilder) -> PodBuilder;
        let cases: [(&str, Make, Make); 8] = [
            ("unbound", |p| p, |p| p.on("n")),
            ("pending", |p| p.on("n").pending().ready(), |p| p.on("n")),
            ("unready", |p| p.on("n"), |p| p.on("n").ready()),
            ("cheap", |p| p.on("n").ready().cost(-5), |p| p.on("n").ready()),
            (
                "ready for a shorter time",
                |p| p.on("n").ready_for(10),
                |p| p.on("n").ready_for(1000),
            ),
            (
                "restarted",
                |p| p.on("n").ready().restarts(3),
                |p| p.on("n").ready(),
            ),
            (
                "younger",
                |p| p.on("n").ready().age(10),
                |p| p.on("n").ready().age(1000),
            ),
            (
                "cheap although ready for longer",
                |p| p.on("n").ready_for(1000).cost(-1),
                |p| p.on("n").ready_for(1),
            ),
        ];
        for (name, first, second) in cases {
            let (first, second) = (first(pod("z")).build(), second(pod("a")).build());
            assert_eq!(goes_first(&first, &second, 0, 0, now()), Ordering::Less, "{name}");
            assert_eq!(
                goes_first(&second, &first, 0, 0, now()),
                Ordering::Greater,
                "{name}"
            );
        }
    }

    #[test]
    fn about_the_same_age_is_the_same_age() {
        let (a, b) = (
            pod("a").on("n").ready().age(1000).build(),
            pod("b").on("n").ready().age(900).build(),
        );
        assert_eq!(goes_first(&a, &b, 0, 0, now()), Ordering::Less, "by uid");
    }
}
