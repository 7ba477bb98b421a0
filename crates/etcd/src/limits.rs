//! What a face is told besides its store: how much it takes, and how often it tells.
use std::time::Duration;

/// What records may take where nobody says otherwise, in bytes: etcd's own.
pub const QUOTA_BYTES: u64 = 2 << 30;
/// etcd's usual limit for a request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 3 << 19;
/// What a message from a client may have above that, and a part of a watch's response, in bytes, as with etcd: requests
/// in between are refused by name.
const MESSAGE_BYTES_MORE: usize = 1 << 19;
/// etcd's usual limit for each list of a transaction.
pub const TXN_OPERATIONS_MAX: usize = 128;
/// etcd's usual time between pings of a client.
pub const PING_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// How often a watch that asks for it is told how far it is, if nothing else is said. Kubernetes' servers, which do
/// ask, want to know within seconds.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Limits, by default etcd's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request, in bytes. The store's own limit for a value holds besides.
    pub request_bytes: usize,
    /// Operations in each list of a transaction.
    pub txn_operations: usize,
    /// Calls that run on a connection at the same time.
    pub streams_of_a_connection: Option<u32>,
    /// What all records may take before writes are refused, in bytes.
    pub quota_bytes: Option<u64>,
    pub progress: Progress,
    /// How silent clients are found to be gone; without it, TCP's own time.
    pub keep_alive: Option<KeepAlive>,
    /// What clients with calls under way have to leave between their pings; who pings more often again and again is sent
    /// away. Without a call, it is two hours.
    pub ping_interval_min: Duration,
}

/// A client that has said nothing for so long is asked, and given up if it stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    pub interval: Duration,
    pub timeout: Duration,
}

impl Limits {
    /// Largest message that a client may send, and of a size that every client takes, in bytes.
    pub(crate) fn message_bytes(&self) -> usize {
        self.request_bytes.saturating_add(MESSAGE_BYTES_MORE)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: REQUEST_BYTES_MAX,
            txn_operations: TXN_OPERATIONS_MAX,
            streams_of_a_connection: None,
            quota_bytes: None,
            progress: Progress::WhenFurther,
            keep_alive: None,
            ping_interval_min: PING_INTERVAL_MIN,
        }
    }
}

/// When a watch with `progress_notify` is told how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every few seconds, if it has come further: an idle store is silent.
    WhenFurther,
    /// So often, as somebody who waits for a sign of life has asked for.
    Every(Duration),
}

impl Progress {
    pub fn interval(self) -> Duration {
        match self {
            Self::WhenFurther => PROGRESS_INTERVAL,
            Self::Every(interval) => interval,
        }
    }

    /// Whether a watch is told that nothing has changed.
    pub fn tells_unchanged(self) -> bool {
        matches!(self, Self::Every(_))
    }
}
