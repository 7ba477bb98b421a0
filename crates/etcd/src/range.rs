//! Ranges: what etcd's requests ask beyond the store's (order, filters), on top of what it answers.
use crate::{convert, errors};
use etcd_client::proto::{PbRangeRequest, PbRangeResponse, PbResponseHeader};
use orlop_store::{KeyValue, RangeRequest, RangeResponse};
use std::cmp::Ordering;
use tonic::Status;

/// How an answer is to be shaped.
#[derive(Clone, Debug)]
pub struct Shape {
    order: Option<Order>,
    limit: usize,
    keys_only: bool,
    count_only: bool,
    modified: Bounds,
    created: Bounds,
}

#[derive(Clone, Copy, Debug)]
struct Order {
    by: Target,
    descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// Inclusive; 0 means unbounded.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: i64,
    max: i64,
}

impl Bounds {
    fn is_open(self) -> bool {
        self.min == 0 && self.max == 0
    }

    fn hold(self, revision: u64) -> bool {
        let revision = convert::number(revision);
        (self.min == 0 || revision >= self.min) && (self.max == 0 || revision <= self.max)
    }
}

/// Splits a request into what the store is asked and what is done with its answer.
pub fn split(request: PbRangeRequest) -> Result<(RangeRequest, Shape), Status> {
    if request.key.is_empty() {
        return Err(errors::empty_key());
    }
    let by = match request.sort_target {
        0 => Target::Key,
        1 => Target::Version,
        2 => Target::Create,
        3 => Target::Mod,
        4 => Target::Value,
        _ => return Err(Status::invalid_argument("etcdserver: invalid sort option")),
    };
    let order = match request.sort_order {
        // Keys come in order anyway; any other target is ordered even if nobody says how.
        0 | 1 if by == Target::Key => None,
        0 | 1 => Some(Order {
            by,
            descending: false,
        }),
        2 => Some(Order { by, descending: true }),
        _ => return Err(Status::invalid_argument("etcdserver: invalid sort option")),
    };
    let shape = Shape {
        order,
        limit: usize::try_from(request.limit).unwrap_or(0),
        keys_only: request.keys_only,
        count_only: request.count_only,
        modified: Bounds {
            min: request.min_mod_revision,
            max: request.max_mod_revision,
        },
        created: Bounds {
            min: request.min_create_revision,
            max: request.max_create_revision,
        },
    };
    let is_unfiltered = shape.modified.is_open() && shape.created.is_open();
    let limit = match shape.limit {
        limit if shape.is_plain() => limit,
        // As with etcd, which then orders the first keys and not all.
        limit if limit > 0 && is_unfiltered && request.sort_order == 0 => limit.saturating_add(1),
        _ => 0,
    };
    let asked = RangeRequest {
        start: request.key.into(),
        end: convert::end(request.range_end),
        limit,
        revision: convert::revision(request.revision),
        count_only: request.count_only,
        uncounted: false,
    };
    Ok((asked, shape))
}

/// Shapes the store's answer. The count is of the range, whatever is filtered or cut off.
pub fn join(answer: RangeResponse, shape: &Shape, header: PbResponseHeader) -> PbRangeResponse {
    let mut kvs = answer.kvs;
    kvs.retain(|kv| shape.modified.hold(kv.mod_revision.0) && shape.created.hold(kv.create_revision.0));
    if let Some(order) = shape.order {
        kvs.sort_by(|a, b| order.compare(a, b));
    }
    let mut more = answer.more;
    if shape.limit > 0 && kvs.len() > shape.limit {
        kvs.truncate(shape.limit);
        more = true;
    }
    let shown = |mut kv: KeyValue| {
        if shape.keys_only {
            kv.value.clear();
        }
        convert::key_value(kv)
    };
    PbRangeResponse {
        header: Some(header),
        kvs: if shape.count_only {
            Vec::new()
        } else {
            kvs.into_iter().map(shown).collect()
        },
        more,
        count: answer.count as i64,
    }
}

impl Shape {
    /// Whether what the store is asked is all that is wanted.
    pub fn is_plain(&self) -> bool {
        self.order.is_none() && self.modified.is_open() && self.created.is_open()
    }

