//! How often a namespace is looked at that doesn't get empty.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::conditions::Remaining;

/// Pause before looking again for what goes in its own time.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longest pause: each look lists every kind there is, which what nobody lets go of isn't worth more often.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(60);

/// What was left in each namespace at the last look, and the pause that followed.
#[derive(Debug, Default)]
pub struct Pace {
    namespaces: Mutex<HashMap<Arc<str>, (Remaining, Duration)>>,
}

impl Pace {
    /// How long to wait before the next look, when that is left now: twice as long as before where nothing has gone.
    pub fn pause(&self, name: &Arc<str>, remaining: Remaining) -> Duration {
        let mut namespaces = self.lock();
        let pause = match namespaces.get(name) {
            Some((before, pause)) if before.is_as_much_as(&remaining) => {
                pause.saturating_mul(2).min(LOOK_AGAIN_MAX)
            }
            _ => LOOK_AGAIN,
        };
        namespaces.insert(name.clone(), (remaining, pause));
        pause
    }

    /// The namespace is empty, or gone.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, (Remaining, Duration)>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(maps: usize, failure: &str) -> Remaining {
        Remaining {
            objects: [("configmaps.".to_owned(), maps)].into(),
            failures: vec![failure.to_owned()],
            ..Remaining::default()
        }
    }

    #[test]
    fn a_namespace_in_which_nothing_goes_is_looked_at_ever_more_seldom() {
        let pace = Pace::default();
        let (name, other) = ("n".into(), "other".into());
        let mut pauses = Vec::new();
        for attempt in 0..8 {
            // Errors read differently each time, and are no progress.
            let pause = pace.pause(&name, left(2, &format!("request {attempt}")));
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pace.pause(&other, left(2, "")), LOOK_AGAIN);
        assert_eq!(pace.pause(&name, left(1, "")), LOOK_AGAIN, "something went");
        pace.forget("other");
        assert_eq!(pace.pause(&other, left(2, "")), LOOK_AGAIN);
    }
}
