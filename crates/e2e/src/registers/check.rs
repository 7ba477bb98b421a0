//! Whether a history is linearizable: one order of the calls, each at a moment between its beginning and its end, that
//! explains every answer. Registers are independent of each other, and each is judged alone.
//!
//! A search after Wing and Gong with Lowe's memory of what was tried: calls are taken one after another out of a list of
//! beginnings and ends; at the end of a call that was not taken yet, the last one taken is put back.
//!
//! Calls of unknown outcome are settled before: a write that somebody saw took effect before that one's end; one that
//! nobody saw is left out, and so are refusals that it may have caused.
use super::history::{Action, Call, INITIAL, Outcome, Value};
use std::collections::HashSet;

/// What a history came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// No order explains the answers of this register. The longest that does, from its last calls, then what does not
    /// fit behind it.
    Broken {
        register: usize,
        story: String,
    },
}

/// Judges the history of all registers.
pub fn check(calls: &[Call]) -> Verdict {
    let mut registers: Vec<usize> = calls.iter().map(|call| call.register).collect();
    registers.sort_unstable();
    registers.dedup();
    for register in registers {
        let own = calls.iter().filter(|call| call.register == register).copied();
        let settled = settle(own.collect());
        if let Err(story) = search(&settled) {
            return Verdict::Broken { register, story };
        }
    }
    Verdict::Linearizable
}

/// Gives every call an outcome, or leaves it out.
fn settle(mut calls: Vec<Call>) -> Vec<Call> {
    // A swap that turns out to have happened shows the value before it, whose writer may be unknown as well.
    while let Some((index, ended)) = seen_unknown(&calls) {
        let call = &mut calls[index];
        call.outcome = Outcome::Done;
        call.ended = ended.max(call.began);
    }
    let is_open = |call: &&Call| call.outcome == Outcome::Unknown && call.action.writes().is_some();
    // When the first write began that nobody saw.
    let unseen_from = calls.iter().filter(is_open).map(|call| call.began).min();
    let unseen_from = unseen_from.unwrap_or(u64::MAX);
    calls.retain(|call| match call.outcome {
        Outcome::Unknown => false,
        Outcome::Refused => call.ended < unseen_from,
        Outcome::Read(_) | Outcome::Done => true,
    });
    calls
}

/// A write of unknown outcome whose value somebody saw, and when that one was answered.
fn seen_unknown(calls: &[Call]) -> Option<(usize, u64)> {
    let mut unknown = calls
        .iter()
        .enumerate()
        .filter(|(_, call)| call.outcome == Outcome::Unknown);
    unknown.find_map(|(index, call)| {
        let value = call.action.writes()?;
        let seen = calls
            .iter()
            .filter(|other| other.shows(value))
            .map(|other| other.ended);
        Some((index, seen.min()?))
    })
}

/// The register after a call whose answer fits what it holds.
fn step(holds: Value, call: &Call) -> Option<Value> {
    match (call.action, call.outcome) {
        (Action::Read, Outcome::Read(read)) => (read == Some(holds)).then_some(holds),
        (Action::Write(new), Outcome::Done) => Some(new),
        (Action::Swap { expected, new }, Outcome::Done) => (expected == holds).then_some(new),
        (Action::Swap { expected, .. }, Outcome::Refused) => (expected != holds).then_some(holds),
        // Also what finds no register: none of them is ever deleted.
        _ => None,
    }
}

