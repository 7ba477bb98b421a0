//! The messages of etcd's API as they are named in JSON: numbers, names and kinds of their fields.
use super::message::{
    Field, Kind,
    Kind::{Bool, Bytes, Enum, Int64, Nested, Text, Uint32, Uint64},
    Message,
};

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        is_repeated: false,
    }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        is_repeated: true,
    }
}

/// Of which nothing but the header is told, or nothing is asked.
pub static EMPTY: Message = Message(&[]);
pub static HEADER_ONLY: Message = Message(&[one(1, "header", Nested(&RESPONSE_HEADER))]);

/// A named user or role.
pub static NAMED: Message = Message(&[one(1, "name", Text)]);
pub static ROLE_NAMED: Message = Message(&[one(1, "role", Text)]);

const SORT_ORDER: &[(&str, i32)] = &[("NONE", 0), ("ASCEND", 1), ("DESCEND", 2)];
const SORT_TARGET: &[(&str, i32)] = &[
    ("KEY", 0),
    ("VERSION", 1),
    ("CREATE", 2),
    ("MOD", 3),
    ("VALUE", 4),
];
const COMPARE_RESULT: &[(&str, i32)] = &[("EQUAL", 0), ("GREATER", 1), ("LESS", 2), ("NOT_EQUAL", 3)];
const COMPARE_TARGET: &[(&str, i32)] = &[
    ("VERSION", 0),
    ("CREATE", 1),
    ("MOD", 2),
    ("VALUE", 3),
    ("LEASE", 4),
];
const FILTER_TYPE: &[(&str, i32)] = &[("NOPUT", 0), ("NODELETE", 1)];
const EVENT_TYPE: &[(&str, i32)] = &[("PUT", 0), ("DELETE", 1)];
const DOWNGRADE_ACTION: &[(&str, i32)] = &[("VALIDATE", 0), ("ENABLE", 1), ("CANCEL", 2)];
const ALARM_ACTION: &[(&str, i32)] = &[("GET", 0), ("ACTIVATE", 1), ("DEACTIVATE", 2)];
const ALARM_TYPE: &[(&str, i32)] = &[("NONE", 0), ("NOSPACE", 1), ("CORRUPT", 2)];
pub static RANGE_REQUEST: Message = Message(&[
    one(1, "key", Bytes),
    one(2, "range_end", Bytes),
    one(3, "limit", Int64),
    one(4, "revision", Int64),
    one(5, "sort_order", Enum(SORT_ORDER)),
    one(6, "sort_target", Enum(SORT_TARGET)),
    one(7, "serializable", Bool),
    one(8, "keys_only", Bool),
    one(9, "count_only", Bool),
    one(10, "min_mod_revision", Int64),
    one(11, "max_mod_revision", Int64),
    one(12, "min_create_revision", Int64),
    one(13, "max_create_revision", Int64),
]);
pub static RESPONSE_HEADER: Message = Message(&[
    one(1, "cluster_id", Uint64),
    one(2, "member_id", Uint64),
    one(3, "revision", Int64),
    one(4, "raft_term", Uint64),
]);
pub static KEY_VALUE: Message = Message(&[
    one(1, "key", Bytes),
    one(2, "create_revision", Int64),
    one(3, "mod_revision", Int64),
    one(4, "version", Int64),
    one(5, "value", Bytes),
    one(6, "lease", Int64),
]);
pub static RANGE_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    many(2, "kvs", Nested(&KEY_VALUE)),
    one(3, "more", Bool),
    one(4, "count", Int64),
]);
pub static PUT_REQUEST: Message = Message(&[
    one(1, "key", Bytes),
    one(2, "value", Bytes),
    one(3, "lease", Int64),
    one(4, "prev_kv", Bool),
    one(5, "ignore_value", Bool),
    one(6, "ignore_lease", Bool),
]);
pub static PUT_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "prev_kv", Nested(&KEY_VALUE)),
]);
pub static DELETE_RANGE_REQUEST: Message = Message(&[
    one(1, "key", Bytes),
    one(2, "range_end", Bytes),
    one(3, "prev_kv", Bool),
]);
pub static DELETE_RANGE_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "deleted", Int64),
    many(3, "prev_kvs", Nested(&KEY_VALUE)),
]);
pub static COMPARE: Message = Message(&[
    one(1, "result", Enum(COMPARE_RESULT)),
    one(2, "target", Enum(COMPARE_TARGET)),
    one(3, "key", Bytes),
    one(4, "version", Int64),
    one(5, "create_revision", Int64),
    one(6, "mod_revision", Int64),
    one(7, "value", Bytes),
    one(8, "lease", Int64),
    one(64, "range_end", Bytes),
]);
pub static REQUEST_OP: Message = Message(&[
    one(1, "request_range", Nested(&RANGE_REQUEST)),
    one(2, "request_put", Nested(&PUT_REQUEST)),
    one(3, "request_delete_range", Nested(&DELETE_RANGE_REQUEST)),
    one(4, "request_txn", Nested(&TXN_REQUEST)),
]);
pub static TXN_REQUEST: Message = Message(&[
    many(1, "compare", Nested(&COMPARE)),
    many(2, "success", Nested(&REQUEST_OP)),
    many(3, "failure", Nested(&REQUEST_OP)),
]);
pub static RESPONSE_OP: Message = Message(&[
    one(1, "response_range", Nested(&RANGE_RESPONSE)),
    one(2, "response_put", Nested(&PUT_RESPONSE)),
    one(3, "response_delete_range", Nested(&DELETE_RANGE_RESPONSE)),
    one(4, "response_txn", Nested(&TXN_RESPONSE)),
]);
pub static TXN_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "succeeded", Bool),
    many(3, "responses", Nested(&RESPONSE_OP)),
]);
pub static COMPACTION_REQUEST: Message = Message(&[one(1, "revision", Int64), one(2, "physical", Bool)]);
pub static WATCH_CREATE_REQUEST: Message = Message(&[
    one(1, "key", Bytes),
    one(2, "range_end", Bytes),
    one(3, "start_revision", Int64),
    one(4, "progress_notify", Bool),
    many(5, "filters", Enum(FILTER_TYPE)),
    one(6, "prev_kv", Bool),
    one(7, "watch_id", Int64),
    one(8, "fragment", Bool),
]);
pub static WATCH_CANCEL_REQUEST: Message = Message(&[one(1, "watch_id", Int64)]);
pub static WATCH_REQUEST: Message = Message(&[
    one(1, "create_request", Nested(&WATCH_CREATE_REQUEST)),
    one(2, "cancel_request", Nested(&WATCH_CANCEL_REQUEST)),
    one(3, "progress_request", Nested(&EMPTY)),
]);
pub static EVENT: Message = Message(&[
    one(1, "type", Enum(EVENT_TYPE)),
    one(2, "kv", Nested(&KEY_VALUE)),
    one(3, "prev_kv", Nested(&KEY_VALUE)),
]);
pub static WATCH_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "watch_id", Int64),
    one(3, "created", Bool),
    one(4, "canceled", Bool),
    one(5, "compact_revision", Int64),
    one(6, "cancel_reason", Text),
    one(7, "fragment", Bool),
    many(11, "events", Nested(&EVENT)),
]);
pub static LEASE_GRANT_REQUEST: Message = Message(&[one(1, "TTL", Int64), one(2, "ID", Int64)]);
pub static LEASE_GRANT_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "ID", Int64),
    one(3, "TTL", Int64),
    one(4, "error", Text),
]);
pub static LEASE_REVOKE_REQUEST: Message = Message(&[one(1, "ID", Int64)]);
pub static LEASE_KEEP_ALIVE_REQUEST: Message = Message(&[one(1, "ID", Int64)]);
pub static LEASE_KEEP_ALIVE_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "ID", Int64),
    one(3, "TTL", Int64),
]);
pub static LEASE_TIME_TO_LIVE_REQUEST: Message = Message(&[one(1, "ID", Int64), one(2, "keys", Bool)]);
pub static LEASE_TIME_TO_LIVE_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "ID", Int64),
    one(3, "TTL", Int64),
    one(4, "grantedTTL", Int64),
    many(5, "keys", Bytes),
]);
pub static LEASE_STATUS: Message = Message(&[one(1, "ID", Int64)]);
pub static LEASE_LEASES_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    many(2, "leases", Nested(&LEASE_STATUS)),
]);
pub static MEMBER_ADD_REQUEST: Message = Message(&[many(1, "peerURLs", Text), one(2, "isLearner", Bool)]);
pub static MEMBER: Message = Message(&[
    one(1, "ID", Uint64),
    one(2, "name", Text),
    many(3, "peerURLs", Text),
    many(4, "clientURLs", Text),
    one(5, "isLearner", Bool),
]);
pub static MEMBER_ADD_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "member", Nested(&MEMBER)),
    many(3, "members", Nested(&MEMBER)),
]);
pub static MEMBER_REMOVE_REQUEST: Message = Message(&[one(1, "ID", Uint64)]);
pub static MEMBER_REMOVE_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    many(2, "members", Nested(&MEMBER)),
]);
pub static MEMBER_UPDATE_REQUEST: Message = Message(&[one(1, "ID", Uint64), many(2, "peerURLs", Text)]);
pub static MEMBER_UPDATE_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    many(2, "members", Nested(&MEMBER)),
]);
pub static MEMBER_LIST_REQUEST: Message = Message(&[one(1, "linearizable", Bool)]);
pub static MEMBER_LIST_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    many(2, "members", Nested(&MEMBER)),
]);
pub static MEMBER_PROMOTE_REQUEST: Message = Message(&[one(1, "ID", Uint64)]);
pub static MEMBER_PROMOTE_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    many(2, "members", Nested(&MEMBER)),
]);
pub static ALARM_REQUEST: Message = Message(&[
    one(1, "action", Enum(ALARM_ACTION)),
    one(2, "memberID", Uint64),
    one(3, "alarm", Enum(ALARM_TYPE)),
]);
pub static ALARM_MEMBER: Message = Message(&[one(1, "memberID", Uint64), one(2, "alarm", Enum(ALARM_TYPE))]);
pub static ALARM_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    many(2, "alarms", Nested(&ALARM_MEMBER)),
]);
pub static STATUS_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "version", Text),
    one(3, "dbSize", Int64),
    one(4, "leader", Uint64),
    one(5, "raftIndex", Uint64),
    one(6, "raftTerm", Uint64),
    one(7, "raftAppliedIndex", Uint64),
    many(8, "errors", Text),
    one(9, "dbSizeInUse", Int64),
    one(10, "isLearner", Bool),
]);
pub static HASH_RESPONSE: Message =
    Message(&[one(1, "header", Nested(&RESPONSE_HEADER)), one(2, "hash", Uint32)]);
