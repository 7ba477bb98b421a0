//! Values that thousands of objects have in common, kept once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// So many different values are looked through: pods of one owner come in a row.
const RECENT_MAX: usize = 64;

/// The values seen last.
#[derive(Debug)]
pub struct Shared<T: ?Sized> {
    recent: Mutex<VecDeque<Arc<T>>>,
}

impl<T: ?Sized + PartialEq> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ?Sized + PartialEq> Shared<T> {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self {
            recent: Mutex::new(VecDeque::new()),
        }
    }

    /// `value`, or an equal one that others have already.
    pub fn share(&self, value: Arc<T>) -> Arc<T> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|known| *known == value) {
            recent.swap(0, at);
            return recent[0].clone();
        }
        recent.push_front(value.clone());
        recent.truncate(RECENT_MAX);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let shared = Shared::<str>::new();
        let (a, b) = (shared.share("a".into()), shared.share("b".into()));
        assert!(Arc::ptr_eq(&a, &shared.share("a".into())));
        assert!(Arc::ptr_eq(&b, &shared.share("b".into())));
        (0..2 * RECENT_MAX).for_each(|number| drop(shared.share(number.to_string().into())));
        assert_eq!(shared.recent.lock().unwrap().len(), RECENT_MAX);
        assert_eq!(*shared.share("a".into()), *"a");
    }
}
