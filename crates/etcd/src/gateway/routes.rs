//! Which path is which call, and in which messages it is asked and answered.
use super::message::Message;
use super::messages as m;

pub struct Route {
    /// Behind `/v3/`.
    path: &'static str,
    /// Of gRPC.
    pub method: &'static str,
    pub request: &'static Message,
    pub response: &'static Message,
    /// The answer has many messages, and so may the question have.
    pub streams: bool,
}

/// The route of a path, which may name an older version of the API.
pub fn of(path: &str) -> Option<&'static Route> {
    let path = under(path)?;
    ROUTES.iter().find(|route| route.path == path)
}

/// What is below the API's version, if a path is below one.
pub fn under(path: &str) -> Option<&str> {
    ["/v3/", "/v3beta/"]
        .iter()
        .find_map(|version| path.strip_prefix(version))
}

const fn call(
    path: &'static str,
    method: &'static str,
    request: &'static Message,
    response: &'static Message,
) -> Route {
    Route {
        path,
        method,
        request,
        response,
        streams: false,
    }
}

const fn stream(
    path: &'static str,
    method: &'static str,
    request: &'static Message,
    response: &'static Message,
) -> Route {
    Route {
        path,
        method,
        request,
        response,
        streams: true,
    }
}

static ROUTES: &[Route] = &[
    call(
        "kv/range",
        "/etcdserverpb.KV/Range",
        &m::RANGE_REQUEST,
        &m::RANGE_RESPONSE,
    ),
    call(
        "kv/put",
        "/etcdserverpb.KV/Put",
        &m::PUT_REQUEST,
        &m::PUT_RESPONSE,
    ),
    call(
        "kv/deleterange",
        "/etcdserverpb.KV/DeleteRange",
        &m::DELETE_RANGE_REQUEST,
        &m::DELETE_RANGE_RESPONSE,
    ),
    call(
        "kv/txn",
        "/etcdserverpb.KV/Txn",
        &m::TXN_REQUEST,
        &m::TXN_RESPONSE,
    ),
    call(
        "kv/compaction",
        "/etcdserverpb.KV/Compact",
        &m::COMPACTION_REQUEST,
        &m::HEADER_ONLY,
    ),
    stream(
        "watch",
        "/etcdserverpb.Watch/Watch",
        &m::WATCH_REQUEST,
        &m::WATCH_RESPONSE,
    ),
    call(
        "lease/grant",
        "/etcdserverpb.Lease/LeaseGrant",
        &m::LEASE_GRANT_REQUEST,
        &m::LEASE_GRANT_RESPONSE,
    ),
    call(
        "lease/revoke",
        "/etcdserverpb.Lease/LeaseRevoke",
        &m::LEASE_REVOKE_REQUEST,
        &m::HEADER_ONLY,
    ),
    call(
        "kv/lease/revoke",
        "/etcdserverpb.Lease/LeaseRevoke",
        &m::LEASE_REVOKE_REQUEST,
        &m::HEADER_ONLY,
    ),
    stream(
        "lease/keepalive",
        "/etcdserverpb.Lease/LeaseKeepAlive",
        &m::LEASE_KEEP_ALIVE_REQUEST,
        &m::LEASE_KEEP_ALIVE_RESPONSE,
    ),
    call(
        "lease/timetolive",
        "/etcdserverpb.Lease/LeaseTimeToLive",
        &m::LEASE_TIME_TO_LIVE_REQUEST,
        &m::LEASE_TIME_TO_LIVE_RESPONSE,
    ),
    call(
        "kv/lease/timetolive",
        "/etcdserverpb.Lease/LeaseTimeToLive",
        &m::LEASE_TIME_TO_LIVE_REQUEST,
        &m::LEASE_TIME_TO_LIVE_RESPONSE,
    ),
    call(
        "lease/leases",
        "/etcdserverpb.Lease/LeaseLeases",
        &m::EMPTY,
        &m::LEASE_LEASES_RESPONSE,
    ),
    call(
        "kv/lease/leases",
        "/etcdserverpb.Lease/LeaseLeases",
        &m::EMPTY,
        &m::LEASE_LEASES_RESPONSE,
    ),
    call(
        "cluster/member/add",
        "/etcdserverpb.Cluster/MemberAdd",
        &m::MEMBER_ADD_REQUEST,
        &m::MEMBER_ADD_RESPONSE,
    ),
    call(
        "cluster/member/remove",
        "/etcdserverpb.Cluster/MemberRemove",
        &m::MEMBER_REMOVE_REQUEST,
        &m::MEMBER_REMOVE_RESPONSE,
    ),
    call(
        "cluster/member/update",
        "/etcdserverpb.Cluster/MemberUpdate",
        &m::MEMBER_UPDATE_REQUEST,
        &m::MEMBER_UPDATE_RESPONSE,
    ),
    call(
        "cluster/member/list",
        "/etcdserverpb.Cluster/MemberList",
        &m::MEMBER_LIST_REQUEST,
        &m::MEMBER_LIST_RESPONSE,
    ),
    call(
        "cluster/member/promote",
        "/etcdserverpb.Cluster/MemberPromote",
        &m::MEMBER_PROMOTE_REQUEST,
        &m::MEMBER_PROMOTE_RESPONSE,
    ),
    call(
        "maintenance/alarm",
        "/etcdserverpb.Maintenance/Alarm",
        &m::ALARM_REQUEST,
        &m::ALARM_RESPONSE,
    ),
    call(
        "maintenance/status",
        "/etcdserverpb.Maintenance/Status",
        &m::EMPTY,
        &m::STATUS_RESPONSE,
    ),
    call(
        "maintenance/defragment",
        "/etcdserverpb.Maintenance/Defragment",
        &m::EMPTY,
        &m::HEADER_ONLY,
    ),
    call(
        "maintenance/hash",
        "/etcdserverpb.Maintenance/Hash",
        &m::EMPTY,
        &m::HASH_RESPONSE,
    ),
    call(
        "maintenance/hashkv",
        "/etcdserverpb.Maintenance/HashKV",
        &m::HASH_KV_REQUEST,
        &m::HASH_KV_RESPONSE,
    ),
    stream(
        "maintenance/snapshot",
        "/etcdserverpb.Maintenance/Snapshot",
        &m::EMPTY,
        &m::SNAPSHOT_RESPONSE,
    ),
    call(
        "maintenance/transfer-leadership",
        "/etcdserverpb.Maintenance/MoveLeader",
        &m::MOVE_LEADER_REQUEST,
        &m::HEADER_ONLY,
    ),
    call(
        "maintenance/downgrade",
        "/etcdserverpb.Maintenance/Downgrade",
        &m::DOWNGRADE_REQUEST,
        &m::DOWNGRADE_RESPONSE,
    ),
    call(
        "auth/status",
        "/etcdserverpb.Auth/AuthStatus",
        &m::EMPTY,
        &m::AUTH_STATUS_RESPONSE,
    ),
    call(
        "auth/enable",
        "/etcdserverpb.Auth/AuthEnable",
        &m::EMPTY,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/disable",
        "/etcdserverpb.Auth/AuthDisable",
        &m::EMPTY,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/authenticate",
        "/etcdserverpb.Auth/Authenticate",
        &m::AUTHENTICATE_REQUEST,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/user/add",
        "/etcdserverpb.Auth/UserAdd",
        &m::NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/user/get",
        "/etcdserverpb.Auth/UserGet",
        &m::NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/user/list",
        "/etcdserverpb.Auth/UserList",
        &m::EMPTY,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/user/delete",
        "/etcdserverpb.Auth/UserDelete",
        &m::NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/user/changepw",
        "/etcdserverpb.Auth/UserChangePassword",
        &m::NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/user/grant",
        "/etcdserverpb.Auth/UserGrantRole",
        &m::EMPTY,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/user/revoke",
        "/etcdserverpb.Auth/UserRevokeRole",
        &m::NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/role/add",
        "/etcdserverpb.Auth/RoleAdd",
        &m::NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/role/get",
        "/etcdserverpb.Auth/RoleGet",
        &m::ROLE_NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/role/list",
        "/etcdserverpb.Auth/RoleList",
        &m::EMPTY,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/role/delete",
        "/etcdserverpb.Auth/RoleDelete",
        &m::ROLE_NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/role/grant",
        "/etcdserverpb.Auth/RoleGrantPermission",
        &m::NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "auth/role/revoke",
        "/etcdserverpb.Auth/RoleRevokePermission",
        &m::ROLE_NAMED,
        &m::HEADER_ONLY,
    ),
    call(
        "lock/lock",
        "/v3lockpb.Lock/Lock",
        &m::LOCK_REQUEST,
        &m::LOCK_RESPONSE,
    ),
    call(
        "lock/unlock",
        "/v3lockpb.Lock/Unlock",
        &m::UNLOCK_REQUEST,
        &m::HEADER_ONLY,
    ),
    call(
        "election/campaign",
        "/v3electionpb.Election/Campaign",
        &m::CAMPAIGN_REQUEST,
        &m::CAMPAIGN_RESPONSE,
    ),
    call(
        "election/proclaim",
        "/v3electionpb.Election/Proclaim",
        &m::PROCLAIM_REQUEST,
        &m::HEADER_ONLY,
    ),
    call(
        "election/leader",
        "/v3electionpb.Election/Leader",
        &m::LEADER_REQUEST,
        &m::LEADER_RESPONSE,
    ),
    stream(
        "election/observe",
        "/v3electionpb.Election/Observe",
        &m::LEADER_REQUEST,
        &m::LEADER_RESPONSE,
    ),
    call(
        "election/resign",
        "/v3electionpb.Election/Resign",
        &m::RESIGN_REQUEST,
        &m::HEADER_ONLY,
    ),
];
