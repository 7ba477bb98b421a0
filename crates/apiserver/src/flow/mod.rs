//! How many requests are answered at the same time, and whose (contract §20).
//!
//! With priority and fairness, every request belongs to a priority level and within it to a flow; a client that asks
//! for more than its share waits behind its own requests, not others behind it. Without, two plain limits hold.
//! Streams count until they have begun.
mod plan;
mod seats;

use crate::authn::UserInfo;
use crate::authz::Attributes;
use crate::cache::{Cache, StorageId};
use crate::resources;
use http::{HeaderValue, Method};
use parking_lot::{Mutex, RwLock};
use plan::Plan;
use seats::{Arrival, Seats};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The API group of what is configured.
pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Longest wait for a seat: a quarter of a request's time.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Members are never limited without priority and fairness.
const MASTERS: &str = "system:masters";

/// How requests are limited.
#[derive(Clone, Copy, Debug)]
pub struct FlowConfig {
    /// Requests that only read, at the same time.
    pub reads: u32,
    /// Others.
    pub writes: u32,
    /// Whether both limits are one, shared fairly.
    pub fair: bool,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            reads: 400,
            writes: 200,
            fair: true,
        }
    }
}

/// Where a request was counted, for its answer's headers and for the metrics.
pub struct Class {
    pub schema: Arc<str>,
    pub level: Arc<str>,
    pub schema_uid: HeaderValue,
    pub level_uid: HeaderValue,
}

/// A request that was not turned away, while it lives.
pub struct Admitted {
    pub class: Option<Arc<Class>>,
    pub waited: Duration,
    _seat: Option<Seat>,
}

/// Why a request was turned away.
pub struct TurnedAway {
    pub class: Option<Arc<Class>>,
    /// As the metrics name it.
    pub reason: &'static str,
}

type Ticket = oneshot::Sender<()>;

#[derive(Default)]
struct Room {
    seats: Mutex<Seats<Ticket>>,
    /// Levels keep their number for good, whatever becomes of their configuration.
    numbers: Mutex<HashMap<Arc<str>, usize>>,
}

impl Room {
    fn leave(&self, level: usize) {
        let mut seats = self.seats.lock();
        seats.leave(level);
        Self::call(&mut seats);
    }

    /// Calls those in who may have a seat.
    fn call(seats: &mut Seats<Ticket>) {
        while let Some((level, ticket)) = seats.next() {
            if ticket.send(()).is_err() {
                seats.leave(level);
            }
        }
    }
}

enum Seat {
    Of { room: Arc<Room>, level: usize },
    Counted { of: Arc<AtomicU32> },
}

