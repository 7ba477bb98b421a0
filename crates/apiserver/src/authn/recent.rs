//! What was found out about tokens a moment ago, so that not every request costs a signature check. Bounded:
//! of two generations the older one is dropped when the younger one is full.
use parking_lot::Mutex;
use sha2::Sha256;
use std::collections::HashMap;
use std::time::Instant;

/// Entries of a generation.
const GENERATION: usize = 1024;

pub type Digest = [u8; 32];

/// Tokens are never kept themselves.
pub fn digest(token: &str) -> Digest {
    use sha2::Digest as _;
    Sha256::digest(token.as_bytes()).into()
}

/// Values by token, each until its time.
pub struct Recent<V> {
    generations: Mutex<[HashMap<Digest, (V, Instant)>; 2]>,
    limit: usize,
}

impl<V: Clone> Default for Recent<V> {
    fn default() -> Self {
        Self::of(GENERATION)
    }
}

impl<V: Clone> Recent<V> {
    fn of(limit: usize) -> Self {
        Self {
            generations: Mutex::default(),
            limit,
        }
    }

    pub fn get(&self, key: &Digest, now: Instant) -> Option<V> {
        let generations = self.generations.lock();
        let (value, until) = generations.iter().find_map(|generation| generation.get(key))?;
        (*until > now).then(|| value.clone())
    }

    pub fn put(&self, key: Digest, value: V, until: Instant) {
        let mut generations = self.generations.lock();
        let [young, old] = &mut *generations;
        if young.len() >= self.limit && !young.contains_key(&key) {
            *old = std::mem::take(young);
        }
        young.insert(key, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn values_end_with_their_time_and_the_oldest_make_room() {
        let recent = Recent::of(2);
        let now = Instant::now();
        let later = now + Duration::from_secs(10);
        let keys: Vec<Digest> = (0..5).map(|n| digest(&n.to_string())).collect();
        for (n, key) in keys.iter().enumerate() {
            recent.put(*key, n, later);
        }
        assert_eq!(recent.get(&keys[4], now), Some(4));
        assert_eq!(recent.get(&keys[0], now), None);
        assert_eq!(recent.get(&keys[4], later), None);
        let kept: usize = recent.generations.lock().iter().map(HashMap::len).sum();
        assert!(kept <= 4, "{kept}");
    }
}
