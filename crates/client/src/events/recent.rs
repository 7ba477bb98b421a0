//! A map that remembers the most recently used entries and forgets the others.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    used: u64,
    max: usize,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            used: 0,
            max,
        }
    }

    /// The entry of `key`, made by `make` if it was forgotten or never there.
    pub(super) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.used += 1;
        let used = self.used;
        if let Some((last, _)) = self.entries.get_mut(&key) {
            self.order.remove(last);
            *last = used;
        } else if self.entries.len() >= self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.order.insert(used, key.clone());
        &mut self.entries.entry(key).or_insert_with(|| (used, make())).1
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some((used, _)) = self.entries.remove(key) {
            self.order.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_entry_is_forgotten() {
        let mut recent = Recent::new(2);
        *recent.entry("a", || 0) += 1;
        *recent.entry("b", || 0) += 1;
        *recent.entry("a", || 0) += 1;
        *recent.entry("c", || 0) += 1;
        assert_eq!(*recent.entry("a", || 0), 2);
        assert_eq!(*recent.entry("b", || 0), 0, "b was the oldest");
        assert_eq!((recent.entries.len(), recent.order.len()), (2, 2));
    }
}
