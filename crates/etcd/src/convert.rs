//! Between etcd's messages and the store's words.
use crate::errors;
use etcd_client::proto::{
    PbCompare, PbCompareTarget, PbDeleteRequest, PbEvent, PbKeyValue, PbPutRequest, PbTargetUnion,
};
use orlop_store::Revision;
use orlop_store::{
    Compare, CompareResult, CompareTarget, Event, EventKind, Keep, Key, KeyValue, LeaseId, Op,
};
use tonic::Status;

/// etcd's numbers are signed.
pub fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// The revision of a request; 0 and less mean now.
pub fn revision(number: i64) -> Option<Revision> {
    u64::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .map(Revision)
}

/// The exclusive end of a request's range. etcd's "\0" for "no end" is the store's, too.
pub fn end(range_end: Vec<u8>) -> Option<Key> {
    (!range_end.is_empty()).then(|| range_end.into())
}

pub fn key_value(kv: KeyValue) -> PbKeyValue {
    PbKeyValue {
        key: kv.key.into(),
        create_revision: number(kv.create_revision.0),
        mod_revision: number(kv.mod_revision.0),
        version: number(kv.version),
        value: kv.value.into(),
        lease: kv.lease.map_or(0, |lease| lease.0),
    }
}

pub fn event(event: &Event, with_previous: bool) -> PbEvent {
    PbEvent {
        r#type: match event.kind {
            EventKind::Put => 0,
            EventKind::Delete => 1,
        },
        kv: Some(key_value(event.kv.clone())),
        prev_kv: event.previous.clone().filter(|_| with_previous).map(key_value),
    }
}

pub fn put(request: PbPutRequest) -> Result<Op, Status> {
    if request.key.is_empty() {
        return Err(errors::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(errors::value_provided());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(errors::lease_provided());
    }
    Ok(Op::Put {
        key: request.key.into(),
        value: request.value.into(),
        lease: (request.lease != 0).then_some(LeaseId(request.lease)),
        keep: Keep {
            value: request.ignore_value,
            lease: request.ignore_lease,
        },
    })
}

pub fn delete(request: PbDeleteRequest) -> Result<Op, Status> {
    if request.key.is_empty() {
        return Err(errors::empty_key());
    }
    Ok(Op::Delete {
        start: request.key.into(),
        end: end(request.range_end),
    })
}

pub fn compare(compare: PbCompare) -> Result<Compare, Status> {
    if compare.key.is_empty() {
        return Err(errors::empty_key());
    }
    let result = match compare.result {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        other => return Err(unknown("compare result", other)),
    };
    let target = match PbCompareTarget::try_from(compare.target) {
        Ok(target) => target,
        Err(_) => return Err(unknown("compare target", compare.target)),
    };
    // The union may be left out, or hold another target's value: that counts as zero.
    let number = match (target, &compare.target_union) {
        (PbCompareTarget::Version, Some(PbTargetUnion::Version(number)))
        | (PbCompareTarget::Create, Some(PbTargetUnion::CreateRevision(number)))
        | (PbCompareTarget::Mod, Some(PbTargetUnion::ModRevision(number))) => *number,
        _ => 0,
    };
    let (number, result) = counted(number, result);
    let target = match (target, compare.target_union) {
        (PbCompareTarget::Version, _) => CompareTarget::Version(number),
        (PbCompareTarget::Create, _) => CompareTarget::CreateRevision(Revision(number)),
        (PbCompareTarget::Mod, _) => CompareTarget::ModRevision(Revision(number)),
        (PbCompareTarget::Value, Some(PbTargetUnion::Value(value))) => CompareTarget::Value(value.into()),
        (PbCompareTarget::Value, _) => CompareTarget::Value(bytes::Bytes::new()),
        (PbCompareTarget::Lease, Some(PbTargetUnion::Lease(lease))) => CompareTarget::Lease(LeaseId(lease)),
        (PbCompareTarget::Lease, _) => CompareTarget::Lease(LeaseId(0)),
    };
    Ok(Compare {
        key: compare.key.into(),
        end: end(compare.range_end),
        target,
        result,
    })
}

/// A comparison with a number, as the store makes it, whose numbers begin at zero: all of them are greater than what is
/// below.
fn counted(number: i64, result: CompareResult) -> (u64, CompareResult) {
    match (u64::try_from(number), result) {
        (Ok(number), _) => (number, result),
        // True of none,
        (Err(_), CompareResult::Equal | CompareResult::Less) => (0, CompareResult::Less),
        // and true of all: none comes as far.
        (Err(_), CompareResult::Greater | CompareResult::NotEqual) => (u64::MAX, CompareResult::NotEqual),
    }
}

fn unknown(what: &str, number: i32) -> Status {
    Status::invalid_argument(format!("etcdserver: unknown {what} {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Face, Member};
    use etcd_client::proto::PbTxnRequest;
    use orlop_store::embedded::EmbeddedStore;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_number_of_a_key_is_greater_than_one_below_zero() {
        let face = Face::new(EmbeddedStore::in_memory().unwrap(), Member::named("m"));
        let put = PbPutRequest {
            key: b"there".to_vec(),
            ..PbPutRequest::default()
        };
        face.put_key(put).await.unwrap();
        // Equal, greater, less, not equal.
        for (result, holds) in [(0, false), (1, true), (2, false), (3, true)] {
            for (target, number) in [
                (0, PbTargetUnion::Version(-1)),
                (1, PbTargetUnion::CreateRevision(-1)),
                (2, PbTargetUnion::ModRevision(i64::MIN)),
            ] {
                for key in ["there", "not there"] {
                    let compare = PbCompare {
                        result,
                        target,
                        key: key.into(),
                        target_union: Some(number.clone()),
                        ..PbCompare::default()
                    };
                    let asked = PbTxnRequest {
                        compare: vec![compare.clone()],
                        ..PbTxnRequest::default()
                    };
                    let answer = face.transact(asked).await.unwrap();
                    assert_eq!(answer.succeeded, holds, "{compare:?}");
                }
            }
        }
    }
}
