//! The KV service.
use crate::range::{self, Shape};
use crate::{Face, alarms, convert, errors};
use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService, PbPutRequest,
    PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse, PbResponseHeader, PbResponseOp,
    PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};
use futures::stream::Empty;
use orlop_store::{Op, OpResponse, Revision, Store, Txn};
use prost::Message;
use std::sync::atomic::Ordering;
use tonic::{Request, Response, Status};

/// What is left of an operation when the store has it: how its answer is to look.
enum Wanted {
    Range(Shape),
    Put { previous: bool },
    Delete { previous: bool },
    Txn(Branches),
}

/// Of both branches of a transaction.
struct Branches {
    success: Vec<Wanted>,
    failure: Vec<Wanted>,
}

impl Branches {
    fn taken(&self, succeeded: bool) -> &[Wanted] {
        if succeeded { &self.success } else { &self.failure }
    }
}

#[tonic::async_trait]
impl PbKvService for Face {
    async fn range(&self, request: Request<PbRangeRequest>) -> Result<Response<PbRangeResponse>, Status> {
        // Over the wire it is `encoded_range` that answers.
        let (asked, shape) = range::split(request.into_inner())?;
        Ok(Response::new(self.shaped_range(asked, &shape).await?))
    }

    type RangeStreamStream = Empty<Result<PbRangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        // What etcd of the announced version says of a method it does not know.
        Err(Status::unimplemented(
            "unknown method RangeStream for service etcdserverpb.KV",
        ))
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        self.put_key(request.into_inner()).await.map(Response::new)
    }

    async fn delete_range(
        &self,
        request: Request<PbDeleteRequest>,
    ) -> Result<Response<PbDeleteResponse>, Status> {
        self.delete_keys(request.into_inner()).await.map(Response::new)
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        self.transact(request.into_inner()).await.map(Response::new)
    }

    async fn compact(
        &self,
        request: Request<PbCompactionRequest>,
    ) -> Result<Response<PbCompactionResponse>, Status> {
        self.alarms.allow_reading()?;
        let asked = request.into_inner().revision;
        let status = self.store.status().await.map_err(errors::status)?;
        // The store takes what was compacted before as done; etcd's clients learn by the error that
        // somebody else was faster.
        let answered = self.compacted.load(Ordering::Relaxed);
        if asked <= forgotten(status.compacted, answered) {
            return Err(errors::compacted());
        }
        let to = convert::revision(asked).map_or(OLDEST, |to| to.max(OLDEST));
        self.store.compact(to).await.map_err(errors::status)?;
        self.compacted.fetch_max(asked, Ordering::Relaxed);
        Ok(Response::new(PbCompactionResponse {
            header: Some(self.header()),
        }))
    }
}

/// The first revision of a store.
const OLDEST: Revision = Revision(1);

/// Up to where history counts as compacted, of a store that says so of itself. Where nothing has been forgotten, that is
/// what was answered before: etcd takes compactions to its first revisions once, which forget nothing.
fn forgotten(compacted: Option<Revision>, answered: i64) -> i64 {
    match compacted {
        Some(compacted) if compacted > OLDEST => convert::number(compacted.0),
        _ => answered,
    }
}

impl Face {
    pub async fn put_key(&self, request: PbPutRequest) -> Result<PbPutResponse, Status> {
        self.limit(&request)?;
        let wanted = [Wanted::Put {
            previous: request.prev_kv,
        }];
        let cost = alarms::put_cost(&request.key, &request.value);
        let op = convert::put(request)?;
        self.make_room(cost).await?;
        match self.apply(Txn::default().then(op), &wanted).await?.only() {
            Some(PbTxnOpResponse::ResponsePut(answer)) => Ok(answer),
            _ => Err(no_answer()),
        }
    }

    pub async fn delete_keys(&self, request: PbDeleteRequest) -> Result<PbDeleteResponse, Status> {
        let wanted = [Wanted::Delete {
            previous: request.prev_kv,
        }];
        let op = convert::delete(request)?;
        self.alarms.allow_reading()?;
        match self.apply(Txn::default().then(op), &wanted).await?.only() {
            Some(PbTxnOpResponse::ResponseDeleteRange(answer)) => Ok(answer),
            _ => Err(no_answer()),
        }
    }

