//! The authority that clients within the cluster trust, which may be replaced while the controllers run.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;

/// The cluster's CA in PEM: given once, or as somebody else says at any time.
#[derive(Debug, Clone)]
pub struct RootCa(watch::Receiver<Arc<str>>);

impl From<String> for RootCa {
    fn from(pem: String) -> Self {
        Self(watch::channel(pem.into()).1)
    }
}

impl From<watch::Receiver<Arc<str>>> for RootCa {
    fn from(current: watch::Receiver<Arc<str>>) -> Self {
        Self(current)
    }
}

impl RootCa {
    /// As it is now.
    pub fn current(&self) -> Arc<str> {
        self.0.borrow().clone()
    }

    /// Calls `then` whenever it was replaced, for ever.
    pub(crate) async fn each_time_replaced(mut self, then: impl Fn()) {
        while self.0.changed().await.is_ok() {
            then();
        }
        // Nobody replaces it any more; a task that ends would end all.
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::cell::Cell;
    use std::pin::pin;

    #[tokio::test]
    async fn who_waits_hears_of_each_replacement_and_lasts_longer_than_who_replaces() {
        let (sender, receiver) = watch::channel::<Arc<str>>("one".into());
        let root_ca = RootCa::from(receiver);
        // Between being given and being waited for.
        sender.send_replace("two".into());
        let heard = Cell::new(0);
        let mut waiting = pin!(root_ca.clone().each_time_replaced(|| heard.set(heard.get() + 1)));
        assert!(poll!(&mut waiting).is_pending());
        assert_eq!((heard.get(), &*root_ca.current()), (1, "two"));
        sender.send_replace("three".into());
        drop(sender);
        assert!(poll!(&mut waiting).is_pending());
        assert_eq!((heard.get(), &*root_ca.current()), (2, "three"));
        assert_eq!(&*RootCa::from("given".to_owned()).current(), "given");
    }
}
