//! Answers of ranges, written once: from the store's pages into the message, without an object for each
//! key in between.
use crate::range::{self, Shape};
use crate::{Face, convert, errors, unary};
use etcd_client::proto::{PbRangeRequest, PbRangeResponse, PbResponseHeader};
use orlop_store::RangeRequest;
use orlop_store::embedded::KeyVersion;
use prost::bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, int64};
use tonic::Status;

/// Field numbers of etcd's RangeResponse,
const HEADER: u32 = 1;
const KVS: u32 = 2;
const MORE: u32 = 3;
const COUNT: u32 = 4;
/// and of its KeyValue.
const KEY: u32 = 1;
const CREATE_REVISION: u32 = 2;
const MOD_REVISION: u32 = 3;
const VERSION: u32 = 4;
const VALUE: u32 = 5;
const LEASE: u32 = 6;

/// A message in the making, as it goes over the wire.
struct Encoded(BytesMut);

impl Face {
    pub async fn encoded_range(&self, request: PbRangeRequest) -> Result<Bytes, Status> {
        let (asked, shape) = range::split(request)?;
        self.alarms.allow_reading()?;
        self.counters.ranges.add(1);
        if shape.is_plain() {
            self.plain_range(asked, shape.has_values()).await
        } else {
            Ok(unary::encoded(self.shaped_range(asked, &shape).await?))
        }
    }

    pub async fn shaped_range(&self, asked: RangeRequest, shape: &Shape) -> Result<PbRangeResponse, Status> {
        use orlop_store::Store;
        let answer = self.store.range(asked).await.map_err(errors::status)?;
        let header = self.header_at(answer.revision);
        Ok(range::join(answer, shape, header))
    }

    async fn plain_range(&self, asked: RangeRequest, has_values: bool) -> Result<Bytes, Status> {
        let face = self.clone();
        let answer = self.store.range_with(
            asked,
            move |revision| Encoded::begin(&face.header_at(revision)),
            move |encoded: &mut Encoded, version| encoded.key_value(&version, has_values),
        );
        let (mut encoded, summary) = answer.await.map_err(errors::status)?;
        encoded.end(summary.more, summary.count);
        Ok(unary::finished(encoded.0))
    }
}

impl Encoded {
    fn begin(header: &PbResponseHeader) -> Self {
        let mut bytes = unary::framed(64);
        prost::encoding::message::encode(HEADER, header, &mut bytes);
        Self(bytes)
    }

    fn key_value(&mut self, version: &KeyVersion<'_>, has_value: bool) {
        let value = if has_value { version.value } else { &[] };
        let numbers = [
            (CREATE_REVISION, convert::number(version.create_revision.0)),
            (MOD_REVISION, convert::number(version.mod_revision.0)),
            (VERSION, convert::number(version.version)),
        ];
        let lease = version.lease.0;
        let len = bytes_len(version.key)
            + numbers
                .iter()
                .map(|(_, number)| number_len(*number))
                .sum::<usize>()
            + bytes_len(value)
            + number_len(lease);
        let out = &mut self.0;
        out.reserve(len + 16);
        encode_key(KVS, WireType::LengthDelimited, out);
        encode_varint(len as u64, out);
        put_bytes(KEY, version.key, out);
        for (field, number) in numbers {
            put_number(field, number, out);
        }
        put_bytes(VALUE, value, out);
        put_number(LEASE, lease, out);
    }

    fn end(&mut self, more: bool, count: usize) {
        put_number(MORE, i64::from(more), &mut self.0);
        put_number(COUNT, count as i64, &mut self.0);
    }
}

// As every implementation of the format, these leave out what has its default. All fields here have tags
// of one byte.

fn bytes_len(bytes: &[u8]) -> usize {
    match bytes.len() {
        0 => 0,
        len => 1 + encoded_len_varint(len as u64) + len,
    }
}

fn put_bytes(field: u32, bytes: &[u8], out: &mut BytesMut) {
    if !bytes.is_empty() {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }
}

fn number_len(number: i64) -> usize {
    match number {
        0 => 0,
        number => 1 + encoded_len_varint(number as u64),
    }
}

fn put_number(field: u32, number: i64, out: &mut BytesMut) {
    if number != 0 {
        int64::encode(field, &number, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;
    use etcd_client::proto::PbKeyValue;
    use orlop_store::embedded::EmbeddedStore;
    use orlop_store::{LeaseId, Op, Store, Txn};
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        #[test]
        fn what_is_written_at_once_is_what_objects_would_be(
            rows in proptest::collection::btree_map("[a\u{0}é]{1,3}", ".{0,200}", 0..6),
            limit in 0..4i64,
            keys_only: bool,
            count_only: bool,
            leased: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            runtime.block_on(async {
                let store = EmbeddedStore::in_memory().unwrap();
                let lease = match leased {
                    true => Some(store.lease_grant_as(Some(LeaseId(i64::MAX)), 600).await.unwrap()),
                    false => None,
                };
                for (key, text) in &rows {
                    let put = Op::put(key, text.clone().into_bytes().into(), lease);
                    store.txn(Txn::default().then(put)).await.unwrap();
                }
                let face = Face::new(store, Member::named("m"));
                let request = PbRangeRequest {
                    key: vec![0],
                    range_end: vec![0],
                    limit,
                    keys_only,
                    count_only,
                    ..PbRangeRequest::default()
                };
                let (asked, shape) = range::split(request.clone()).unwrap();
                let expected = face.shaped_range(asked, &shape).await.unwrap();
                let encoded = face.encoded_range(request).await.unwrap();
                prop_assert_eq!(PbRangeResponse::decode(&encoded[5..]).unwrap(), expected.clone());
                prop_assert_eq!(encoded, unary::encoded(expected.clone()));
                let kvs: &[PbKeyValue] = &expected.kvs;
                prop_assert!(count_only || limit != 0 || kvs.len() == rows.len());
                Ok(())
            })?;
        }
    }
}
