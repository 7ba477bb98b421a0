//! Alarms, and the quota whose end raises one: from then on a member takes no more writes until somebody has made
//! room and has disarmed the alarm.
use crate::errors;
use etcd_client::AlarmType;
use etcd_client::proto::{PbAlarmMember, PbTxnOpRequest, PbTxnRequest};
use orlop_store::embedded::EmbeddedStore;
use orlop_store::{Store, StoreError};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tonic::Status;

/// What a put costs beside its key and value, and what a lease costs, in bytes, as etcd counts.
const PUT_BYTES: u64 = 256;
const LEASE_BYTES: u64 = 64;

/// An alarm by its number in etcd's messages, where 0 is none.
pub fn kind(number: i32) -> Option<AlarmType> {
    let kind = AlarmType::try_from(number).ok();
    kind.filter(|kind| *kind != AlarmType::None)
}

/// Alarms of a member.
#[derive(Debug, Default)]
pub struct Alarms {
    /// With the members for which they were raised.
    raised: Mutex<BTreeSet<(AlarmType, u64)>>,
    /// Whether there are any: every call asks.
    any: AtomicBool,
    /// Where they outlive the process: a line for each, its name and the member. Nowhere, for a store in memory.
    file: Option<PathBuf>,
}

impl Alarms {
    /// Those that a file has, which is kept from now on.
    ///
    /// # Errors
    /// There is a file, and it cannot be read.
    pub fn kept_in(file: PathBuf) -> io::Result<Self> {
        let text = match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let unreadable =
            |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{line:?} is no alarm"));
        let alarm = |line: &str| read_line(line).ok_or_else(|| unreadable(line));
        let raised = text.lines().map(alarm).collect::<io::Result<BTreeSet<_>>>()?;
        Ok(Self {
            any: AtomicBool::new(!raised.is_empty()),
            raised: Mutex::new(raised),
            file: Some(file),
        })
    }

    fn raised(&self) -> MutexGuard<'_, BTreeSet<(AlarmType, u64)>> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is raised now. It is little and changes with a fault of the member or a person's word: who raises or
    /// disarms waits for the disk.
    fn keep(&self, raised: &BTreeSet<(AlarmType, u64)>) {
        let Some(file) = &self.file else { return };
        let lines = raised
            .iter()
            .map(|(alarm, member)| format!("{} {member:x}\n", alarm.as_str_name()));
        let kept = write(file, &lines.collect::<String>());
        if let Err(error) = kept {
            tracing::warn!(file = %file.display(), %error, "a restart will not know the alarms");
        }
    }

    pub fn raise(&self, alarm: AlarmType, member: u64) {
        let mut raised = self.raised();
        if raised.insert((alarm, member)) {
            self.keep(&raised);
        }
        self.any.store(true, Ordering::Release);
    }

    /// Whether it had been raised.
    pub fn disarm(&self, alarm: AlarmType, member: u64) -> bool {
        let mut raised = self.raised();
        let was = raised.remove(&(alarm, member));
        if was {
            self.keep(&raised);
        }
        self.any.store(!raised.is_empty(), Ordering::Release);
        was
    }

    pub fn is_raised(&self, alarm: AlarmType) -> bool {
        self.any.load(Ordering::Acquire) && self.raised().iter().any(|(raised, _)| *raised == alarm)
    }

    /// Those of a kind, or all.
    pub fn list(&self, kind: Option<AlarmType>) -> Vec<PbAlarmMember> {
        let of_kind = |(alarm, _): &&(AlarmType, u64)| kind.is_none_or(|kind| kind == *alarm);
        let member = |(alarm, member): &(AlarmType, u64)| member_of(*alarm, *member);
        self.raised().iter().filter(of_kind).map(member).collect()
    }

    /// Refuses everything about keys while they are said to be corrupt.
    pub fn allow_reading(&self) -> Result<(), Status> {
        match self.is_raised(AlarmType::Corrupt) {
            true => Err(errors::corrupt()),
            false => Ok(()),
        }
    }

    /// Refuses what needs room, too, while there is none.
    fn allow_writing(&self) -> Result<(), Status> {
        self.allow_reading()?;
        match self.is_raised(AlarmType::Nospace) {
            true => Err(errors::no_space()),
            false => Ok(()),
        }
    }
}

fn read_line(line: &str) -> Option<(AlarmType, u64)> {
    let (name, member) = line.split_once(' ')?;
    let alarm = AlarmType::from_str_name(name)?;
    Some((alarm, u64::from_str_radix(member, 16).ok()?))
}

/// Puts a text in the place of a file's, whole or not at all.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut written = File::create(&new)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    std::fs::rename(&new, file)?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// An alarm as etcd's messages have it.
pub fn member_of(alarm: AlarmType, member: u64) -> PbAlarmMember {
    PbAlarmMember {
        member_id: member,
        alarm: alarm as i32,
    }
}

/// How many bytes the records of a store may take.
#[derive(Debug)]
pub struct Quota {
    bytes: Option<u64>,
    /// At most so many are taken: what they were when they were counted, and what every write since could have added.
    taken_at_most: AtomicU64,
}

