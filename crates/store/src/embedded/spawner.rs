//! Where the store's work runs, as a parameter: a simulation decides itself what goes on when.
use super::StoreError;
use futures::future::BoxFuture;
use std::{fmt, io};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// Something that runs what it is given, beside who gives it.
pub trait Spawner: fmt::Debug + Send + Sync + 'static {
    /// Runs a task: one a watch.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs what may read much, or wait for the disk, where it holds no task up.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);

    /// Runs the writer, which waits for the disk by itself.
    fn spawn_writer(&self, writer: BoxFuture<'static, ()>) -> io::Result<Writing>;

    /// Whether who asks for a write may be made to do it, if nobody else wants one.
    fn lends_callers(&self) -> bool;

    /// Runs both to their ends, at the same time if there is a thread for that. One that panics counts as run, if it is
    /// the `other`.
    fn run_both(&self, own: &mut dyn FnMut(), other: &mut (dyn FnMut() + Send));

    /// Runs on a caller what may wait for the disk; other tasks of its thread are to go on meanwhile.
    fn block_caller(&self, work: &mut dyn FnMut());
}

/// A writer that runs.
pub struct Writing(Box<dyn FnOnce() -> bool + Send>);

impl Writing {
    /// `wait` waits until it has ended, for whoever drops the store; false: it has panicked.
    pub fn new(wait: impl FnOnce() -> bool + Send + 'static) -> Self {
        Self(Box::new(wait))
    }

    pub(super) fn wait(self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writing")
    }
}

/// Tasks on the runtime of whoever calls, the writer on a thread of its own.
#[derive(Debug)]
pub struct TokioSpawner;

impl Spawner for TokioSpawner {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }

    fn spawn_writer(&self, writer: BoxFuture<'static, ()>) -> io::Result<Writing> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("orlop-store".to_owned())
            .spawn(move || runtime.block_on(writer))?;
        Ok(Writing::new(move || thread.join().is_ok()))
    }

    fn lends_callers(&self) -> bool {
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
    }

    fn run_both(&self, own: &mut dyn FnMut(), other: &mut (dyn FnMut() + Send)) {
        std::thread::scope(|scope| {
            let other = scope.spawn(other);
            own();
            // Its thread has logged what it panicked at.
            let _ = other.join();
        });
    }

    fn block_caller(&self, work: &mut dyn FnMut()) {
        tokio::task::block_in_place(work);
    }
}

/// Runs what may read much, or wait for the disk, where it holds nobody up.
pub(super) async fn off_reactor<T: Send + 'static>(
    spawner: &dyn Spawner,
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let (sender, answer) = oneshot::channel();
    spawner.spawn_blocking(Box::new(move || {
        // Who asked may have gone away.
        let _ = sender.send(read());
    }));
    // Else the runtime is shutting down, or the read panicked, which its own thread has logged.
    answer.await.unwrap_or(Err(StoreError::Closed))
}
