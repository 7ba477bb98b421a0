//! What is lost, as exactly as the log tells.
use super::{Salvage, key_of};
use crate::embedded::damage::{LostKeys, after};
use crate::embedded::format;
use crate::{EventKind, Key};

impl Salvage {
    /// What the log says about what was found, and about what was not.
    pub(super) fn compare_with_log(&mut self) {
        let mut missing = self.logged.clone();
        self.rows.retain(|(row, _)| {
            let (Some(key), Ok((_, revision))) = (key_of(row), format::split_version(row)) else {
                return false;
            };
            let current = missing.get(&key).is_none_or(|logged| logged.revision == revision);
            if current {
                missing.remove(&key);
            }
            current
        });
        missing.retain(|_, logged| logged.kind == EventKind::Put);
        self.damage.named = missing.into_keys().collect();
        self.damage.named.sort();
        let complete = self.state.as_ref().is_some_and(|state| {
            state.keys == (self.rows.len() + self.damage.named.len()) as u64 && !self.log_is_torn
        });
        if complete {
            // Every key that exists is accounted for.
            self.damage.lost.clear();
        }
        let unheard: Vec<_> = self
            .damage
            .named
            .iter()
            .filter(|key| !self.damage.lost.iter().any(|lost| lost.contains(key)))
            .cloned()
            .collect();
        for key in unheard {
            let behind = after(&key);
            self.lose(key, Some(behind));
        }
        let lost = &self.damage.lost;
        self.rows
            .retain(|(row, _)| key_of(row).is_some_and(|key| !lost.iter().any(|lost| lost.contains(&key))));
        let left = self.rows.len() as u64;
        self.damage.missing = self.state.as_ref().and_then(|state| state.keys.checked_sub(left));
    }

    pub(super) fn lose(&mut self, from: Key, to: Option<Key>) {
        self.damage.lost.push(LostKeys { from, to });
    }
}