pub static HASH_KV_REQUEST: Message = Message(&[one(1, "revision", Int64)]);
pub static HASH_KV_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "hash", Uint32),
    one(3, "compact_revision", Int64),
    one(4, "hash_revision", Int64),
]);
pub static SNAPSHOT_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "remaining_bytes", Uint64),
    one(3, "blob", Bytes),
]);
pub static DOWNGRADE_REQUEST: Message =
    Message(&[one(1, "action", Enum(DOWNGRADE_ACTION)), one(2, "version", Text)]);
pub static DOWNGRADE_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "version", Text),
]);
pub static MOVE_LEADER_REQUEST: Message = Message(&[one(1, "targetID", Uint64)]);
pub static AUTH_STATUS_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "enabled", Bool),
    one(3, "authRevision", Uint64),
]);
pub static AUTHENTICATE_REQUEST: Message = Message(&[one(1, "name", Text), one(2, "password", Text)]);
pub static LOCK_REQUEST: Message = Message(&[one(1, "name", Bytes), one(2, "lease", Int64)]);
pub static LOCK_RESPONSE: Message =
    Message(&[one(1, "header", Nested(&RESPONSE_HEADER)), one(2, "key", Bytes)]);
pub static UNLOCK_REQUEST: Message = Message(&[one(1, "key", Bytes)]);
pub static LEADER_KEY: Message = Message(&[
    one(1, "name", Bytes),
    one(2, "key", Bytes),
    one(3, "rev", Int64),
    one(4, "lease", Int64),
]);
pub static CAMPAIGN_REQUEST: Message = Message(&[
    one(1, "name", Bytes),
    one(2, "lease", Int64),
    one(3, "value", Bytes),
]);
pub static CAMPAIGN_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "leader", Nested(&LEADER_KEY)),
]);
pub static LEADER_REQUEST: Message = Message(&[one(1, "name", Bytes)]);
pub static LEADER_RESPONSE: Message = Message(&[
    one(1, "header", Nested(&RESPONSE_HEADER)),
    one(2, "kv", Nested(&KEY_VALUE)),
]);
pub static RESIGN_REQUEST: Message = Message(&[one(1, "leader", Nested(&LEADER_KEY))]);
pub static PROCLAIM_REQUEST: Message =
    Message(&[one(1, "leader", Nested(&LEADER_KEY)), one(2, "value", Bytes)]);