    pub fn has_values(&self) -> bool {
        !self.keys_only
    }
}

impl Order {
    fn compare(self, a: &KeyValue, b: &KeyValue) -> Ordering {
        let ordering = match self.by {
            Target::Key => a.key.cmp(&b.key),
            Target::Version => a.version.cmp(&b.version),
            Target::Create => a.create_revision.cmp(&b.create_revision),
            Target::Mod => a.mod_revision.cmp(&b.mod_revision),
            Target::Value => a.value.cmp(&b.value),
        };
        if self.descending {
            ordering.reverse()
        } else {
            ordering
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_store::Revision;

    fn kv(key: &str, value: &str, created: u64, modified: u64) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: bytes::Bytes::copy_from_slice(value.as_bytes()),
            create_revision: Revision(created),
            mod_revision: Revision(modified),
            version: 1,
            lease: None,
        }
    }

    fn keys(request: PbRangeRequest) -> (Vec<String>, bool, i64) {
        let (asked, shape) = split(PbRangeRequest {
            key: b"a".to_vec(),
            range_end: b"z".to_vec(),
            ..request
        })
        .unwrap();
        let all = vec![kv("a", "3", 2, 9), kv("b", "1", 3, 4), kv("c", "0", 5, 5)];
        let answer = RangeResponse {
            more: asked.limit > 0 && all.len() > asked.limit,
            count: all.len(),
            kvs: match asked.limit {
                0 => all,
                limit => all[..limit.min(all.len())].to_vec(),
            },
            revision: Revision(9),
        };
        let joined = join(answer, &shape, PbResponseHeader::default());
        let names = joined
            .kvs
            .iter()
            .map(|kv| String::from_utf8(kv.key.clone()).unwrap());
        (names.collect(), joined.more, joined.count)
    }

    #[test]
    fn order_filters_and_limits_are_applied_in_this_order() {
        let request = PbRangeRequest::default;
        let cases: Vec<(PbRangeRequest, &[&str], bool)> = vec![
            (request(), &["a", "b", "c"], false),
            (
                PbRangeRequest {
                    limit: 2,
                    ..request()
                },
                &["a", "b"],
                true,
            ),
            (
                PbRangeRequest {
                    sort_order: 2,
                    ..request()
                },
                &["c", "b", "a"],
                false,
            ),
            (
                PbRangeRequest {
                    sort_order: 2,
                    limit: 1,
                    ..request()
                },
                &["c"],
                true,
            ),
            (
                PbRangeRequest {
                    sort_target: 4,
                    ..request()
                },
                &["c", "b", "a"],
                false,
            ),
            (
                PbRangeRequest {
                    sort_target: 3,
                    sort_order: 2,
                    ..request()
                },
                &["a", "c", "b"],
                false,
            ),
            // Without an order, only so many keys are ordered, and one more; with one, all of them.
            (
                PbRangeRequest {
                    sort_target: 4,
                    limit: 1,
                    ..request()
                },
                &["b"],
                true,
            ),
            (
                PbRangeRequest {
                    sort_target: 2,
                    sort_order: 2,
                    limit: 1,
                    ..request()
                },
                &["c"],
                true,
            ),
            (
                PbRangeRequest {
                    min_mod_revision: 5,
                    ..request()
                },
                &["a", "c"],
                false,
            ),
            (
                PbRangeRequest {
                    max_create_revision: 3,
                    limit: 1,
                    ..request()
                },
                &["a"],
                true,
            ),
            (
                PbRangeRequest {
                    count_only: true,
                    ..request()
                },
                &[],
                false,
            ),
        ];
        for (request, expected, more) in cases {
            let (names, found_more, count) = keys(request.clone());
            assert_eq!(
                (names.as_slice(), found_more, count),
                (
                    &expected.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>()[..],
                    more,
                    3
                ),
                "{request:?}"
            );
        }
    }

    #[test]
    fn a_range_needs_a_key() {
        assert_eq!(
            split(PbRangeRequest::default()).unwrap_err().message(),
            "etcdserver: key is not provided"
        );
    }
}
