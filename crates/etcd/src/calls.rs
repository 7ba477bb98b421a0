//! Calls that are counted, by how they ended.
use crate::metrics::{Counter, Counters};
use orlop_metrics::text::{Kind, Sample, Text};
use std::sync::Arc;
use tonic::Code;

/// Codes of gRPC, OK included.
const CODES: usize = 17;

/// Calls of a method.
#[derive(Debug, Default)]
struct Method {
    started: Counter,
    handled: [Counter; CODES],
}

/// Service, method and kind of all calls that are answered; those that come most often first.
const METHODS: [(&str, &str, &str); 33] = [
    ("etcdserverpb.KV", "Range", "unary"),
    ("etcdserverpb.KV", "Txn", "unary"),
    ("etcdserverpb.KV", "Put", "unary"),
    ("etcdserverpb.KV", "DeleteRange", "unary"),
    ("etcdserverpb.KV", "Compact", "unary"),
    ("etcdserverpb.Watch", "Watch", "bidi_stream"),
    ("etcdserverpb.Lease", "LeaseGrant", "unary"),
    ("etcdserverpb.Lease", "LeaseKeepAlive", "bidi_stream"),
    ("etcdserverpb.Lease", "LeaseRevoke", "unary"),
    ("etcdserverpb.Lease", "LeaseTimeToLive", "unary"),
    ("etcdserverpb.Lease", "LeaseLeases", "unary"),
    ("etcdserverpb.Cluster", "MemberList", "unary"),
    ("etcdserverpb.Cluster", "MemberAdd", "unary"),
    ("etcdserverpb.Cluster", "MemberRemove", "unary"),
    ("etcdserverpb.Cluster", "MemberUpdate", "unary"),
    ("etcdserverpb.Cluster", "MemberPromote", "unary"),
    ("etcdserverpb.Maintenance", "Status", "unary"),
    ("etcdserverpb.Maintenance", "Alarm", "unary"),
    ("etcdserverpb.Maintenance", "Defragment", "unary"),
    ("etcdserverpb.Maintenance", "Hash", "unary"),
    ("etcdserverpb.Maintenance", "HashKV", "unary"),
    ("etcdserverpb.Maintenance", "Snapshot", "server_stream"),
    ("etcdserverpb.Maintenance", "MoveLeader", "unary"),
    ("etcdserverpb.Maintenance", "Downgrade", "unary"),
    ("v3lockpb.Lock", "Lock", "unary"),
    ("v3lockpb.Lock", "Unlock", "unary"),
    ("v3electionpb.Election", "Campaign", "unary"),
    ("v3electionpb.Election", "Proclaim", "unary"),
    ("v3electionpb.Election", "Leader", "unary"),
    ("v3electionpb.Election", "Observe", "server_stream"),
    ("v3electionpb.Election", "Resign", "unary"),
    ("grpc.health.v1.Health", "Check", "unary"),
    ("grpc.health.v1.Health", "Watch", "server_stream"),
];

/// Calls of each of [`METHODS`].
#[derive(Debug)]
pub struct Calls([Method; METHODS.len()]);

impl Default for Calls {
    fn default() -> Self {
        // Arrays of more than 32 have none by themselves.
        Self(std::array::from_fn(|_| Method::default()))
    }
}

impl Counters {
    /// Notes that a call of `/package.Service/Method` has begun, if it is one of those that are counted.
    pub fn started(self: &Arc<Self>, path: &str) -> Option<Running> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let index = METHODS
            .iter()
            .position(|(of, name, _)| *of == service && *name == method)?;
        self.calls.0[index].started.add(1);
        Some(Running {
            counters: self.clone(),
            index,
            code: Code::Cancelled,
        })
    }
}

/// A call that is under way. It counts as cancelled, unless it is said how it ended.
#[derive(Debug)]
pub struct Running {
    counters: Arc<Counters>,
    /// In [`METHODS`].
    index: usize,
    code: Code,
}

impl Running {
    pub fn ended(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.counters.calls.0[self.index].handled[self.code as usize].add(1);
    }
}

/// Codes as Go's gRPC writes them.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

impl Calls {
    /// As families of `/metrics`.
    pub fn write(&self, text: &mut Text) {
        let methods = || METHODS.iter().zip(&self.0);
        let sample = |labels, count: &Counter| Sample::now(labels, count.get() as f64);
        let started = methods().map(|((service, method, kind), calls)| {
            sample(of_call(service, method, kind).to_vec(), &calls.started)
        });
        text.family(
            "grpc_server_started_total",
            "Calls that have begun",
            Kind::Counter,
            started,
        );
        let handled = methods().flat_map(|((service, method, kind), calls)| {
            calls.handled.iter().enumerate().map(move |(code, count)| {
                let mut labels = vec![("grpc_code", name_of(Code::from_i32(code as i32)))];
                labels.extend(of_call(service, method, kind));
                sample(labels, count)
            })
        });
        text.family(
            "grpc_server_handled_total",
            "Calls that have ended",
            Kind::Counter,
            handled,
        );
    }
}

fn of_call<'m>(service: &'m str, method: &'m str, kind: &'m str) -> [(&'m str, &'m str); 3] {
    [
        ("grpc_method", method),
        ("grpc_service", service),
        ("grpc_type", kind),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_how_they_ended() {
        let counters = Arc::new(Counters::default());
        let mut put = counters.started("/etcdserverpb.KV/Put").unwrap();
        put.ended(Code::Ok);
        drop(put);
        let watch = counters.started("/etcdserverpb.Watch/Watch").unwrap();
        drop(watch);
        let _running = counters.started("/etcdserverpb.Watch/Watch").unwrap();
        let mut text = Text::default();
        counters.calls.write(&mut text);
        let text = text.finish();
        for line in [
            r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
            r#"grpc_server_handled_total{grpc_code="Canceled",grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 1"#,
            r#"grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 2"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
    }
}
