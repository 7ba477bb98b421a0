//! How long requests may take, and watches last.
use std::time::Duration;

/// The limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct RequestTimes {
    /// Until a request is answered that is not long-running; the head of one that is.
    pub answer_max: Duration,
    /// A watch that does not say lasts this long, and up to twice as long.
    pub watch_min: Duration,
}

impl Default for RequestTimes {
    fn default() -> Self {
        Self {
            answer_max: Duration::from_secs(60),
            watch_min: Duration::from_secs(30 * 60),
        }
    }
}

impl RequestTimes {
    /// How long a watch lasts that does not say. `chance`, from 0 to 1, spreads the ends of those that began together.
    pub(crate) fn watch(self, chance: f64) -> Duration {
        self.watch_min + self.watch_min.mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_began_together_end_one_by_one() {
        let times = RequestTimes {
            watch_min: Duration::from_secs(100),
            ..RequestTimes::default()
        };
        assert_eq!(times.watch(0.0), Duration::from_secs(100));
        assert_eq!(times.watch(0.25), Duration::from_secs(125));
        assert_eq!(times.watch(1.0), Duration::from_secs(200));
    }
}
