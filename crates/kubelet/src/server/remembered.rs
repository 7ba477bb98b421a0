//! Answers that count for a while.
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Answers kept at most: a few callers ask a node's agent. Beyond that those that have expired go, or all.
const KEPT_MAX: usize = 1024;

/// Answers by question, each for the same time.
pub struct Remembered<K, V> {
    time: Duration,
    answers: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    /// Keeps answers for `time`.
    pub fn new(time: Duration) -> Self {
        Self {
            time,
            answers: Mutex::default(),
        }
    }

    /// The answer, if it still counts.
    pub fn get(&self, question: &K) -> Option<V> {
        let answers = self.answers.lock();
        let (given, answer) = answers.get(question)?;
        (given.elapsed() < self.time).then(|| answer.clone())
    }

    /// Keeps an answer.
    pub fn put(&self, question: K, answer: V) {
        let mut answers = self.answers.lock();
        if answers.len() >= KEPT_MAX {
            answers.retain(|_, (given, _)| given.elapsed() < self.time);
        }
        if answers.len() >= KEPT_MAX {
            answers.clear();
        }
        answers.insert(question, (Instant::now(), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_their_time_and_do_not_pile_up() {
        let kept = Remembered::new(Duration::from_secs(60));
        for question in 0..=KEPT_MAX {
            kept.put(question, question);
        }
        assert_eq!(kept.get(&KEPT_MAX), Some(KEPT_MAX));
        assert_eq!(kept.get(&0), None);
        let forgetful = Remembered::new(Duration::ZERO);
        forgetful.put(1, 1);
        assert_eq!(forgetful.get(&1), None);
    }
}
