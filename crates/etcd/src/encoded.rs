//! Answers of ranges, written once: from the store's pages into the message, without an object for each
//! key in between.
use crate::buffers::Buffers;
use crate::range::{self, Shape};
use crate::{Face, convert, errors, unary};
use etcd_client::proto::{PbRangeRequest, PbRangeResponse, PbResponseHeader};
use orlop_store::RangeRequest;
use orlop_store::embedded::KeyVersion;
use prost::bytes::Bytes;
use prost::encoding::WireType;
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

/// Of an answer with a key or two.
const FIRST_BYTES: usize = 256;

/// A message in the making, as it goes over the wire.
struct Encoded {
    bytes: Vec<u8>,
    buffers: Buffers,
}

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
            move |revision| Encoded::begin(&face.header_at(revision), face.buffers.clone()),
            move |encoded: &mut Encoded, version| encoded.key_value(&version, has_values),
        );
        let (encoded, summary) = answer.await.map_err(errors::status)?;
        Ok(encoded.end(summary.more, summary.count))
    }
}

impl Encoded {
    fn begin(header: &PbResponseHeader, buffers: Buffers) -> Self {
        let mut bytes = Vec::with_capacity(FIRST_BYTES);
        bytes.resize(unary::PREFIX_BYTES, 0);
        prost::encoding::message::encode(HEADER, header, &mut bytes);
        Self { bytes, buffers }
    }

    fn key_value(&mut self, version: &KeyVersion<'_>, has_value: bool) {
        let value = if has_value { version.value } else { &[] };
        let mut between = Few::default();
        between.number(CREATE_REVISION, convert::number(version.create_revision.0));
        between.number(MOD_REVISION, convert::number(version.mod_revision.0));
        between.number(VERSION, convert::number(version.version));
        between.length(VALUE, value.len());
        let mut behind = Few::default();
        behind.number(LEASE, version.lease.0);
        let mut key = Few::default();
        key.length(KEY, version.key.len());
        let pieces = [key.get(), version.key, between.get(), value, behind.get()];
        let length = pieces.iter().map(|piece| piece.len()).sum();
        let mut front = Few::default();
        front.length(KVS, length);
        self.buffers.reserve(&mut self.bytes, front.get().len() + length);
        self.bytes.extend_from_slice(front.get());
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
    }

    fn end(mut self, more: bool, count: usize) -> Bytes {
        let mut rest = Few::default();
        rest.number(MORE, i64::from(more));
        rest.number(COUNT, count as i64);
        self.bytes.extend_from_slice(rest.get());
        unary::set_prefix(&mut self.bytes);
        self.buffers.sent(self.bytes)
    }
}

/// Tags and numbers: of three fields, and a length.
const FEW_BYTES_MAX: usize = 4 * 11;

/// The bytes between those that are there already, put together before they are copied behind them. As every
/// implementation of the format, it leaves out what has its default. All fields here have tags of one byte.
struct Few {
    bytes: [u8; FEW_BYTES_MAX],
    length: usize,
}

impl Default for Few {
    fn default() -> Self {
        Self {
            bytes: [0; FEW_BYTES_MAX],
            length: 0,
        }
    }
}

impl Few {
    fn get(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn field(&mut self, field: u32, wire: WireType, mut number: u64) {
        self.push((field << 3) as u8 | wire as u8);
        while number >= 0x80 {
            self.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.push(number as u8);
    }

    fn number(&mut self, field: u32, number: i64) {
        if number != 0 {
            self.field(field, WireType::Varint, number as u64);
        }
    }

    /// In front of so many bytes.
    fn length(&mut self, field: u32, length: usize) {
        if length != 0 {
            self.field(field, WireType::LengthDelimited, length as u64);
        }
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