    pub async fn transact(&self, request: PbTxnRequest) -> Result<PbTxnResponse, Status> {
        self.limit(&request)?;
        let cost = alarms::txn_cost(&request);
        let (txn, wanted) = transaction(request, self.limits.txn_operations)?;
        self.make_room(cost).await?;
        let answer = self.store.txn(txn).await.map_err(errors::status)?;
        self.counters.transaction(&answer.responses);
        let wanted = wanted.taken(answer.succeeded);
        // As with etcd, the parts only tell the revision.
        let inner = PbResponseHeader {
            revision: convert::number(answer.revision.0),
            ..PbResponseHeader::default()
        };
        Ok(PbTxnResponse {
            succeeded: answer.succeeded,
            responses: responses(answer.responses, wanted, inner),
            header: Some(self.header_at(answer.revision)),
        })
    }

    fn limit(&self, request: &impl Message) -> Result<(), Status> {
        if request.encoded_len() > self.limits.request_bytes {
            return Err(errors::too_large());
        }
        Ok(())
    }

    async fn apply(&self, txn: Txn, wanted: &[Wanted]) -> Result<Answers, Status> {
        let answer = self.store.txn(txn).await.map_err(errors::status)?;
        self.counters.operations(&answer.responses);
        let header = self.header_at(answer.revision);
        Ok(Answers(responses(answer.responses, wanted, header)))
    }
}

struct Answers(Vec<PbResponseOp>);

impl Answers {
    fn only(self) -> Option<PbTxnOpResponse> {
        self.0.into_iter().next()?.response
    }
}

fn no_answer() -> Status {
    Status::internal("the store gave no answer to an operation")
}

fn transaction(request: PbTxnRequest, operations_max: usize) -> Result<(Txn, Branches), Status> {
    let longest = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let Some(operations_left) = operations_max.checked_sub(longest) else {
        return Err(errors::too_many_operations());
    };
    let compare = request
        .compare
        .into_iter()
        .map(convert::compare)
        .collect::<Result<_, _>>()?;
    // What is within has the rest, as with etcd: the depth has a bound, too.
    let (success, on_success) = operations(request.success, operations_left)?;
    let (failure, on_failure) = operations(request.failure, operations_left)?;
    let txn = Txn {
        compare,
        success,
        failure,
        ..Txn::default()
    };
    let wanted = Branches {
        success: on_success,
        failure: on_failure,
    };
    Ok((txn, wanted))
}

fn operations(
    requests: Vec<PbTxnRequestOp>,
    operations_max: usize,
) -> Result<(Vec<Op>, Vec<Wanted>), Status> {
    let mut ops = Vec::with_capacity(requests.len());
    let mut wanted = Vec::with_capacity(requests.len());
    for request in requests {
        let (op, want) = match request.request {
            Some(PbTxnOpRequest::RequestRange(range)) => {
                let (asked, shape) = range::split(range)?;
                (Op::Range(asked), Wanted::Range(shape))
            }
            Some(PbTxnOpRequest::RequestPut(put)) => {
                let previous = put.prev_kv;
                (convert::put(put)?, Wanted::Put { previous })
            }
            Some(PbTxnOpRequest::RequestDeleteRange(delete)) => {
                let previous = delete.prev_kv;
                (convert::delete(delete)?, Wanted::Delete { previous })
            }
            Some(PbTxnOpRequest::RequestTxn(nested)) => {
                let (txn, wanted) = transaction(nested, operations_max)?;
                (Op::Txn(txn), Wanted::Txn(wanted))
            }
            // etcd's word for an operation that is none.
            None => return Err(errors::key_not_found()),
        };
        ops.push(op);
        wanted.push(want);
    }
    Ok((ops, wanted))
}

