//! `orlop store verify`: every page, every record, and that the tables agree with each other.
use super::Damage;
use crate::embedded::fault::Fault;
use crate::embedded::format::{self, KEYS, LEASE_KEYS, LEASES, LOG, LogEntry, Record, State};
use crate::embedded::read;
use crate::{EventKind, Key};
use redb::{ReadTransaction, ReadableTable};
use std::collections::HashMap;

/// Faults that are told one by one before only their number is.
const FAULTS_MAX: usize = 20;

/// What a look at a whole store has found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Facts, a line each.
    pub facts: Vec<String>,
    /// What is wrong, a line each; empty: the store is sound.
    pub faults: Vec<String>,
    faults_untold: usize,
}

impl Verified {
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    pub(in crate::embedded) fn damaged(damage: &Damage) -> Self {
        let mut faults = damage.found.clone();
        faults.push(damage.losses());
        faults.push(super::WHAT_TO_DO.to_owned());
        Self {
            faults,
            ..Self::default()
        }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        } else {
            self.faults_untold += 1;
        }
    }
}

#[derive(Default)]
struct Counts {
    versions: u64,
    keys: u64,
    changes: u64,
    record_bytes: u64,
    leased: u64,
}

/// Checks the records of a store whose pages are sound.
pub(in crate::embedded) fn records(snapshot: &ReadTransaction) -> Result<Verified, Fault> {
    let state = read::state(snapshot)?;
    let mut check = Check {
        verified: Verified::default(),
        counts: Counts::default(),
        state,
        leased: HashMap::new(),
        newest: HashMap::new(),
    };
    check.keys(snapshot)?;
    check.log(snapshot)?;
    check.leases(snapshot)?;
    Ok(check.finish())
}

struct Check {
    verified: Verified,
    counts: Counts,
    state: State,
    /// The lease of each key that has one now.
    leased: HashMap<Key, i64>,
    /// The newest version of each key, and whether it is a deletion.
    newest: HashMap<Key, (u64, bool)>,
}

impl Check {
    fn keys(&mut self, snapshot: &ReadTransaction) -> Result<(), Fault> {
        let mut newest: Option<(Key, bool, i64)> = None;
        for row in snapshot.open_table(KEYS)?.iter()? {
            let (row, value) = row?;
            let (row, value) = (row.value(), value.value());
            self.counts.versions += 1;
            self.counts.record_bytes += (row.len() + value.len()) as u64;
            let (bound, revision) = format::split_version(row)?;
            let key = match format::key_of_bound(bound) {
                Ok(key) => key,
                Err(_) => {
                    self.verified.fault(format!("{} is no key", bound.escape_ascii()));
                    continue;
                }
            };
            let record = match Record::decode(row, value) {
                Ok(record) => record,
                Err(_) => {
                    let fault = format!("{key} at revision {revision} does not match its checksum");
                    self.verified.fault(fault);
                    continue;
                }
            };
            if revision > self.state.revision {
                let fault = format!("{key} has a version of revision {revision}, which has not come yet");
                self.verified.fault(fault);
            }
            if newest.as_ref().is_some_and(|(before, ..)| *before != key) {
                self.count(newest.take());
            }
            let is_there = record.kind == EventKind::Put;
            self.newest.insert(key.clone(), (revision, !is_there));
            newest = Some((key, is_there, record.lease));
        }
        self.count(newest);
        Ok(())
    }

    fn count(&mut self, newest: Option<(Key, bool, i64)>) {
        if let Some((key, true, lease)) = newest {
            self.counts.keys += 1;
            if lease != 0 {
                self.leased.insert(key, lease);
            }
        }
    }

