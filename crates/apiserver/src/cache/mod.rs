//! The watch cache: every object's bytes once, what many have in common once for all of them ([`line`]), and the recent
//! past of every resource.
//!
//! One task ([`feed`]) listens to the store and is the only writer. Readers take snapshots of shared
//! pointers; watchers pull from a ring at their own pace, so a slow one delays nobody: it is told 410
//! when the ring has moved past it. What happened before the start is read from the store's history
//! ([`recall`]): a watch goes on where it was over a restart.
mod common;
mod farewell;
mod feed;
mod labels;
mod line;
mod object;
mod queued;
mod reached;
mod recall;
mod ring;
mod shut;
mod skim;
mod state;
mod storage;
mod texts;
mod watchers;

pub use farewell::end_watches;
pub use feed::{Gone, fill, run};
pub use object::Object;
pub(crate) use object::{ADDED, DELETED, MODIFIED};
pub use ring::{Change, ChangeKind, Expired};
pub use state::{Cache, Snapshot, StorageId};
pub use watchers::{Interest, Subscription};
