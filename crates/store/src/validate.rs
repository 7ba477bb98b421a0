//! Which requests a store refuses before it looks at its keys. Pure; the same for every store.
use crate::{Key, Op, RangeRequest, StoreError, Txn};
use std::collections::BTreeSet;

/// Refuses transactions whose meaning would depend on the order of their own writes, empty keys and
/// values above `value_limit` bytes.
pub(crate) fn txn(txn: &Txn, value_limit: usize) -> Result<(), StoreError> {
    both_branches(txn, value_limit).map(|_| ())
}

/// True when no branch of the transaction can write.
pub(crate) fn is_read_only(txn: &Txn) -> bool {
    let mut ops = txn.success.iter().chain(&txn.failure);
    ops.all(|op| match op {
        Op::Range(_) => true,
        Op::Txn(nested) => is_read_only(nested),
        Op::Put { .. } | Op::Delete { .. } => false,
    })
}

/// True when `key` lies in `[start, end)`, or is `start` when there is no end.
pub(crate) fn contains(start: &[u8], end: Option<&Key>, key: &[u8]) -> bool {
    match end {
        Some(end) => start <= key && (*end == Key::UNBOUNDED || key < &**end),
        None => start == key,
    }
}

/// What operations that may be applied together write.
#[derive(Default)]
struct Writes<'t> {
    puts: BTreeSet<&'t Key>,
    deletes: Vec<(&'t Key, Option<&'t Key>)>,
}

impl<'t> Writes<'t> {
    /// Takes in what is written beside this.
    fn and(&mut self, other: Self) -> Result<(), StoreError> {
        let twice = other.puts.iter().find(|key| {
            let deleted = |(start, end): &(&Key, Option<&Key>)| contains(start, *end, key);
            self.puts.contains(*key) || self.deletes.iter().any(deleted)
        });
        let deleted = || {
            let deletes = |key: &&Key| {
                other
                    .deletes
                    .iter()
                    .any(|(start, end)| contains(start, *end, key))
            };
            self.puts.iter().copied().find(deletes)
        };
        if let Some(key) = twice.copied().or_else(deleted) {
            return Err(StoreError::DuplicateKey(key.clone()));
        }
        self.either(other);
        Ok(())
    }

    /// Takes in what is written in place of this.
    fn either(&mut self, other: Self) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }
}

fn both_branches(txn: &Txn, value_limit: usize) -> Result<Writes<'_>, StoreError> {
    if txn.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(StoreError::Invalid("a compare has no key".to_owned()));
    }
    let mut writes = branch(&txn.success, value_limit)?;
    writes.either(branch(&txn.failure, value_limit)?);
    Ok(writes)
}

fn branch(ops: &[Op], value_limit: usize) -> Result<Writes<'_>, StoreError> {
    let mut writes = Writes::default();
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
                writes.and(Writes {
                    puts: BTreeSet::from([key]),
                    ..Writes::default()
                })?;
            }
            Op::Delete { start, end: None } if start.is_empty() => {
                return Err(StoreError::Invalid("a delete has no key".to_owned()));
            }
            Op::Range(RangeRequest { start, end: None, .. }) if start.is_empty() => {
                return Err(StoreError::Invalid("a range has no key".to_owned()));
            }
            Op::Delete { start, end } => writes.and(Writes {
                deletes: vec![(start, end.as_ref())],
                ..Writes::default()
            })?,
            Op::Range(_) => {}
            Op::Txn(nested) => writes.and(both_branches(nested, value_limit)?)?,
        }
    }
    Ok(writes)
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
            let nested = Txn::default().then(Op::Txn(as_failure));
            assert_eq!(txn(&nested, 10).is_ok(), valid, "{ops:?}");
        }
    }

    #[test]
    fn what_transactions_within_write_has_no_second_meaning_beside_the_rest() {
        let within = |success: Op, failure: Op| Op::Txn(Txn::default().then(success).otherwise(failure));
        let cases: [(Vec<Op>, bool); 7] = [
            // Only one of them comes to pass.
            (vec![within(put("a", 1), put("a", 1))], true),
            (vec![within(put("a", 1), Op::delete("a"))], true),
            (vec![within(put("a", 1), put("b", 1)), put("c", 1)], true),
            (vec![within(put("a", 1), put("b", 1)), put("b", 1)], false),
            (vec![Op::delete("b"), within(put("a", 1), put("b", 1))], false),
            (
                vec![within(put("a", 1), put("b", 1)), within(put("c", 1), put("a", 1))],
                false,
            ),
            (vec![within(put("a", 1), put("b", 1)), Op::delete("a")], false),
        ];
        for (ops, valid) in cases {
            let outer = Txn {
                success: ops.clone(),
                ..Txn::default()
            };
            assert_eq!(txn(&outer, 10).is_ok(), valid, "{ops:?}");
            assert!(!is_read_only(&outer), "{ops:?}");
        }
        let reading = within(
            Op::Range(RangeRequest::key("a")),
            Op::Range(RangeRequest::key("b")),
        );
        assert!(is_read_only(&Txn::default().otherwise(reading)));
    }
}