    fn log(&mut self, snapshot: &ReadTransaction) -> Result<(), Fault> {
        let keys = snapshot.open_table(KEYS)?;
        // The newest change of each key so far, and whether it is a deletion.
        let mut logged: HashMap<Key, (u64, bool)> = HashMap::new();
        for entry in snapshot.open_table(LOG)?.iter()? {
            let (position, row) = entry?;
            let (position, row) = (position.value(), row.value());
            self.counts.changes += 1;
            self.counts.record_bytes += (position.len() + row.len()) as u64;
            let revision = format::log_revision(position)?;
            let Ok(entry) = LogEntry::decode(position, row) else {
                let fault = format!("a change of revision {revision} does not match its checksum");
                self.verified.fault(fault);
                continue;
            };
            let key = Key::from(entry.key);
            if revision > self.state.revision {
                self.verified.fault(format!(
                    "{key} has changed in revision {revision}, which has not come yet"
                ));
            }
            if revision < self.state.compacted {
                // Being forgotten.
                continue;
            }
            let before = logged.insert(key.clone(), (revision, entry.kind == EventKind::Delete));
            match before {
                Some((before, deleted))
                    // Of a deletion the older format says nothing.
                    if before != entry.previous && !(deleted && entry.previous == 0) =>
                {
                    let previous = entry.previous;
                    self.verified.fault(format!(
                        "{key} was not last changed in {previous} before {revision}"
                    ));
                }
                Some((before, deleted)) => {
                    let kept = match &entry.replaced {
                        Some(replaced) => Some(replaced.kind == EventKind::Delete),
                        None => keys
                            .get(format::versioned_key(&key, before).as_slice())?
                            .map(|record| Record::is_deletion(record.value())),
                    };
                    self.compare(&key, before, kept, deleted);
                }
                None if entry.previous > self.state.compacted => self.verified.fault(format!(
                    "{key} was changed in revision {}, and the log does not say so",
                    entry.previous
                )),
                None => {}
            }
            if entry.replaced.is_some() {
                self.counts.versions += 1;
            }
        }
        for (key, (revision, deleted)) in &logged {
            let newest = self.newest.remove(key);
            let kept = newest
                .filter(|(newest, _)| newest == revision)
                .map(|(_, deleted)| deleted);
            // A deletion of the compacted revision may have been forgotten.
            if kept.is_some() || !deleted || *revision > self.state.compacted {
                self.compare(key, *revision, kept, *deleted);
            }
        }
        for (key, (revision, _)) in std::mem::take(&mut self.newest) {
            if revision > self.state.compacted {
                self.verified.fault(format!(
                    "{key} was changed in revision {revision}, and the log does not say so"
                ));
            }
        }
        Ok(())
    }

    /// `kept`: whether the version that is there is a deletion. `deleted`: whether the log says so.
    fn compare(&mut self, key: &Key, revision: u64, kept: Option<bool>, deleted: bool) {
        match kept {
            None => self
                .verified
                .fault(format!("{key} lacks its version of revision {revision}")),
            Some(kept) if kept != deleted => self
                .verified
                .fault(format!("{key} and the log disagree about revision {revision}")),
            Some(_) => {}
        }
    }

    fn leases(&mut self, snapshot: &ReadTransaction) -> Result<(), Fault> {
        let leases = snapshot.open_table(LEASES)?;
        let rows = snapshot.open_table(LEASE_KEYS)?;
        for row in rows.iter()? {
            let (row, ()) = (row?.0.value().to_vec(), ());
            let Some((lease, key)) = row
                .split_first_chunk()
                .map(|(lease, key)| (i64::from_be_bytes(*lease), key))
            else {
                self.verified
                    .fault(format!("{} ties nothing to no lease", row.escape_ascii()));
                continue;
            };
            let key = Key::from(key);
            if leases.get(lease)?.is_none() {
                self.verified
                    .fault(format!("{key} is tied to lease {lease:x}, which does not exist"));
            }
            if self.leased.get(&key) == Some(&lease) {
                self.counts.leased += 1;
                self.leased.remove(&key);
            } else {
                self.verified
                    .fault(format!("{key} is tied to lease {lease:x}, but does not say so"));
            }
        }
        let mut dangling = 0;
        for (key, lease) in std::mem::take(&mut self.leased) {
            if leases.get(lease)?.is_some() {
                self.verified
                    .fault(format!("{key} will not end with its lease {lease:x}"));
            } else {
                dangling += 1;
            }
        }
        if dangling > 0 {
            // A snapshot of etcd may have them.
            self.verified
                .facts
                .push(format!("{dangling} keys name leases that have ended"));
        }
        self.verified.facts.push(format!(
            "{} leases hold {} keys",
            leases.iter()?.count(),
            self.counts.leased
        ));
        Ok(())
    }

    fn finish(mut self) -> Verified {
        for (what, counted, noted) in [
            ("keys", self.counts.keys, self.state.keys),
            (
                "bytes of records",
                self.counts.record_bytes,
                self.state.record_bytes,
            ),
        ] {
            if counted != noted {
                self.verified
                    .fault(format!("{counted} {what}, but {noted} are noted"));
            }
        }
        let Verified {
            mut facts,
            mut faults,
            faults_untold,
        } = self.verified;
        facts.insert(
            0,
            format!(
                "revision {}, readable from {} on",
                self.state.revision, self.state.compacted
            ),
        );
        facts.insert(
            1,
            format!(
                "{} keys in {} versions, {} changes in the log",
                self.counts.keys, self.counts.versions, self.counts.changes
            ),
        );
        if faults_untold > 0 {
            faults.push(format!("and {faults_untold} more"));
        }
        Verified {
            facts,
            faults,
            faults_untold: 0,
        }
    }
}
