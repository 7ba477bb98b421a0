//! What goes on being so is told ever more seldom: an API server keeps few Events of an object before it hears one in five
//! minutes only, and those of a pod that waits should not be all there are.
use jiff::{SignedDuration, Timestamp};

/// Before the same is told a second time.
const WAIT_MIN: SignedDuration = SignedDuration::from_secs(10);
/// It doubles up to this: how long upstream's mounts wait for their next try (contract, node agent §1).
const WAIT_MAX: SignedDuration = SignedDuration::from_secs(122);

/// What was told last, and when it may be told again.
#[derive(Debug, Default)]
pub struct Repeated(Option<Told>);

#[derive(Debug)]
struct Told {
    what: String,
    at: Timestamp,
    wait: SignedDuration,
}

impl Repeated {
    /// Whether this is to be told now; then it counts as told.
    pub fn is_due(&mut self, what: &str, now: Timestamp) -> bool {
        let wait = match &self.0 {
            Some(told) if told.what == what => {
                let since = now.duration_since(told.at);
                // A clock that was put back keeps nothing from being told.
                if !since.is_negative() && since < told.wait {
                    return false;
                }
                (told.wait * 2).min(WAIT_MAX)
            }
            _ => WAIT_MIN,
        };
        self.0 = Some(Told {
            what: what.to_owned(),
            at: now,
            wait,
        });
        true
    }

    /// It is not so any more: the next time it is news.
    pub fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_ever_more_seldom_and_something_else_at_once() {
        let mut repeated = Repeated::default();
        let mut is_due = |what: &str, second| {
            let now = Timestamp::from_second(second).unwrap();
            repeated.is_due(what, now)
        };
        let told: Vec<i64> = (0..600).filter(|second| is_due("broken", *second)).collect();
        assert_eq!(told, [0, 10, 30, 70, 150, 272, 394, 516]);
        assert!(is_due("otherwise", 600) && !is_due("otherwise", 601));
        assert!(is_due("broken", 602), "it is news again");
        assert!(is_due("broken", 1), "the clock was put back");
        repeated.over();
        assert!(repeated.is_due("broken", Timestamp::UNIX_EPOCH));
    }
}
