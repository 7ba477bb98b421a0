//! What goes wrong between a part and the API server, by the seed, until a moment after which nothing does.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::random::Random;

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It never arrives.
    Unreachable,
    /// It is carried out, the answer is lost.
    AnswerLost,
    /// The server refuses with this code.
    Refused(u16),
    /// Somebody else changes the object just before.
    Overtaken,
    /// The part crashes instead of sending it.
    CrashBefore,
    /// The part crashes while it waits for the answer; the request was carried out.
    CrashAfter,
}

/// Fate and delays of one request.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub fate: Fate,
    pub before: Duration,
    pub after: Duration,
}

/// How often what happens, of a thousand.
#[derive(Debug, Clone)]
struct Rates {
    unreachable: u64,
    lost: u64,
    refused: u64,
    overtaken: u64,
    crash: u64,
    stale_list: u64,
    watch_break: u64,
    slow_watch: u64,
}

/// The faults of one run, shared by all connections.
pub struct Faults {
    state: Mutex<State>,
    /// From now on all goes well.
    pub until: Instant,
    /// When nobody reaches the server.
    outages: Vec<(Instant, Instant)>,
    rates: Rates,
}

struct State {
    random: Random,
}

impl Faults {
    pub fn new(mut random: Random, last_for: Duration) -> Arc<Self> {
        let now = Instant::now();
        // Each seed knows some kinds of trouble and not others, so that they show alone as well.
        let mut rate = |most: u64| {
            if random.chance(400) {
                0
            } else {
                random.between(1, most)
            }
        };
        let rates = Rates {
            unreachable: rate(80),
            lost: rate(120),
            refused: rate(60),
            overtaken: rate(100),
            crash: rate(12),
            stale_list: rate(700),
            watch_break: rate(900),
            slow_watch: rate(300),
        };
        let outages = (0..random.below(3))
            .map(|_| {
                let begin = now + random.millis(5_000, 120_000);
                (begin, begin + random.millis(1_000, 40_000))
            })
            .collect();
        Arc::new(Self {
            state: Mutex::new(State { random }),
            until: now + last_for,
            outages,
            rates,
        })
    }

    /// None at all.
    pub fn none() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                random: Random::new(0),
            }),
            until: Instant::now(),
            outages: Vec::new(),
            rates: Rates {
                unreachable: 0,
                lost: 0,
                refused: 0,
                overtaken: 0,
                crash: 0,
                stale_list: 0,
                watch_break: 0,
                slow_watch: 0,
            },
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn calm(&self) -> bool {
        Instant::now() >= self.until
    }

    fn in_outage(&self) -> bool {
        let now = Instant::now();
        self.outages
            .iter()
            .any(|(begin, end)| (*begin..*end).contains(&now))
            && !self.calm()
    }

    /// What becomes of a request; `writes` if it changes an object that is there.
    pub fn plan(&self, reads: bool, changes: bool) -> Plan {
        let calm = self.calm();
        let outage = self.in_outage();
        let random = &mut self.state().random;
        let mut plan = Plan {
            fate: Fate::Answered,
            before: random.millis(0, 4),
            after: random.millis(0, 4),
        };
        if outage {
            plan.fate = Fate::Unreachable;
            return plan;
        }
        if calm {
            return plan;
        }
        if random.chance(50) {
            plan.before = random.millis(10, 400);
        }
        if random.chance(50) {
            plan.after = random.millis(10, 400);
        }
        let rates = &self.rates;
        plan.fate = if random.chance(rates.unreachable) {
            Fate::Unreachable
        } else if random.chance(rates.refused) {
            Fate::Refused(*random.pick(&[500, 503, 504, 429]).unwrap())
        } else if random.chance(rates.lost) {
            Fate::AnswerLost
        } else if !reads && random.chance(rates.crash) {
            Fate::CrashBefore
        } else if !reads && random.chance(rates.crash) {
            Fate::CrashAfter
        } else if changes && random.chance(rates.overtaken) {
            Fate::Overtaken
        } else {
            Fate::Answered
        };
        plan
    }

    /// By how many versions a list that needn't be the newest is behind.
    pub fn lag(&self) -> u64 {
        if self.calm() {
            return 0;
        }
        let random = &mut self.state().random;
        if random.chance(self.rates.stale_list) {
            random.below(60)
        } else {
            0
        }
    }

    pub fn watch(self: &Arc<Self>) -> WatchFaults {
        let calm = self.calm();
        let random = &mut self.state().random;
        let now = Instant::now();
        let mut ends_at = now + random.millis(240_000, 290_000);
        let mut breaks = false;
        if !calm && random.chance(self.rates.watch_break) {
            ends_at = now + random.millis(1, 40_000);
            breaks = random.chance(500);
        }
        for (begin, _) in &self.outages {
            if *begin > now && *begin < ends_at {
                (ends_at, breaks) = (*begin, true);
            }
        }
        WatchFaults {
            random: random.fork(),
            faults: self.clone(),
            ends_at,
            breaks,
        }
    }
}

/// What happens to one watch.
pub struct WatchFaults {
    random: Random,
    faults: Arc<Faults>,
    ends_at: Instant,
    breaks: bool,
}

impl WatchFaults {
    /// Comes back when the watch ends.
    pub async fn end(&self) {
        sleep_until(self.ends_at).await;
    }

    /// How it ends: as it should, or with an error.
    pub fn last_word(&self) -> Option<io::Error> {
        self.breaks
            .then(|| io::Error::new(io::ErrorKind::ConnectionReset, "watch broken"))
    }

    /// How long what happened is on its way. What happens meanwhile comes along.
    pub fn delay(&mut self) -> Instant {
        let slow = !self.faults.calm() && self.random.chance(self.faults.rates.slow_watch);
        let delay = if slow {
            self.random.millis(50, 15_000)
        } else {
            self.random.millis(0, 10)
        };
        Instant::now() + delay
    }
}
