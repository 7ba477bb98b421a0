//! Processor time per second: what was used between two asks. Nothing is measured in between for its sake.
use super::{Measured, NodeStats};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::time::Duration;

/// Two askers close together get one rate: over less time, the counters' grain would show.
const SPAN_MIN: SignedDuration = SignedDuration::from_secs(1);

/// The runtime's own.
const RUNTIME: &str = "/runtime";

#[derive(Clone, Copy)]
struct Last {
    at: Timestamp,
    total: Duration,
    nanocores: Option<u64>,
}

/// The last measurement of everything that was asked for.
#[derive(Default)]
pub struct Rates(HashMap<String, Last>);

impl Rates {
    /// Fills in rates, and forgets what is gone.
    pub fn note(&mut self, node: &mut NodeStats) {
        let mut next = HashMap::new();
        let mut one = |key: String, measured: &mut Measured| {
            let Some(cpu) = measured.used.cpu else { return };
            let last = rate(self.0.get(&key), measured.at, cpu.total);
            measured.nanocores = last.nanocores;
            next.insert(key, last);
        };
        one("/".into(), &mut node.measured);
        one("/pods".into(), &mut node.all_pods);
        one("/own".into(), &mut node.own);
        if let Some(runtime) = &mut node.runtime {
            one(RUNTIME.into(), runtime);
        }
        if let Some(misc) = &mut node.misc {
            one("/misc".into(), misc);
        }
        for pod in &mut node.pods {
            one(format!("pod/{}", pod.uid), &mut pod.measured);
            for container in &mut pod.containers {
                one(container.id.clone(), &mut container.measured);
            }
        }
        // It was not asked about, which does not mean that it is gone.
        if node.runtime.is_none()
            && let Some(last) = self.0.get(RUNTIME)
        {
            next.insert(RUNTIME.into(), *last);
        }
        self.0 = next;
    }
}

fn rate(before: Option<&Last>, at: Timestamp, total: Duration) -> Last {
    let first = Last {
        at,
        total,
        nanocores: None,
    };
    let Some(before) = before else { return first };
    let span = at.duration_since(before.at);
    // The clock was put back: nobody knows how long ago that was.
    if span.is_negative() {
        return first;
    }
    if span < SPAN_MIN {
        return *before;
    }
    let used = total.saturating_sub(before.total);
    let nanocores = used.as_nanos() * 1_000_000_000 / span.as_nanos().unsigned_abs();
    Last {
        nanocores: u64::try_from(nanocores).ok(),
        ..first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn rate_is_what_was_used_since_the_last_ask() {
        let first = rate(None, at(0), Duration::from_secs(10));
        assert_eq!(first.nanocores, None);
        let second = rate(Some(&first), at(10_000), Duration::from_secs(15));
        assert_eq!(second.nanocores, Some(500_000_000));
        let soon = rate(Some(&second), at(10_200), Duration::from_secs(99));
        assert_eq!(
            (soon.nanocores, soon.at),
            (second.nanocores, second.at),
            "another asker's reading does not shorten the span"
        );
        // A container that was made anew counts from zero.
        let anew = rate(Some(&second), at(20_000), Duration::ZERO);
        assert_eq!(anew.nanocores, Some(0));
        let put_back = rate(Some(&second), at(1_000), Duration::from_secs(20));
        assert_eq!((put_back.nanocores, put_back.at), (None, at(1_000)));
    }
}
