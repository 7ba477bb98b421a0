//! When leases end. Which leases there are and for how long is in the database; their clocks are
//! only here, and start anew when the store does, as etcd's do when its leader changes: that can
//! make a lease live longer, never shorter, and keeps renewals off the disk.
use crate::LeaseId;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Leases {
    by_id: HashMap<LeaseId, Lease>,
    by_end: BTreeSet<(Duration, LeaseId)>,
}

#[derive(Debug)]
struct Lease {
    ttl_seconds: u64,
    end: Duration,
}

impl Leases {
    pub(super) fn start(&mut self, id: LeaseId, ttl_seconds: u64, now: Duration) {
        self.forget(id);
        let end = now.saturating_add(Duration::from_secs(ttl_seconds));
        self.by_end.insert((end, id));
        self.by_id.insert(id, Lease { ttl_seconds, end });
    }

    /// Restarts the lease's clock; answers its time to live.
    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Duration) -> Option<u64> {
        let ttl_seconds = self.by_id.get(&id)?.ttl_seconds;
        self.start(id, ttl_seconds, now);
        Some(ttl_seconds)
    }

    /// Full and remaining time to live, in seconds.
    pub(super) fn time_to_live(&self, id: LeaseId, now: Duration) -> Option<(u64, u64)> {
        let lease = self.by_id.get(&id)?;
        Some((lease.ttl_seconds, lease.end.saturating_sub(now).as_secs()))
    }

    pub(super) fn forget(&mut self, id: LeaseId) {
        if let Some(lease) = self.by_id.remove(&id) {
            self.by_end.remove(&(lease.end, id));
        }
    }

    /// Looks at a lease that should have ended again at `at`: ending it has failed.
    pub(super) fn postpone(&mut self, id: LeaseId, at: Duration) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            self.by_end.remove(&(lease.end, id));
            lease.end = at;
            self.by_end.insert((at, id));
        }
    }

    /// All leases, those that end first before the others.
    pub(super) fn by_end(&self) -> Vec<LeaseId> {
        self.by_end.iter().map(|(_, id)| *id).collect()
    }

    pub(super) fn next_end(&self) -> Option<Duration> {
        self.by_end.first().map(|(end, _)| *end)
    }

    /// The leases whose time is over.
    pub(super) fn ended(&self, now: Duration) -> Vec<LeaseId> {
        self.by_end
            .iter()
            .take_while(|(end, _)| *end <= now)
            .map(|(_, id)| *id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_its_time_after_it_was_last_kept_alive() {
        let at = Duration::from_secs;
        let mut leases = Leases::default();
        leases.start(LeaseId(1), 10, at(0));
        leases.start(LeaseId(2), 5, at(0));
        assert_eq!(leases.next_end(), Some(at(5)));
        assert_eq!(leases.by_end(), [LeaseId(2), LeaseId(1)]);
        assert_eq!(leases.keep_alive(LeaseId(2), at(4)), Some(5));
        assert_eq!(leases.time_to_live(LeaseId(2), at(6)), Some((5, 3)));
        assert_eq!(leases.ended(at(8)), []);
        assert_eq!(leases.ended(at(10)), [LeaseId(2), LeaseId(1)]);
        leases.postpone(LeaseId(2), at(20));
        assert_eq!(leases.ended(at(10)), [LeaseId(1)]);
        leases.forget(LeaseId(1));
        leases.forget(LeaseId(2));
        assert_eq!(leases.next_end(), None);
        assert_eq!(leases.keep_alive(LeaseId(2), at(4)), None);
    }
}
