//! Answers of a provider while they count. Pure: it is told what time it is.
use super::protocol::Scope;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What an answer was for, and whose it is: nobody's, or a pod's account's.
type Key = (String, String);

/// Answers by what they are for.
pub struct Cache<T> {
    kept: HashMap<Key, (T, Instant)>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { kept: HashMap::new() }
    }
}

/// The registry of a repository, with its port.
fn registry(repository: &str) -> &str {
    repository.split('/').next().unwrap_or_default()
}

fn place(scope: Scope, repository: &str) -> String {
    match scope {
        Scope::Image => repository.to_owned(),
        Scope::Registry => registry(repository).to_owned(),
        Scope::Global => "global".to_owned(),
    }
}

impl<T: Clone> Cache<T> {
    /// The most particular answer that counts at `now`.
    pub fn get(&self, repository: &str, account: &str, now: Instant) -> Option<T> {
        let scopes = [Scope::Image, Scope::Registry, Scope::Global];
        scopes.into_iter().find_map(|scope| {
            let key = (place(scope, repository), account.to_owned());
            let (answer, until) = self.kept.get(&key)?;
            (now <= *until).then(|| answer.clone())
        })
    }

    /// Keeps an answer for a while, and forgets those whose time is over.
    pub fn put(
        &mut self,
        scope: Scope,
        (repository, account): (&str, &str),
        answer: T,
        (now, lasts): (Instant, Duration),
    ) {
        self.kept.retain(|_, (_, until)| now <= *until);
        if let Some(until) = now.checked_add(lasts).filter(|_| !lasts.is_zero()) {
            let key = (place(scope, repository), account.to_owned());
            self.kept.insert(key, (answer, until));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_their_scope_their_account_and_their_time() {
        let now = Instant::now();
        let second = |seconds| now + Duration::from_secs(seconds);
        let ten = Duration::from_secs(10);
        let mut cache = Cache::default();
        cache.put(Scope::Registry, ("r.io/a", ""), "registry", (now, ten));
        cache.put(Scope::Image, ("r.io/a", ""), "image", (now, ten * 2));
        cache.put(Scope::Image, ("r.io/z", ""), "never kept", (now, Duration::ZERO));
        assert_eq!(cache.get("r.io/a", "", second(5)), Some("image"));
        assert_eq!(cache.get("r.io/b", "", second(5)), Some("registry"));
        assert_eq!(cache.get("r.io/z", "", second(11)), None);
        assert_eq!(cache.get("r.io:5000/b", "", second(5)), None);
        assert_eq!(cache.get("r.io/a", "account", second(5)), None);
        cache.put(Scope::Global, ("r.io/a", "account"), "all", (second(11), ten));
        assert_eq!(cache.get("other.io/x", "account", second(12)), Some("all"));
        assert_eq!(cache.kept.len(), 2, "what is over is gone");
    }
}
