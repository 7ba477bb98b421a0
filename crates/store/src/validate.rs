//! Which requests a store refuses before it looks at its keys. Pure; the same for every store.
use crate::{Key, Op, RangeRequest, StoreError, Txn};
use std::collections::BTreeSet;

/// Refuses transactions whose meaning would depend on the order of their own writes, empty keys and
/// values above `value_limit` bytes.
pub(crate) fn txn(txn: &Txn, value_limit: usize) -> Result<(), StoreError> {
    if txn.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(StoreError::Invalid("a compare has no key".to_owned()));
    }
    branch(&txn.success, value_limit)?;
    branch(&txn.failure, value_limit)
}

/// True when no branch of the transaction can write.
pub(crate) fn is_read_only(txn: &Txn) -> bool {
    txn.success
        .iter()
        .chain(&txn.failure)
        .all(|op| matches!(op, Op::Range(_)))
}

/// True when `key` lies in `[start, end)`, or is `start` when there is no end.
pub(crate) fn contains(start: &[u8], end: Option<&Key>, key: &[u8]) -> bool {
    match end {
        Some(end) => start <= key && (*end == Key::UNBOUNDED || key < &**end),
        None => start == key,
    }
}

fn branch(ops: &[Op], value_limit: usize) -> Result<(), StoreError> {
    let mut puts = BTreeSet::new();
    for op in ops {
        match op {
            Op::Put { key, value, .. } => {
                if key.is_empty() {
                    return Err(StoreError::Invalid("a put has no key".to_owned()));
                }
                if value.len() > value_limit {
                    return Err(StoreError::TooLarge {
                        key: key.clone(),
                        size: value.len(),
                        limit: value_limit,
                    });
                }
                if !puts.insert(key) {
                    return Err(StoreError::DuplicateKey(key.clone()));
                }
            }
            Op::Delete { start, end: None } if start.is_empty() => {
                return Err(StoreError::Invalid("a delete has no key".to_owned()));
            }
            Op::Range(RangeRequest { start, end: None, .. }) if start.is_empty() => {
                return Err(StoreError::Invalid("a range has no key".to_owned()));
            }
            Op::Delete { .. } | Op::Range(_) => {}
        }
    }
    for op in ops {
        let Op::Delete { start, end } = op else {
            continue;
        };
        if let Some(key) = puts.iter().find(|key| contains(start, end.as_ref(), key)) {
            return Err(StoreError::DuplicateKey((*key).clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(key: &str, size: usize) -> Op {
        Op::put(key, Bytes::from(vec![0; size]), None)
    }

    #[test]
    fn refuses_what_has_no_single_meaning() {
        let cases: [(Vec<Op>, bool); 7] = [
            (vec![put("a", 10)], true),
            (vec![put("a", 11)], false),
            (vec![put("", 1)], false),
            (vec![put("a", 1), put("a", 1)], false),
            (vec![put("a", 1), Op::delete("a")], false),
            (vec![Op::delete("b"), put("a", 1)], true),
            (
                vec![
                    Op::Delete {
                        start: "a".into(),
                        end: Some("c".into()),
                    },
                    put("b", 1),
                ],
                false,
            ),
        ];
        for (ops, valid) in cases {
            let as_failure = Txn {
                failure: ops.clone(),
                ..Txn::default()
            };
            let as_success = Txn {
                success: ops.clone(),
                ..Txn::default()
            };
            assert_eq!(txn(&as_success, 10).is_ok(), valid, "{ops:?}");
            assert_eq!(txn(&as_failure, 10).is_ok(), valid, "{ops:?}");
        }
    }
}