impl Quota {
    /// Without a number of bytes, the disk is the only limit.
    pub fn new(bytes: Option<u64>) -> Self {
        Self {
            bytes,
            // Nobody has counted yet.
            taken_at_most: AtomicU64::new(u64::MAX),
        }
    }

    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Whether there is room for so many bytes more.
    async fn has_room(&self, store: &EmbeddedStore, cost: u64) -> Result<bool, StoreError> {
        let Some(bytes) = self.bytes else {
            return Ok(true);
        };
        let before = self.taken_at_most.load(Ordering::Relaxed);
        if before.saturating_add(cost) < bytes {
            self.taken_at_most.fetch_add(cost, Ordering::Relaxed);
            return Ok(true);
        }
        let taken = store.status().await?.in_use;
        self.taken_at_most
            .store(taken.saturating_add(cost), Ordering::Relaxed);
        Ok(taken.saturating_add(cost) < bytes)
    }
}

impl crate::Face {
    /// Refuses what would need more room than there is.
    pub(crate) async fn make_room(&self, cost: u64) -> Result<(), Status> {
        // A transaction that puts nothing needs no room, and may be what makes some.
        if cost == 0 {
            return self.alarms.allow_reading();
        }
        self.alarms.allow_writing()?;
        let has_room = self.quota.has_room(&self.store, cost).await;
        if !has_room.map_err(errors::status)? {
            tracing::warn!(
                quota = self.quota.bytes(),
                "the quota is reached: no more is written until room is made and the alarm disarmed"
            );
            self.alarms.raise(AlarmType::Nospace, self.member_id);
            return Err(errors::no_space());
        }
        Ok(())
    }
}

pub fn put_cost(key: &[u8], value: &[u8]) -> u64 {
    PUT_BYTES + (key.len() + value.len()) as u64
}

pub fn lease_cost() -> u64 {
    LEASE_BYTES
}

/// Of whichever branch costs more.
pub fn txn_cost(txn: &PbTxnRequest) -> u64 {
    let branch = |ops: &[etcd_client::proto::PbTxnRequestOp]| -> u64 {
        ops.iter()
            .map(|op| match &op.request {
                Some(PbTxnOpRequest::RequestPut(put)) => put_cost(&put.key, &put.value),
                Some(PbTxnOpRequest::RequestTxn(nested)) => txn_cost(nested),
                _ => 0,
            })
            .sum()
    };
    branch(&txn.success).max(branch(&txn.failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disarming_the_last_alarm_lets_writes_in_again() {
        let alarms = Alarms::default();
        assert!(alarms.allow_writing().is_ok());
        alarms.raise(AlarmType::Nospace, 7);
        assert!(alarms.allow_reading().is_ok());
        assert_eq!(
            alarms.allow_writing().unwrap_err().message(),
            "etcdserver: mvcc: database space exceeded"
        );
        alarms.raise(AlarmType::Corrupt, 7);
        assert_eq!(
            alarms.allow_reading().unwrap_err().message(),
            "etcdserver: corrupt cluster"
        );
        assert_eq!(
            alarms.list(Some(AlarmType::Corrupt)),
            [member_of(AlarmType::Corrupt, 7)]
        );
        assert!(alarms.disarm(AlarmType::Corrupt, 7));
        assert!(!alarms.disarm(AlarmType::Corrupt, 7));
        assert!(alarms.disarm(AlarmType::Nospace, 7));
        assert!(alarms.allow_writing().is_ok());
    }

    #[test]
    fn alarms_outlive_a_restart_until_they_are_disarmed() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Alarms::kept_in(directory.path().join("alarms")).unwrap();
        let alarms = open();
        alarms.raise(AlarmType::Nospace, 0xabc);
        alarms.raise(AlarmType::Corrupt, 7);
        let alarms = open();
        assert_eq!(alarms.list(None).len(), 2);
        assert!(alarms.is_raised(AlarmType::Corrupt));
        assert!(alarms.disarm(AlarmType::Corrupt, 7));
        let alarms = open();
        assert_eq!(alarms.list(None), [member_of(AlarmType::Nospace, 0xabc)]);
        assert!(alarms.allow_writing().is_err());
        assert!(alarms.disarm(AlarmType::Nospace, 0xabc));
        assert!(open().allow_writing().is_ok());
    }

    #[test]
    fn a_transaction_costs_what_its_dearer_branch_puts() {
        let put = |key: &str| etcd_client::proto::PbTxnRequestOp {
            request: Some(PbTxnOpRequest::RequestPut(etcd_client::proto::PbPutRequest {
                key: key.into(),
                ..Default::default()
            })),
        };
        let nested = PbTxnRequest {
            success: vec![put("abc")],
            ..PbTxnRequest::default()
        };
        let txn = PbTxnRequest {
            success: vec![put("a")],
            failure: vec![etcd_client::proto::PbTxnRequestOp {
                request: Some(PbTxnOpRequest::RequestTxn(nested)),
            }],
            ..PbTxnRequest::default()
        };
        assert_eq!(txn_cost(&txn), PUT_BYTES + 3);
    }
}
