//! Values at rest: sealed before they are stored and opened when they are read, as an EncryptionConfiguration says, in
//! upstream's forms, so that what either server has stored the other can read.
//!
//! | file | does |
//! |---|---|
//! | `config` | from `--encryption-provider-config` to who seals which resource |
//! | `provider` | one way to seal values |
//! | `kms` | plugins that keep the keys |
//! | `store` | the store behind it |
mod config;
mod kms;
mod provider;
mod store;

pub use config::EncryptionError;
pub(crate) use store::{Sealed, away, is_closed, lost};

use config::Plan;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often plugins are asked how they are, while all are well and while one is not; upstream's.
const WELL_PERIOD: Duration = Duration::from_secs(60);
const UNWELL_PERIOD: Duration = Duration::from_secs(10);
/// Plugins that start together with the server are asked more often, for so long.
const START_TIME: Duration = Duration::from_secs(30);
const START_PERIOD: Duration = Duration::from_millis(500);

/// Who seals what now. Clones share it, so that it can be replaced while a server runs.
#[derive(Clone)]
pub struct Encryption(Arc<Shared>);

struct Shared {
    plan: RwLock<Arc<Plan>>,
    /// It is another one.
    replaced: Notify,
    /// It can become another one.
    is_followed: AtomicBool,
}

impl Encryption {
    /// From the text of an EncryptionConfiguration, YAML or JSON.
    ///
    /// # Errors
    /// It is none, or one that cannot be followed.
    pub fn new(config: &str) -> Result<Self, EncryptionError> {
        Ok(Self(Arc::new(Shared {
            plan: RwLock::new(Arc::new(Plan::parse(config)?)),
            replaced: Notify::new(),
            is_followed: AtomicBool::new(false),
        })))
    }

    /// Says that the configuration is followed as it changes: its plugins have one health check together then.
    pub fn will_be_replaced(&self) {
        self.0.is_followed.store(true, Ordering::Relaxed);
    }

    /// Follows another configuration from now on. What is stored stays as it is until it is written.
    ///
    /// # Errors
    /// It cannot be followed; the one before still is.
    pub fn replace(&self, config: &str) -> Result<(), EncryptionError> {
        let plan = Plan::parse(config)?;
        let before = self.plan().plugins();
        for plugin in plan.plugins() {
            if let Some(before) = before.iter().find(|before| plugin.is_same(before)) {
                plugin.succeed(before);
            }
        }
        *self.0.plan.write() = Arc::new(plan);
        self.0.replaced.notify_one();
        Ok(())
    }

    fn plan(&self) -> Arc<Plan> {
        self.0.plan.read().clone()
    }

    /// Names of health checks, and whether each passes: upstream's names.
    pub(crate) fn health(&self) -> Vec<(String, bool)> {
        let plugins = self.plan().plugins();
        if plugins.is_empty() {
            return Vec::new();
        }
        if self.0.is_followed.load(Ordering::Relaxed) {
            let all = plugins.iter().all(|plugin| plugin.is_well());
            return vec![("kms-providers".to_owned(), all)];
        }
        let each = plugins.iter().enumerate();
        each.map(|(number, plugin)| (format!("kms-provider-{number}"), plugin.is_well()))
            .collect()
    }

    /// Asks all plugins how they are; answers whether all are well.
    async fn check(&self) -> bool {
        let mut well = true;
        for plugin in self.plan().plugins() {
            if let Err(error) = plugin.check().await {
                tracing::warn!(%error, "values cannot be sealed if this goes on");
                well = false;
            }
        }
        well
    }

    /// Asks all plugins once. The start waits for none of them: what needs one that is away says so.
    pub(crate) async fn begin(&self) {
        self.check().await;
    }

    /// Looks after the plugins until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let began = Instant::now();
        loop {
            let health = self.health();
            let period = match health.iter().any(|(_, well)| !well) {
                true if began.elapsed() < START_TIME => START_PERIOD,
                true => UNWELL_PERIOD,
                false => WELL_PERIOD,
            };
            tokio::select! {
                () = tokio::time::sleep(period), if !health.is_empty() => {}
                () = self.0.replaced.notified() => {}
                () = shutdown.cancelled() => return,
            }
            self.check().await;
        }
    }
}
