//! What is remembered of objects for a while, by uid.

use std::collections::{HashMap, VecDeque};

use super::graph::Uid;

/// Objects remembered; the oldest is forgotten for the next.
const MAX: usize = 4096;

/// Something about the objects that it was told of last.
#[derive(Debug)]
pub struct Recent<V> {
    by_uid: HashMap<Uid, V>,
    order: VecDeque<Uid>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self {
            by_uid: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<V> Recent<V> {
    /// Remembers `value` of an object; what was said of it first stays.
    pub fn insert(&mut self, uid: Uid, value: V) {
        if self.by_uid.contains_key(&uid) {
            return;
        }
        if self.order.len() >= MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_uid.remove(&oldest);
        }
        self.order.push_back(uid.clone());
        self.by_uid.insert(uid, value);
    }

    /// What is remembered of an object.
    pub fn get(&self, uid: &str) -> Option<&V> {
        self.by_uid.get(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_the_first_word_stays() {
        let mut recent = Recent::default();
        for number in 0..=MAX {
            recent.insert(number.to_string().into(), number);
        }
        recent.insert("1".into(), 0);
        assert_eq!(recent.get("0"), None);
        assert_eq!(recent.get("1"), Some(&1));
        assert_eq!(recent.order.len(), recent.by_uid.len());
    }
}
