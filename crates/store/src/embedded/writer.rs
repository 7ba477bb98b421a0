//! The writer: all changes go through it, one batch after the other. Its thread takes what waits as one
//! batch, commits it with one data sync, shows it to the watchers and answers. A write that comes alone is done by
//! the thread that asks for it: to wake the writer, and to be woken by it, takes as long as the write.
use super::Shared;
use super::commands::{Command, Reply};
use super::commit::{self, Answer, Chores, Outcome};
use super::format::LEASES;
use super::history::History;
use super::leases::Leases;
use super::spawner::Spawner;
use crate::{LeaseId, StoreError, Txn, TxnResponse};
use parking_lot::Mutex;
use redb::ReadableTable;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// How long the writer leaves its own work (ending leases, forgetting history) alone after it has
/// failed, most likely for want of space.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A file is worth defragmenting from this size on,
const DEFRAGMENT_BYTES_MIN: u64 = 8 << 20;
/// when it has more than so many times the bytes of its records.
const DEFRAGMENT_FACTOR: u64 = 4;
/// A change that takes up to so long does not need its thread's other tasks moved away: to move them, and to wake
/// the thread that takes them, costs about as much as a fast disk's sync.
const BRIEF: Duration = Duration::from_millis(1);

/// The writer's own thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    changes: Arc<Changes>,
}

/// Who may change the store now, and when there is something to do next.
#[derive(Debug)]
pub(super) struct Changes {
    changer: Mutex<Changer>,
    /// Somebody else has made a change that moves the deadline.
    moved: Notify,
}

/// Makes changes.
#[derive(Debug)]
struct Changer {
    shared: Arc<Shared>,
    leases: Leases,
    history: History,
    forgetting: Forgetting,
    /// Callers of `compact`, answered when the history is gone.
    compacting: Vec<Reply<()>>,
    /// Commands of the last batch.
    last_batch: usize,
    /// The last change took no longer than [`BRIEF`]: the next one is likely to.
    brief: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgetting {
    Done,
    Pending,
    RetryAt(Duration),
}

enum Next {
    GoOn,
    Close(Vec<oneshot::Sender<()>>),
}

impl Changes {
    /// Learns from the database what has to be done in the future.
    pub(super) fn new(shared: Arc<Shared>) -> Result<Arc<Self>, StoreError> {
        let (leases, unreachable) = shared.db.read(|snapshot| {
            let mut leases = Vec::new();
            for row in snapshot.open_table(LEASES)?.iter()? {
                let (lease, ttl_seconds) = row?;
                leases.push((LeaseId(lease.value()), ttl_seconds.value()));
            }
            Ok((leases, super::forget::has_unreachable(snapshot)?))
        })?;
        let state = shared.db.state()?;
        let now = shared.clock.now();
        let mut changer = Changer {
            leases: Leases::default(),
            history: History::new(shared.options.history),
            forgetting: if unreachable {
                Forgetting::Pending
            } else {
                Forgetting::Done
            },
            compacting: Vec::new(),
            last_batch: 0,
            brief: false,
            shared,
        };
        for (lease, ttl_seconds) in leases {
            changer.leases.start(lease, ttl_seconds, now);
        }
        if state.revision > state.compacted {
            changer.history.mark(now, state.revision);
        }
        Ok(Arc::new(Self {
            changer: Mutex::new(changer),
            moved: Notify::new(),
        }))
    }

    /// Makes a change on the thread that asks for it, if that may block, and nobody else wants one. What is not
    /// made comes back.
    pub(super) fn make_here(
        &self,
        spawner: &dyn Spawner,
        txn: Txn,
    ) -> Result<Result<TxnResponse, StoreError>, Txn> {
        if !spawner.lends_callers() {
            return Err(txn);
        }
        let Some(mut changer) = self.changer.try_lock() else {
            return Err(txn);
        };
        if changer.last_batch > 1 || changer.forgetting != Forgetting::Done {
            return Err(txn);
        }
        let deadline = changer.next_deadline();
        let brief = changer.brief;
        let (reply, mut answer) = oneshot::channel();
        let mut commands = vec![Command::Txn { txn, reply }];
        let mut make = || {
            let clock = changer.shared.clock.clone();
            let start = clock.now();
            changer.step(std::mem::take(&mut commands));
            changer.brief = clock.now().saturating_sub(start) <= BRIEF;
        };
        if brief {
            make();
        } else {
            spawner.block_caller(&mut make);
        }
        if changer.next_deadline() != deadline || changer.forgetting != Forgetting::Done {
            self.moved.notify_one();
        }
        Ok(answer.try_recv().unwrap_or(Err(StoreError::Closed)))
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Receiver<Command>, changes: Arc<Changes>) -> Self {
        Self {
            shared,
            commands,
            changes,
        }
    }