fn responses(answers: Vec<OpResponse>, wanted: &[Wanted], header: PbResponseHeader) -> Vec<PbResponseOp> {
    let one = |(answer, wanted): (OpResponse, &Wanted)| {
        let response = match (answer, wanted) {
            (OpResponse::Put { previous }, Wanted::Put { previous: shown }) => {
                PbTxnOpResponse::ResponsePut(PbPutResponse {
                    header: Some(header),
                    prev_kv: previous.filter(|_| *shown).map(convert::key_value),
                })
            }
            (OpResponse::Delete { previous }, Wanted::Delete { previous: shown }) => {
                PbTxnOpResponse::ResponseDeleteRange(PbDeleteResponse {
                    header: Some(header),
                    deleted: previous.len() as i64,
                    prev_kvs: if *shown {
                        previous.into_iter().map(convert::key_value).collect()
                    } else {
                        Vec::new()
                    },
                })
            }
            (OpResponse::Range(range), Wanted::Range(shape)) => {
                // It may have looked before the first change.
                let revision = convert::number(range.revision.0);
                let header = PbResponseHeader { revision, ..header };
                PbTxnOpResponse::ResponseRange(range::join(range, shape, header))
            }
            (OpResponse::Txn(inner), Wanted::Txn(branches)) => {
                let wanted = branches.taken(inner.succeeded);
                PbTxnOpResponse::ResponseTxn(PbTxnResponse {
                    // As with etcd, which leaves it empty.
                    header: Some(PbResponseHeader::default()),
                    succeeded: inner.succeeded,
                    responses: responses(inner.responses, wanted, header),
                })
            }
            // The store answers in the order of the operations.
            _ => return PbResponseOp { response: None },
        };
        PbResponseOp {
            response: Some(response),
        }
    };
    answers.into_iter().zip(wanted).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;
    use orlop_store::embedded::EmbeddedStore;
    use tonic::Code;

    fn holding(ops: Vec<PbTxnOpRequest>) -> PbTxnRequest {
        let op = |request| PbTxnRequestOp {
            request: Some(request),
        };
        PbTxnRequest {
            success: ops.into_iter().map(op).collect(),
            ..PbTxnRequest::default()
        }
    }

    fn range(key: &str) -> PbTxnOpRequest {
        PbTxnOpRequest::RequestRange(PbRangeRequest {
            key: key.into(),
            ..PbRangeRequest::default()
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_compaction_is_taken_once() {
        let face = Face::new(EmbeddedStore::in_memory().unwrap(), Member::named("m"));
        for key in ["a", "b"] {
            let put = PbPutRequest {
                key: key.into(),
                ..PbPutRequest::default()
            };
            face.put_key(put).await.unwrap();
        }
        let compacted = Some("etcdserver: mvcc: required revision has been compacted");
        let future = Some("etcdserver: mvcc: required revision is a future revision");
        for (revision, refusal) in [
            (-1, compacted),
            (0, None),
            (0, compacted),
            (1, None),
            (1, compacted),
            (3, None),
            (3, compacted),
            (2, compacted),
            (4, future),
        ] {
            let asked = PbCompactionRequest {
                revision,
                ..PbCompactionRequest::default()
            };
            let answer = face.compact(Request::new(asked)).await;
            let refused = answer.as_ref().err().map(Status::message);
            assert_eq!(refused, refusal, "{revision}");
        }
    }

    #[test]
    fn what_is_within_a_transaction_has_the_operations_that_are_left() {
        let nested = |within| holding(vec![range("a"), PbTxnOpRequest::RequestTxn(holding(within))]);
        assert!(transaction(nested(vec![range("b")]), 3).is_ok());
        let refused = transaction(nested(vec![range("b"), range("c")]), 3);
        let status = refused.err().expect("it is within the limit");
        assert_eq!(
            (status.code(), status.message()),
            (
                Code::InvalidArgument,
                "etcdserver: too many operations in txn request"
            )
        );
    }

    #[test]
    fn an_operation_that_is_none_is_refused_in_etcds_words() {
        let empty = PbTxnRequest {
            failure: vec![PbTxnRequestOp { request: None }],
            ..PbTxnRequest::default()
        };
        let status = transaction(empty, 3).err().expect("it is no operation");
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "etcdserver: key not found")
        );
    }
}
