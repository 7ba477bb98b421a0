//! With which identity the agent begins, and when it needs another one.
use super::LOOK_EVERY;
use jiff::Timestamp;
use orlop_pki::Validity;
use std::time::Duration;

/// Certificates are renewed when between these shares of their lifetime are over, so that the agents of a cluster that
/// began together don't ask together.
const RENEW_AFTER_SHARE: std::ops::Range<f64> = 0.7..0.9;
/// Pauses after failures begin with this and double.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Somebody has refused: asking at once again would be refused again.
const REFUSED_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What the kubeconfig offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// There is no such file.
    Nothing,
    /// Something else than a certificate, such as a token.
    OtherIdentity,
    /// A certificate; `None`: an unusable one.
    Certificate(Option<Validity>),
}

/// With what the agent begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// As the kubeconfig says; until when, if its end is known.
    Given(Option<Validity>),
    /// With the certificate that was renewed last.
    Stored(Validity),
    /// With the bootstrap kubeconfig, which gives it one of its own.
    Bootstrap,
}

/// With what to begin; `None`: there is no kubeconfig and nothing to make one of.
pub fn begin(given: Given, stored: Option<Validity>, can_bootstrap: bool, now: Timestamp) -> Option<Begin> {
    let good = |validity: Option<Validity>| validity.filter(|validity| !validity.has_ended(now));
    let certificate = match given {
        Given::Nothing => return can_bootstrap.then_some(Begin::Bootstrap),
        Given::OtherIdentity => return Some(Begin::Given(None)),
        Given::Certificate(validity) => validity,
    };
    Some(match (good(certificate), good(stored)) {
        (Some(given), Some(stored)) if stored.until > given.until => Begin::Stored(stored),
        (Some(given), _) => Begin::Given(Some(given)),
        (None, Some(stored)) => Begin::Stored(stored),
        (None, None) if can_bootstrap => Begin::Bootstrap,
        // It may be replaced by hand.
        (None, None) => Begin::Given(certificate),
    })
}

/// When a certificate is to be renewed that was received at `received`, if it is known; `chance` is from 0 to 1.
pub fn renew_at(validity: Validity, received: Option<Timestamp>, chance: f64) -> Timestamp {
    let share = RENEW_AFTER_SHARE.start + (RENEW_AFTER_SHARE.end - RENEW_AFTER_SHARE.start) * chance;
    // Signers date certificates back: what lies before its arrival is no part of a short life.
    let from = received.map_or(validity.from, |received| received.max(validity.from));
    Validity { from, ..validity }.after(share)
}

/// What is to be done about a certificate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for the next one with this one.
    Renew,
    /// Ask for one with the bootstrap kubeconfig.
    Bootstrap,
    /// Nothing, for so long.
    Wait(Duration),
}

/// A certificate in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    pub validity: Validity,
    /// `None`: others look after it.
    pub renew_at: Option<Timestamp>,
}

/// The next step; `in_use` is `None` for an identity without an end.
pub fn next(in_use: Option<InUse>, can_bootstrap: bool, now: Timestamp) -> Step {
    let Some(InUse { validity, renew_at }) = in_use else {
        return Step::Wait(LOOK_EVERY);
    };
    if validity.has_ended(now) {
        // The API server doesn't know its holder any more.
        return if can_bootstrap {
            Step::Bootstrap
        } else {
            Step::Wait(LOOK_EVERY)
        };
    }
    let until = |moment: Timestamp| Duration::try_from(moment.duration_since(now)).unwrap_or_default();
    match renew_at {
        Some(due) if due <= now => Step::Renew,
        Some(due) => Step::Wait(until(due).min(LOOK_EVERY)),
        None => Step::Wait(until(validity.until).min(LOOK_EVERY)),
    }
}

/// The pause after `failures` failures in a row, the last of which was a refusal or not.
pub fn retry_after(failures: u32, refused: bool) -> Duration {
    if refused {
        return REFUSED_RETRY_AFTER;
    }
    let doubled = RETRY_AFTER.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn valid(from: i64, until: i64) -> Validity {
        Validity {
            from: at(from),
            until: at(until),
        }
    }

    #[test]
    fn the_agent_begins_with_the_best_identity_there_is() {
        use Given::{Certificate, Nothing, OtherIdentity};
        let (ended, short, long) = (valid(0, 50), valid(0, 200), valid(0, 300));
        for (given, stored, can_bootstrap, want) in [
            (Nothing, None, false, None),
            (Nothing, None, true, Some(Begin::Bootstrap)),
            (Nothing, Some(long), true, Some(Begin::Bootstrap)),
            (OtherIdentity, Some(long), true, Some(Begin::Given(None))),
            (
                Certificate(Some(short)),
                None,
                true,
                Some(Begin::Given(Some(short))),
            ),
            (
                Certificate(Some(short)),
                Some(long),
                true,
                Some(Begin::Stored(long)),
            ),
            (
                Certificate(Some(long)),
                Some(short),
                true,
                Some(Begin::Given(Some(long))),
            ),
            (
                Certificate(Some(ended)),
                Some(short),
                true,
                Some(Begin::Stored(short)),
            ),
            (
                Certificate(Some(ended)),
                Some(ended),
                true,
                Some(Begin::Bootstrap),
            ),
            (
                Certificate(Some(ended)),
                None,
                false,
                Some(Begin::Given(Some(ended))),
            ),
            (Certificate(None), None, true, Some(Begin::Bootstrap)),
            (Certificate(None), None, false, Some(Begin::Given(None))),
        ] {
            let got = begin(given, stored, can_bootstrap, at(100));
            assert_eq!(got, want, "{given:?} {stored:?} {can_bootstrap}");
        }
    }

    #[test]
    fn certificates_are_renewed_between_70_and_90_percent_of_their_life() {
        let year = valid(0, 1000);
        assert_eq!(renew_at(year, None, 0.0), at(700));
        assert_eq!(renew_at(year, None, 1.0), at(900));
        let half = jiff::SignedDuration::from_millis(500);
        assert_eq!(renew_at(year, Some(at(5)), 0.0), at(701) + half);
        // Ten seconds, dated back by five minutes.
        assert_eq!(renew_at(valid(0, 310), Some(at(300)), 0.5), at(308));
    }

    #[test]
    fn steps_follow_the_clock() {
        let validity = valid(0, 1000);
        let renewed = Some(InUse {
            validity,
            renew_at: Some(at(800)),
        });
        let left_alone = Some(InUse {
            validity,
            renew_at: None,
        });
        for (in_use, can_bootstrap, now, want) in [
            (None, true, 0, Step::Wait(LOOK_EVERY)),
            (renewed, true, 10, Step::Wait(LOOK_EVERY)),
            (renewed, true, 790, Step::Wait(Duration::from_secs(10))),
            (renewed, true, 800, Step::Renew),
            (renewed, true, 1000, Step::Bootstrap),
            (renewed, false, 1000, Step::Wait(LOOK_EVERY)),
            (left_alone, true, 800, Step::Wait(LOOK_EVERY)),
            (left_alone, true, 999, Step::Wait(Duration::from_secs(1))),
            (left_alone, true, 1000, Step::Bootstrap),
        ] {
            assert_eq!(
                next(in_use, can_bootstrap, at(now)),
                want,
                "{in_use:?} {can_bootstrap} {now}"
            );
        }
    }

    #[test]
    fn pauses_double_and_refusals_are_not_repeated_soon() {
        let seconds: Vec<u64> = [1, 2, 3, 7, 200].map(|n| retry_after(n, false).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 60, 60]);
        assert_eq!(retry_after(1, true), REFUSED_RETRY_AFTER);
    }
}
