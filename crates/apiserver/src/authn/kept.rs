//! When tokens that are kept in Secrets were used last: clients find it in the Secrets' labels, by the day.
use jiff::{Timestamp, ToSpan};
use orlop_api::annotations::day;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio::sync::Notify;

/// Secrets whose tokens were used today and that don't say so yet, by namespace and name.
#[derive(Default)]
pub struct Used {
    secrets: Mutex<BTreeSet<(String, String)>>,
    added: Notify,
}

impl Used {
    /// A token was used now, in seconds. `said`: when its Secret says it was.
    pub fn now(&self, namespace: &str, secret: &str, said: Option<&str>, now: i64) {
        if is_said(said, now) {
            return;
        }
        let added = self
            .secrets
            .lock()
            .insert((namespace.to_owned(), secret.to_owned()));
        if added {
            self.added.notify_one();
        }
    }

    /// Waits until there are some; takes them.
    pub async fn take(&self) -> BTreeSet<(String, String)> {
        loop {
            let taken = std::mem::take(&mut *self.secrets.lock());
            if !taken.is_empty() {
                return taken;
            }
            self.added.notified().await;
        }
    }
}

/// Whether what a Secret says holds; another server's clock may be a day ahead.
fn is_said(said: Option<&str>, now: i64) -> bool {
    let now = Timestamp::from_second(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let tomorrow = now.checked_add(24.hours()).unwrap_or(now);
    said.is_some_and(|said| said == day(now) || said == day(tomorrow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_use_is_told_once_a_day() {
        let used = Used::default();
        let now: Timestamp = "2026-03-01T23:00:00Z".parse().unwrap();
        for said in ["2026-03-01", "2026-03-02"] {
            used.now("n", said, Some(said), now.as_second());
        }
        used.now("n", "old", Some("2026-02-28"), now.as_second());
        used.now("n", "new", None, now.as_second());
        used.now("n", "new", None, now.as_second());
        let taken: Vec<String> = used.take().await.into_iter().map(|(_, name)| name).collect();
        assert_eq!(taken, ["new", "old"]);
    }
}
