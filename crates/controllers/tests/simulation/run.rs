//! One seed from start to end.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orlop_controllers::ControllersConfig;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::agents::Fleet;
use crate::api::http::Connection;
use crate::api::kinds::{EVENTS, NAMESPACES};
use crate::api::store::Actor;
use crate::api::{Commit, Key, Store};
use crate::determinism;
use crate::faults::Faults;
use crate::invariants::{Invariants, converged};
use crate::random::Random;
use crate::story::Story;

/// How long the cluster may take to converge once all goes well: longer than any back-off that trouble has left behind.
const PATIENCE: Duration = Duration::from_secs(40 * 60);
/// How long it must stay quiet afterwards.
const QUIET: Duration = Duration::from_secs(90);
/// How long what was under way may still be written.
const SETTLING: Duration = Duration::from_secs(30);
/// More writes than any honest run needs: somebody fights or spins.
const WRITES_MAX: u64 = 60_000;

/// How a run ended.
pub struct Outcome {
    pub writes: u64,
    /// Hash of all that was written, by whom and when.
    pub trace: u64,
    pub broken: Option<String>,
}

/// What was written so far.
#[derive(Default)]
pub struct Trace {
    hasher: DefaultHasher,
    writes: u64,
}

impl Trace {
    fn note(&mut self, commit: &Commit, verbose: bool) {
        self.writes += 1;
        let at = determinism::elapsed();
        let what = match (&commit.old, &commit.new) {
            (None, _) => "+",
            (_, None) => "-",
            _ => "~",
        };
        let line = format!(
            "{at:.3} {:?} {what}{} {}",
            commit.by, commit.key.kind.plural, commit.key.name
        );
        line.hash(&mut self.hasher);
        commit.shown.to_string().hash(&mut self.hasher);
        if verbose && commit.key.kind != &EVENTS && commit.key.kind.plural != "leases" {
            println!("{line}{}", crate::invariants::brief(commit));
        }
    }
}

/// Runs `seed` on a thread of its own.
pub fn run(seed: u64, verbose: bool) -> Outcome {
    on_a_thread_of_its_own(seed, move || simulate(seed, verbose))
}

/// Runs a future under the simulated clock.
pub fn on_a_thread_of_its_own<F, T>(seed: u64, future: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let body = move || {
        determinism::seed_thread(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            determinism::start_clock();
            future().await
        })
    };
    let thread = std::thread::Builder::new().name(format!("seed {seed}"));
    thread.spawn(body).unwrap().join().unwrap()
}

/// A store with the namespaces that every cluster has.
pub fn store(
    random: Random,
    hook: impl Fn(&crate::api::store::Contents, &Commit) + Send + Sync + 'static,
) -> Arc<Store> {
    let store = Store::new(random, hook);
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let namespace = json!({"metadata": {"name": name}, "spec": {"finalizers": ["kubernetes"]}});
        store
            .create(Actor::User, &Key::new(&NAMESPACES, "", name), namespace)
            .unwrap();
    }
    store
}

async fn simulate(seed: u64, verbose: bool) -> Outcome {
    let mut random = Random::new(seed);
    let fleet = Arc::new(Fleet::default());
    let trace = Arc::new(Mutex::new(Trace::default()));
    let invariants = Arc::new(Invariants::new(fleet.clone()));
    let (noted, watched) = (trace.clone(), invariants.clone());
    let store = store(random.fork(), move |contents, commit| {
        noted.lock().unwrap().note(commit, verbose);
        watched.see(contents, commit);
    });
    let lasts = random.millis(60_000, 300_000);
    let faults = Faults::new(random.fork(), lasts);
    for part in [Part::Controllers, Part::Scheduler] {
        let supervisor = Supervisor {
            part,
            store: store.clone(),
            faults: faults.clone(),
            invariants: invariants.clone(),
            random: random.fork(),
        };
        tokio::spawn(supervisor.run());
    }
    let mut story = Story::new(store.clone(), faults.clone(), fleet, random.fork());
    story.tell().await;

    let calm = Instant::now();
    let mut missing = String::new();
    let mut since: Option<Instant> = None;
    let broken = loop {
        if let Some(broken) = invariants.broken() {
            break Some(broken);
        }
        if trace.lock().unwrap().writes > WRITES_MAX {
            break Some(format!("more than {WRITES_MAX} writes"));
        }
        // Not within the match, which would hold the lock all along.
        let state = converged(&store.lock());
        match state {
            Ok(()) => {
                let settled = since.get_or_insert_with(Instant::now).elapsed();
                if settled > SETTLING + QUIET {
                    break None;
                }
                invariants.expect_quiet(settled > SETTLING);
            }
            Err(what) => {
                since = None;
                invariants.expect_quiet(false);
                missing = what;
                story.clear_away();
            }
        }
        if calm.elapsed() > PATIENCE {
            break Some(format!("not converged: {missing}"));
        }
        sleep(Duration::from_secs(1)).await;
    };
    let trace = trace.lock().unwrap();
    Outcome {
        writes: trace.writes,
        trace: trace.hasher.finish(),
        broken: broken.map(|broken| format!("after {:.3} s: {broken}", determinism::elapsed())),
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Part {
    Controllers,
    Scheduler,
}

/// Keeps a part alive: it is started again some time after each crash.
pub struct Supervisor {
    pub part: Part,
    pub store: Arc<Store>,
    pub faults: Arc<Faults>,
    pub invariants: Arc<Invariants>,
    pub random: Random,
}

impl Supervisor {
    pub async fn run(mut self) {
        loop {
            let by = match self.part {
                Part::Controllers => Actor::Controllers,
                Part::Scheduler => Actor::Scheduler,
            };
            let connection = Connection::new(self.store.clone(), by, self.faults.clone());
            let crashed = connection.crashed().clone();
            let shutdown = CancellationToken::new();
            let client = connection.client();
            let running = async {
                match self.part {
                    Part::Controllers => {
                        let config = ControllersConfig {
                            root_ca: Some("the CA".to_owned().into()),
                            ..ControllersConfig::default()
                        };
                        let ended = orlop_controllers::run(client, config, shutdown).await;
                        ended.map_err(|error| error.to_string())
                    }
                    Part::Scheduler => {
                        let ended = orlop_scheduler::run(client, shutdown).await;
                        ended.map_err(|error| error.to_string())
                    }
                }
            };
            tokio::select! {
                biased;
                () = crashed.cancelled() => {}
                ended = running => {
                    self.invariants.report(format!("{:?} ended: {ended:?}", self.part));
                    return;
                }
            }
            sleep(self.random.millis(100, 20_000)).await;
        }
    }
}