impl Drop for Seat {
    fn drop(&mut self) {
        match self {
            Self::Of { room, level } => room.leave(*level),
            Self::Counted { of } => {
                of.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// A request that waits. One that gives up takes its ticket along.
struct Waiting {
    room: Arc<Room>,
    level: usize,
    flow: u64,
    called: oneshot::Receiver<()>,
}

impl Waiting {
    /// Whether it was called, also at the last moment.
    fn was_called(&mut self) -> bool {
        self.called.close();
        self.called.try_recv().is_ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.was_called() {
            self.room.leave(self.level);
        } else {
            self.room
                .seats
                .lock()
                .forget(self.level, self.flow, Ticket::is_closed);
        }
    }
}

/// A plan with the numbers of its levels.
#[derive(Default)]
struct Current {
    revision: u64,
    plan: Plan,
    numbers: Vec<usize>,
}

/// Lets requests in.
pub struct Flow {
    config: FlowConfig,
    cache: Arc<Cache>,
    storages: [Option<StorageId>; 2],
    current: RwLock<Arc<Current>>,
    room: Arc<Room>,
    reading: Arc<AtomicU32>,
    writing: Arc<AtomicU32>,
}

/// What a level does now.
pub struct LevelState {
    pub name: Arc<str>,
    pub nominal: u32,
    pub seated: u32,
    pub waiting: usize,
}

impl Flow {
    pub fn new(config: FlowConfig, cache: Arc<Cache>) -> Self {
        let kinds = ["flowschemas", "prioritylevelconfigurations"];
        Self {
            config,
            storages: kinds
                .map(|plural| resources::find(GROUP, "v1", plural).and_then(|kind| cache.storage(kind))),
            cache,
            current: RwLock::default(),
            room: Arc::default(),
            reading: Arc::default(),
            writing: Arc::default(),
        }
    }

    /// Waits until a request may be answered.
    pub async fn admit(
        &self,
        user: &UserInfo,
        asked: &Attributes,
        method: &Method,
    ) -> Result<Admitted, TurnedAway> {
        if !self.config.fair {
            return self.count(user, method);
        }
        let current = self.current();
        let Some((schema, flow)) = current.plan.classify(user, asked) else {
            // Until the server's own objects are there.
            return Ok(Admitted {
                class: None,
                waited: Duration::ZERO,
                _seat: None,
            });
        };
        let level = &current.plan.levels[schema.level];
        let class = schema.class.clone();
        let number = current.numbers[schema.level];
        let mut called = None;
        let arrival = self.room.seats.lock().arrive(number, flow, || {
            let (ticket, receiver) = oneshot::channel();
            called = Some(receiver);
            ticket
        });
        let admitted = |waited| Admitted {
            class: Some(class.clone()),
            waited,
            _seat: Some(Seat::Of {
                room: self.room.clone(),
                level: number,
            }),
        };
        let called = match (arrival, called) {
            (Arrival::Seated, _) => return Ok(admitted(Duration::ZERO)),
            (Arrival::Waits, Some(called)) => called,
            _ => {
                let queues = level.allotted.waiting > 0;
                let reason = if queues { "queue-full" } else { "concurrency-limit" };
                return Err(TurnedAway {
                    class: Some(class),
                    reason,
                });
            }
        };
        let began = Instant::now();
        let mut waiting = Waiting {
            room: self.room.clone(),
            level: number,
            flow,
            called,
        };
        let heard = tokio::time::timeout(WAIT_MAX, &mut waiting.called).await;
        match heard {
            // From here on the seat is the admitted request's to give back.
            Ok(Ok(())) => Ok(admitted(began.elapsed())),
            _ if waiting.was_called() => Ok(admitted(began.elapsed())),
            _ => Err(TurnedAway {
                class: Some(class),
                reason: "time-out",
            }),
        }
    }

    fn count(&self, user: &UserInfo, method: &Method) -> Result<Admitted, TurnedAway> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let (limit, of) = match reads {
            true => (self.config.reads, &self.reading),
            false => (self.config.writes, &self.writing),
        };
        let before = of.fetch_add(1, Ordering::Relaxed);
        let seat = Seat::Counted { of: of.clone() };
        if limit > 0 && before >= limit && !user.is_in(MASTERS) {
            return Err(TurnedAway {
                class: None,
                reason: "concurrency-limit",
            });
        }
        Ok(Admitted {
            class: None,
            waited: Duration::ZERO,
            _seat: Some(seat),
        })
    }

    /// The plan of what is configured now.
    fn current(&self) -> Arc<Current> {
        let newest = self.cache.last_change(self.storages.into_iter().flatten()).max(1);
        {
            let current = self.current.read();
            if current.revision >= newest {
                return current.clone();
            }
        }
        let [schemas, levels] = self.storages.map(|id| self.values(id));
        let plan = Plan::compile(&schemas, &levels, self.config.reads + self.config.writes);
        let mut current = self.current.write();
        if current.revision >= newest {
            return current.clone();
        }
        let mut numbers = self.room.numbers.lock();
        let mut seats = self.room.seats.lock();
        let given = plan.levels.iter().map(|level| {
            let next = numbers.len();
            let number = *numbers.entry(level.name.clone()).or_insert(next);
            seats.allot(number, level.allotted);
            number
        });
        let given: Vec<usize> = given.collect();
        for number in (0..seats.count()).filter(|number| !given.contains(number)) {
            seats.retire(number);
        }
        // Some may have more seats than before.
        Room::call(&mut seats);
        *current = Arc::new(Current {
            revision: newest,
            plan,
            numbers: given,
        });
        current.clone()
    }

    fn values(&self, storage: Option<StorageId>) -> Vec<Value> {
        let found = storage.map(|id| self.cache.snapshot(id, "").objects);
        found.iter().flatten().map(|object| object.value()).collect()
    }

    /// What every level does, for the metrics.
    pub fn levels(&self) -> Vec<LevelState> {
        if !self.config.fair {
            return Vec::new();
        }
        let current = self.current();
        let seats = self.room.seats.lock();
        let levels = current.plan.levels.iter().zip(&current.numbers);
        levels
            .map(|(level, number)| {
                let (seated, waiting) = seats.counts(*number);
                LevelState {
                    name: level.name.clone(),
                    nominal: level.allotted.nominal,
                    seated,
                    waiting,
                }
            })
            .collect()
    }
}
