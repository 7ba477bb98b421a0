//! What the node, and no source, wants of a pod: its end, for a reason that its status tells; or a look at it.
use super::mailbox::{Stop, StopReason};
use super::verdict::Verdict;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait for the manager: they come one at a time from each of a few places.
const WAITING_MAX: usize = 16;

/// An order to stop a pod.
#[derive(Debug)]
pub struct Order {
    /// The pod on this node.
    pub uid: String,
    pub stop: Stop,
    pub verdict: Verdict,
    /// Dropped when the pod holds nothing on the node any more.
    pub done: oneshot::Sender<()>,
}

/// What the node asks of the manager.
#[derive(Debug)]
pub enum Request {
    /// A pod's end.
    Stop(Order),
    /// Every dead container whose pod has come to its end, newest records included, is removed now; dropped when that
    /// is done.
    Collect(oneshot::Sender<()>),
    /// Something that the status of the pod with this UID tells of has changed.
    Look(String),
    /// Nothing: whoever asks wants to know whether the manager takes requests.
    Answer(oneshot::Sender<()>),
}

/// Where orders are given; clones are the same place.
#[derive(Clone, Debug)]
pub struct Orders {
    sender: mpsc::Sender<Request>,
    receiver: Arc<Mutex<Option<mpsc::Receiver<Request>>>>,
}

impl Default for Orders {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            sender,
            receiver: Arc::new(Mutex::new(Some(receiver))),
        }
    }
}

impl Orders {
    /// For the manager, once.
    pub(crate) fn receive(&self) -> mpsc::Receiver<Request> {
        let taken = self.receiver.lock().take();
        // A second manager hears nothing.
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Has a pod stopped within `grace` seconds, and waits until it is.
    pub async fn stop(&self, uid: &str, grace: i64, verdict: Verdict) {
        let (done, ended) = oneshot::channel();
        let order = Order {
            uid: uid.to_owned(),
            stop: Stop {
                grace: Some(grace),
                why: StopReason::Ordered,
            },
            verdict,
            done,
        };
        // An agent that ends stops nothing any more.
        if self.sender.send(Request::Stop(order)).await.is_ok() {
            let _ = ended.await;
        }
    }

    /// Waits until the manager has had a turn: it never waits for anything but its inputs, so that one which does not
    /// answer for long is stuck. Whether there is a manager.
    pub async fn answered(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.sender.send(Request::Answer(answer)).await.is_ok() && answered.await.is_ok()
    }

    /// Has a pod's status made anew.
    pub async fn look(&self, uid: String) {
        // An agent that ends tells nothing any more.
        let _ = self.sender.send(Request::Look(uid)).await;
    }

    /// Has dead containers and sandboxes removed, and waits until they are.
    pub async fn collect(&self) {
        let (done, ended) = oneshot::channel();
        if self.sender.send(Request::Collect(done)).await.is_ok() {
            let _ = ended.await;
        }
    }
}