/// Beginnings and ends in the order of time, linked so that a call can be taken out and put back in one step.
struct Timeline {
    /// Entry `2n` is the beginning of call `n`, `2n + 1` its end; one more closes the ring.
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Timeline {
    fn new(calls: &[Call]) -> Self {
        let ring = calls.len() * 2;
        let mut order: Vec<usize> = (0..ring).collect();
        let time = |entry: usize| match (&calls[entry / 2], entry % 2) {
            // Of the same moment: a beginning comes before an end, so that the two calls overlap.
            (call, 0) => (call.began, 0),
            (call, _) => (call.ended, 1),
        };
        order.sort_by_key(|entry| time(*entry));
        let (mut next, mut previous) = (vec![0; ring + 1], vec![0; ring + 1]);
        let mut last = ring;
        for entry in order {
            next[last] = entry;
            previous[entry] = last;
            last = entry;
        }
        next[last] = ring;
        previous[ring] = last;
        Self { next, previous }
    }

    fn ring(&self) -> usize {
        self.next.len() - 1
    }

    fn unlink(&mut self, entry: usize) {
        let (before, after) = (self.previous[entry], self.next[entry]);
        self.next[before] = after;
        self.previous[after] = before;
    }

    fn relink(&mut self, entry: usize) {
        let (before, after) = (self.previous[entry], self.next[entry]);
        self.next[before] = entry;
        self.previous[after] = entry;
    }

    fn take(&mut self, call: usize) {
        self.unlink(call * 2);
        self.unlink(call * 2 + 1);
    }

    /// In the opposite order of [`Self::take`].
    fn put_back(&mut self, call: usize) {
        self.relink(call * 2 + 1);
        self.relink(call * 2);
    }
}

/// Which calls were taken.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Taken(Vec<u64>);

impl Taken {
    fn flip(&mut self, call: usize) {
        self.0[call / 64] ^= 1 << (call % 64);
    }
}

fn search(calls: &[Call]) -> Result<(), String> {
    let mut timeline = Timeline::new(calls);
    let ring = timeline.ring();
    let mut taken = Taken(vec![0; calls.len().div_ceil(64)]);
    let mut tried: HashSet<(Taken, Value)> = HashSet::new();
    // Calls in the order they were taken, each with what the register held before.
    let mut order: Vec<(usize, Value)> = Vec::new();
    let mut holds = INITIAL;
    let mut longest: (Vec<usize>, usize) = (Vec::new(), ring);
    let mut entry = timeline.next[ring];
    while timeline.next[ring] != ring {
        let call = entry / 2;
        if entry != ring && entry.is_multiple_of(2) {
            let after = step(holds, &calls[call]);
            let fresh = after.is_some_and(|after| {
                taken.flip(call);
                let fresh = tried.insert((taken.clone(), after));
                if !fresh {
                    taken.flip(call);
                }
                fresh
            });
            match (after, fresh) {
                (Some(after), true) => {
                    order.push((call, holds));
                    holds = after;
                    timeline.take(call);
                    entry = timeline.next[ring];
                }
                _ => entry = timeline.next[entry],
            }
            continue;
        }
        if longest.1 == ring || order.len() > longest.0.len() {
            longest = (order.iter().map(|(call, _)| *call).collect(), call);
        }
        let Some((last, before)) = order.pop() else {
            return Err(story(calls, &longest.0, longest.1));
        };
        holds = before;
        taken.flip(last);
        timeline.put_back(last);
        entry = timeline.next[last * 2];
    }
    Ok(())
}

/// What people need to see of a history that is broken.
fn story(calls: &[Call], longest: &[usize], stuck: usize) -> String {
    const SHOWN: usize = 8;
    let mut lines = vec![format!(
        "{} of {} calls fit, the last of them:",
        longest.len(),
        calls.len()
    )];
    let shown = longest.iter().skip(longest.len().saturating_sub(SHOWN));
    lines.extend(shown.map(|call| format!("  {}", calls[*call])));
    lines.push(format!("but then this does not: {}", calls[stuck]));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn call(client: usize, times: (u64, u64), action: Action, outcome: Outcome) -> Call {
        Call {
            register: 0,
            client,
            began: times.0,
            ended: times.1,
            action,
            outcome,
        }
    }

    fn read(times: (u64, u64), value: Value) -> Call {
        call(0, times, Action::Read, Outcome::Read(Some(value)))
    }

    fn write(times: (u64, u64), value: Value, outcome: Outcome) -> Call {
        call(1, times, Action::Write(value), outcome)
    }

    fn swap(times: (u64, u64), expected: Value, new: Value, outcome: Outcome) -> Call {
        call(2, times, Action::Swap { expected, new }, outcome)
    }

    fn holds(calls: &[Call]) -> bool {
        check(calls) == Verdict::Linearizable
    }

    #[test]
    fn an_acknowledged_write_is_read_by_whoever_asks_afterwards() {
        assert!(holds(&[]));
        assert!(holds(&[
            read((0, 1), 0),
            write((2, 3), 7, Outcome::Done),
            read((4, 5), 7)
        ]));
        assert!(
            !holds(&[write((2, 3), 7, Outcome::Done), read((4, 5), 0)]),
            "lost"
        );
        assert!(
            !holds(&[write((2, 3), 7, Outcome::Done), read((0, 1), 7)]),
            "foretold"
        );
        assert!(
            !holds(&[call(0, (0, 1), Action::Read, Outcome::Read(None))]),
            "gone"
        );
    }

    #[test]
    fn calls_of_the_same_time_may_take_effect_in_any_order() {
        let both = [write((0, 10), 1, Outcome::Done), write((0, 10), 2, Outcome::Done)];
        for last in [1, 2] {
            assert!(holds(&[&both[..], &[read((11, 12), last)]].concat()));
        }
        assert!(holds(&[both[0], read((1, 2), 0), read((3, 4), 1)]));
        assert!(!holds(&[both[0], read((1, 2), 1), read((3, 4), 0)]), "back again");
    }

    #[test]
    fn a_write_of_unknown_outcome_may_have_happened_early_late_or_never() {
        let open = write((0, 1), 1, Outcome::Unknown);
        assert!(holds(&[open, read((2, 3), 0)]));
        assert!(holds(&[open, read((2, 3), 1)]));
        assert!(holds(&[open, read((2, 3), 0), read((4, 5), 1)]), "late");
        assert!(
            !holds(&[open, read((2, 3), 1), read((4, 5), 0)]),
            "once seen it stays"
        );
        let other = write((2, 3), 2, Outcome::Done);
        assert!(
            holds(&[open, other, read((4, 5), 2), read((6, 7), 1)]),
            "behind another"
        );
        assert!(
            !holds(&[open, other, read((4, 5), 1), read((6, 7), 2), read((8, 9), 1)]),
            "twice"
        );
        assert!(holds(&[call(0, (0, 1), Action::Read, Outcome::Unknown)]));
    }

    #[test]
    fn a_swap_tells_what_the_register_held() {
        let first = write((0, 1), 1, Outcome::Done);
        assert!(holds(&[
            first,
            swap((2, 3), 1, 2, Outcome::Done),
            read((4, 5), 2)
        ]));
        assert!(!holds(&[first, swap((2, 3), 0, 2, Outcome::Done)]));
        assert!(holds(&[
            first,
            swap((2, 3), 0, 2, Outcome::Refused),
            read((4, 5), 1)
        ]));
        assert!(
            !holds(&[first, swap((2, 3), 1, 2, Outcome::Refused)]),
            "for no reason"
        );
        let unseen = write((0, 1), 9, Outcome::Unknown);
        assert!(
            holds(&[first, unseen, swap((2, 3), 1, 2, Outcome::Refused)]),
            "the reason may be what nobody saw"
        );
        let open = swap((2, 3), 1, 2, Outcome::Unknown);
        assert!(holds(&[first, open, read((4, 5), 1)]) && holds(&[first, open, read((4, 5), 2)]));
        let unseen = write((0, 1), 1, Outcome::Unknown);
        assert!(
            holds(&[unseen, open, read((4, 5), 2)]),
            "one unknown shows another"
        );
    }

    #[test]
    fn registers_are_judged_apart_and_the_broken_one_is_told() {
        let of = |register, call: Call| Call { register, ..call };
        let calls = [
            of(0, write((0, 1), 1, Outcome::Done)),
            of(1, read((2, 3), 0)),
            of(0, read((2, 3), 1)),
            of(1, read((4, 5), 1)),
        ];
        let Verdict::Broken { register, story } = check(&calls) else {
            panic!("register 1 was never written")
        };
        assert_eq!(register, 1);
        assert!(
            story.contains("1 of 2 calls fit") && story.contains("Read(Some(1))"),
            "{story}"
        );
    }

    /// What a register that works would have answered to clients at random, and when each of them was sure.
    fn honest(random: &mut StdRng, calls: u64, clients: usize) -> Vec<Call> {
        let mut holds = INITIAL;
        let mut free = vec![0; clients];
        let mut history = Vec::new();
        for count in 1..=calls {
            let client = random.random_range(0..clients);
            let now = count * 100;
            let began = free[client].max(now - random.random_range(0..300).min(now));
            if began > now {
                continue;
            }
            let guess = if random.random() { holds } else { count / 2 };
            let action = match random.random_range(0..3) {
                0 => Action::Read,
                1 => Action::Write(count),
                _ => Action::Swap {
                    expected: guess,
                    new: count,
                },
            };
            let outcome = match action {
                Action::Read => Outcome::Read(Some(holds)),
                Action::Swap { expected, .. } if expected != holds => Outcome::Refused,
                _ => Outcome::Done,
            };
            let is_late = random.random_range(0..10) == 0;
            if let (Outcome::Done, Some(new)) = (outcome, action.writes()) {
                holds = new;
            }
            let ended = now + random.random_range(1..300);
            free[client] = ended + 1;
            history.push(Call {
                register: 0,
                client,
                began,
                ended,
                action,
                outcome: if is_late { Outcome::Unknown } else { outcome },
            });
        }
        history
    }

    #[test]
    fn honest_registers_are_never_accused() {
        for seed in 0..200 {
            let history = honest(&mut StdRng::seed_from_u64(seed), 300, 6);
            assert_eq!(check(&history), Verdict::Linearizable, "seed {seed}");
        }
    }

    /// Tries every order of all calls; those of unknown outcome with and without effect.
    fn explained(holds: Value, left: &mut Vec<Call>) -> bool {
        if left.iter().all(|call| call.outcome == Outcome::Unknown) {
            return true;
        }
        let first_end = |call: &Call| match call.outcome {
            Outcome::Unknown => u64::MAX,
            _ => call.ended,
        };
        let earliest = left.iter().map(first_end).min().unwrap_or(u64::MAX);
        for index in 0..left.len() {
            let call = left[index];
            if call.began > earliest {
                continue;
            }
            let as_done = Call {
                outcome: match call.outcome {
                    Outcome::Unknown => Outcome::Done,
                    other => other,
                },
                ..call
            };
            if let Some(after) = step(holds, &as_done) {
                left.remove(index);
                let found = explained(after, left);
                left.insert(index, call);
                if found {
                    return true;
                }
            }
        }
        false
    }

    /// Small histories, most of them wrong: the search says the same as trying everything.
    #[test]
    fn the_search_agrees_with_trying_every_order() {
        let mut counts = [0; 2];
        for seed in 0..3000 {
            let random = &mut StdRng::seed_from_u64(seed);
            let history: Vec<Call> = (1..=6)
                .map(|count| {
                    let began = random.random_range(0..30);
                    let some = random.random_range(0..=6);
                    let (action, outcome) = match random.random_range(0..6) {
                        0..3 => (Action::Read, Outcome::Read(Some(some))),
                        3 => (Action::Write(count), Outcome::Done),
                        4 => (Action::Write(count), Outcome::Unknown),
                        _ => (
                            Action::Swap {
                                expected: some,
                                new: count,
                            },
                            Outcome::Done,
                        ),
                    };
                    call(0, (began, began + random.random_range(1..20)), action, outcome)
                })
                .collect();
            let truth = explained(INITIAL, &mut history.clone());
            counts[usize::from(truth)] += 1;
            assert_eq!(holds(&history), truth, "seed {seed}: {history:#?}");
        }
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    }
}