    /// Runs until it is told to close, or nobody is left who could.
    pub(super) async fn run(mut self) {
        let closing = loop {
            let Some(commands) = self.gather().await else {
                break Vec::new();
            };
            if let Next::Close(replies) = self.changes.changer.lock().step(commands) {
                break replies;
            }
        };
        self.commands.close();
        self.shared.shut();
        for reply in closing {
            let _ = reply.send(());
        }
    }

    /// Waits for commands or a deadline, then takes all commands that wait. `None`: all handles are
    /// gone.
    async fn gather(&mut self) -> Option<Vec<Command>> {
        let mut gathered = Vec::new();
        let mut bytes = 0;
        let (forgetting, deadline) = {
            let changer = self.changes.changer.lock();
            (changer.forgetting, changer.next_deadline())
        };
        if forgetting != Forgetting::Pending {
            let clock = self.shared.clock.clone();
            let due = async {
                match deadline {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                command = self.commands.recv() => {
                    let command = command?;
                    bytes += command.bytes();
                    gathered.push(command);
                }
                () = due => {}
                () = self.changes.moved.notified() => {}
            }
        }
        let options = &self.shared.options;
        while gathered.len() < options.batch_len && bytes < options.batch_bytes {
            match self.commands.try_recv() {
                Ok(command) => {
                    bytes += command.bytes();
                    gathered.push(command);
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) if gathered.is_empty() => return None,
                Err(mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        Some(gathered)
    }
}

impl Changer {
    fn next_deadline(&self) -> Option<Duration> {
        let retry = match self.forgetting {
            Forgetting::RetryAt(at) => Some(at),
            Forgetting::Done | Forgetting::Pending => None,
        };
        [self.leases.next_end(), self.history.next_due(), retry]
            .into_iter()
            .flatten()
            .min()
    }

    fn step(&mut self, commands: Vec<Command>) -> Next {
        let now = self.shared.clock.now();
        self.last_batch = commands.len();
        let chores = Chores {
            ended: self.leases.ended(now),
            compact: self.history.due(now),
            forget: match self.forgetting {
                Forgetting::Done => false,
                Forgetting::Pending => true,
                Forgetting::RetryAt(at) => at <= now,
            },
        };
        let has_chores = !chores.ended.is_empty() || chores.compact.is_some() || chores.forget;
        if !has_chores && !commands.iter().any(Command::writes) {
            let answers = commands.iter().map(|_| Answer::Later).collect();
            return self.answer(commands, answers, now);
        }
        match commit::run(&self.shared.db, &commands, &chores) {
            Ok(outcome) => self.done(commands, &chores, outcome, now),
            Err(error) => self.failed(commands, &chores, &error, now),
        }
    }

    fn done(&mut self, commands: Vec<Command>, chores: &Chores, outcome: Outcome, now: Duration) -> Next {
        for lease in &chores.ended {
            self.leases.forget(*lease);
        }
        if chores.forget {
            self.forgetting = if outcome.forgotten {
                Forgetting::Done
            } else {
                Forgetting::Pending
            };
        }
        let wrote = outcome.change.is_some();
        if let Some((state, committed)) = outcome.change {
            if !committed.is_empty() {
                self.history.mark(now, state.revision);
            }
            self.shared.tail.publish(committed, state.revision);
        }
        if chores.compact.is_some() {
            self.forgetting = Forgetting::Pending;
        }
        let next = self.answer(commands, outcome.answers, now);
        if wrote {
            self.shared.db.mark_acknowledged();
            self.shared.db.catch_up();
        }
        self.shorten_journal();
        if chores.forget && self.forgetting == Forgetting::Done {
            self.give_space_back();
            for reply in self.compacting.drain(..) {
                let _ = reply.send(Ok(()));
            }
        }
        next
    }

    fn failed(&mut self, commands: Vec<Command>, chores: &Chores, error: &StoreError, now: Duration) -> Next {
        let retry_at = now.saturating_add(RETRY_AFTER);
        for lease in &chores.ended {
            self.leases.postpone(*lease, retry_at);
        }
        if let Some(revision) = chores.compact {
            self.history.postpone(revision, retry_at);
        }
        if chores.forget {
            self.forgetting = Forgetting::RetryAt(retry_at);
            for reply in self.compacting.drain(..) {
                let _ = reply.send(Err(error.again()));
            }
        }
        let answers = commands
            .iter()
            .map(|command| match command {
                Command::Txn { .. } => Answer::Txn(Err(error.again())),
                Command::Grant { .. } => Answer::Grant(Err(error.again())),
                Command::Revoke { .. } => Answer::Revoke(Err(error.again())),
                Command::Compact { .. } => Answer::Compact(Err(error.again())),
                Command::KeepAlive { .. }
                | Command::TimeToLive { .. }
                | Command::Leases { .. }
                | Command::Defragment { .. }
                | Command::Close { .. } => Answer::Later,
            })
            .collect();
        tracing::error!(%error, writes = commands.len(), "the store could not write");
        self.answer(commands, answers, now)
    }

    /// Tells every caller; a caller that has gone away does not matter.
    fn answer(&mut self, commands: Vec<Command>, answers: Vec<Answer>, now: Duration) -> Next {
        let mut closing = Vec::new();
        for (command, answer) in commands.into_iter().zip(answers) {
            match (command, answer) {
                (Command::Txn { reply, .. }, Answer::Txn(answer)) => {
                    let _ = reply.send(answer);
                }
                (
                    Command::Grant {
                        ttl_seconds, reply, ..
                    },
                    Answer::Grant(answer),
                ) => {
                    if let Ok(lease) = answer {
                        self.leases.start(lease, ttl_seconds, now);
                    }
                    let _ = reply.send(answer);
                }
                (Command::Revoke { lease, reply }, Answer::Revoke(answer)) => {
                    if answer.is_ok() {
                        self.leases.forget(lease);
                    }
                    let _ = reply.send(answer);
                }
                (Command::Compact { reply, .. }, Answer::Compact(answer)) => match answer {
                    Ok(()) => {
                        self.forgetting = Forgetting::Pending;
                        self.compacting.push(reply);
                    }
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                },
                (Command::KeepAlive { lease, reply }, _) => {
                    let answer = self
                        .leases
                        .keep_alive(lease, now)
                        .ok_or(StoreError::LeaseNotFound(lease.0));
                    let _ = reply.send(answer);
                }
                (Command::TimeToLive { lease, reply }, _) => {
                    let answer = self
                        .leases
                        .time_to_live(lease, now)
                        .ok_or(StoreError::LeaseNotFound(lease.0));
                    let _ = reply.send(answer);
                }
                (Command::Leases { reply }, _) => {
                    let _ = reply.send(Ok(self.leases.by_end()));
                }
                (Command::Defragment { reply }, _) => {
                    let _ = reply.send(self.shared.db.defragment());
                }
                (Command::Close { reply }, _) => closing.push(reply),
                // An answer belongs to its command; dropping the reply says `Closed`.
                (command, _) => debug_assert!(false, "no answer for {command:?}"),
            }
        }
        if closing.is_empty() {
            Next::GoOn
        } else {
            Next::Close(closing)
        }
    }

    /// Makes the tree durable by itself when the journal has become long. If that fails, what was
    /// acknowledged is in the journal, and the next batch brings another try.
    fn shorten_journal(&self) {
        let db = &self.shared.db;
        if db.is_checkpoint_due()
            && let Err(fault) = db.checkpoint()
        {
            tracing::warn!(error = %db.error(fault), "cannot shorten the store's journal");
        }
    }

    /// Shortens the file when most of it is free. That is a kindness: failing is not an error.
    fn give_space_back(&self) {
        let db = &self.shared.db;
        let worthwhile = || {
            let size = db.size()?;
            let needed = db.state()?.record_bytes;
            Ok::<_, StoreError>(
                size > DEFRAGMENT_BYTES_MIN && size > DEFRAGMENT_FACTOR.saturating_mul(needed),
            )
        };
        if !worthwhile().unwrap_or(false) {
            return;
        }
        match db.defragment() {
            Ok(()) => {
                let size = db.size().unwrap_or_default();
                tracing::info!(size, "gave the store's free space back");
            }
            Err(error) => tracing::warn!(%error, "cannot give the store's free space back"),
        }
    }
}
