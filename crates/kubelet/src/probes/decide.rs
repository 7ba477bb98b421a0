//! When a probe runs and when its result flips (contract, node agent §16). Pure.
use crate::probes_view::ProbeKind;
use std::time::Duration;

/// What one run of a check gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// Success that a person should look at.
    Warning(String),
    /// It isn't; the check's own words.
    Failure(String),
    /// The check could not be executed: says nothing about the container.
    Errored(String),
}

/// What a probe's task knows of its container when the next run is due.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The container has ended.
    pub ended: bool,
    /// There is no startup probe, or it has succeeded.
    pub started: bool,
    /// Since the container was started.
    pub up_for: Duration,
    /// `initialDelaySeconds`.
    pub initial_delay: Duration,
}

/// What to do at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run the check.
    Check,
    /// Look again after this long.
    Wait(Duration),
    /// Look again when the startup probe has succeeded.
    AwaitStart,
    /// Nothing more is to be learnt from this container.
    End,
}

/// Whether a check runs now (§16.2).
pub fn next(kind: ProbeKind, moment: &Moment) -> Next {
    if moment.ended {
        return Next::End;
    }
    // Whole seconds, as upstream counts them.
    let delay = Duration::from_secs(moment.initial_delay.as_secs());
    if moment.up_for < delay {
        return Next::Wait(delay - moment.up_for);
    }
    match kind {
        ProbeKind::Startup if moment.started => Next::End,
        ProbeKind::Liveness | ProbeKind::Readiness if !moment.started => Next::AwaitStart,
        _ => Next::Check,
    }
}

/// Results in a row, and the result in force.
#[derive(Clone, Debug)]
pub struct Streak {
    kind: ProbeKind,
    successes_needed: i32,
    failures_needed: i32,
    last: Option<bool>,
    length: i32,
    /// `None` until a result is in force.
    in_force: Option<bool>,
}

impl Streak {
    /// Liveness begins as success. The others begin undecided, so that their first verdict is news whichever it is: a
    /// container that was taken over may have been ready until now.
    pub fn new(kind: ProbeKind, successes_needed: i32, failures_needed: i32) -> Self {
        Self {
            kind,
            successes_needed: successes_needed.max(1),
            failures_needed: failures_needed.max(1),
            last: None,
            length: 0,
            in_force: (kind == ProbeKind::Liveness).then_some(true),
        }
    }

    /// Notes one outcome; the new result if it flips now.
    pub fn note(&mut self, outcome: &Outcome) -> Option<bool> {
        let success = match outcome {
            Outcome::Success | Outcome::Warning(_) => true,
            Outcome::Failure(_) => false,
            Outcome::Errored(_) => return None,
        };
        self.length = if self.last == Some(success) {
            self.length.saturating_add(1)
        } else {
            1
        };
        self.last = Some(success);
        let needed = if success {
            self.successes_needed
        } else {
            self.failures_needed
        };
        if self.length < needed || self.in_force == Some(success) {
            return None;
        }
        self.in_force = Some(success);
        Some(success)
    }

    /// Nothing more is to be learnt about this run of the container.
    pub fn is_settled(&self) -> bool {
        match self.kind {
            // After success it has done its work; after failure the container is killed.
            ProbeKind::Startup => self.in_force.is_some(),
            ProbeKind::Liveness => self.in_force == Some(false),
            ProbeKind::Readiness => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fail() -> Outcome {
        Outcome::Failure("no".into())
    }

    /// The flips that a series of outcomes (`+`, `-`, `!` for errored) makes, by position.
    fn flips(kind: ProbeKind, successes: i32, failures: i32, series: &str) -> Vec<(usize, bool)> {
        let mut streak = Streak::new(kind, successes, failures);
        let outcome = |sign| match sign {
            '+' => Outcome::Success,
            '-' => fail(),
            _ => Outcome::Errored("rpc".into()),
        };
        series
            .chars()
            .enumerate()
            .filter_map(|(at, sign)| streak.note(&outcome(sign)).map(|success| (at, success)))
            .collect()
    }

    #[test]
    fn r01_r02_r06_r09_results_flip_after_equal_results_in_a_row() {
        use ProbeKind::{Liveness, Readiness, Startup};
        type Flips = &'static [(usize, bool)];
        let cases: [(ProbeKind, i32, i32, &str, Flips); 9] = [
            // R02: three failures in a row, not three failures.
            (Liveness, 1, 3, "--+--+", &[]),
            (Liveness, 1, 3, "--+---", &[(5, false)]),
            (Liveness, 1, 3, "++++", &[]),
            // R01: never ready is told once.
            (Readiness, 1, 3, "-----", &[(2, false)]),
            (Readiness, 2, 1, "++-++", &[(1, true), (2, false), (4, true)]),
            // R06.
            (Startup, 1, 2, "-+", &[(1, true)]),
            (Startup, 1, 2, "--", &[(1, false)]),
            // R09: what could not be executed neither counts nor breaks a streak.
            (Liveness, 1, 2, "-!-", &[(2, false)]),
            (Liveness, 1, 1, "!!!", &[]),
        ];
        for (kind, successes, failures, series, expected) in cases {
            assert_eq!(
                flips(kind, successes, failures, series),
                expected,
                "{kind:?} {series}"
            );
        }
    }

    #[test]
    fn r02_r06_liveness_rests_after_failure_and_startup_after_any_verdict() {
        for (kind, outcome, settled) in [
            (ProbeKind::Liveness, fail(), true),
            (ProbeKind::Liveness, Outcome::Success, false),
            (ProbeKind::Startup, fail(), true),
            (ProbeKind::Startup, Outcome::Success, true),
            (ProbeKind::Readiness, fail(), false),
            (ProbeKind::Readiness, Outcome::Success, false),
        ] {
            let mut streak = Streak::new(kind, 1, 1);
            streak.note(&outcome);
            assert_eq!(streak.is_settled(), settled, "{kind:?} {outcome:?}");
        }
    }

    #[test]
    fn r01_r06_r08_runs_are_held_back_as_the_contract_says() {
        use ProbeKind::{Liveness, Readiness, Startup};
        let fresh = Moment {
            ended: false,
            started: true,
            up_for: s(5),
            initial_delay: s(0),
        };
        let cases = [
            (
                Readiness,
                Moment {
                    initial_delay: s(20),
                    ..fresh
                },
                Next::Wait(s(15)),
            ),
            (
                Readiness,
                Moment {
                    initial_delay: s(20),
                    up_for: s(20),
                    ..fresh
                },
                Next::Check,
            ),
            (
                Liveness,
                Moment {
                    started: false,
                    ..fresh
                },
                Next::AwaitStart,
            ),
            (
                Readiness,
                Moment {
                    started: false,
                    ..fresh
                },
                Next::AwaitStart,
            ),
            (
                Startup,
                Moment {
                    started: false,
                    ..fresh
                },
                Next::Check,
            ),
            (
                Startup,
                Moment {
                    started: true,
                    ..fresh
                },
                Next::End,
            ),
            (Liveness, Moment { ended: true, ..fresh }, Next::End),
            (
                Readiness,
                Moment {
                    ended: true,
                    initial_delay: s(99),
                    ..fresh
                },
                Next::End,
            ),
            (Liveness, fresh, Next::Check),
        ];
        for (kind, moment, expected) in cases {
            assert_eq!(next(kind, &moment), expected, "{kind:?} {moment:?}");
        }
    }
}
