//! Values at rest: sealed before they are stored and opened when they are read, as an EncryptionConfiguration says, in
//! upstream's forms, so that what either server has stored the other can read.
//!
//! | file | does |
//! |---|---|
//! | `config` | from `--encryption-provider-config` to who seals which resource |
//! | `provider` | one way to seal values |
//! | `store` | the store behind it |
//!
//! KMS providers are not built.
mod config;
mod provider;
mod store;

pub use config::EncryptionError;
pub(crate) use store::Sealed;

use config::Plan;
use parking_lot::RwLock;
use std::sync::Arc;

/// Who seals what now. Clones share it, so that it can be replaced while a server runs.
#[derive(Clone)]
pub struct Encryption(Arc<RwLock<Arc<Plan>>>);

impl Encryption {
    /// From the text of an EncryptionConfiguration, YAML or JSON.
    ///
    /// # Errors
    /// It is none, or one that cannot be followed.
    pub fn new(config: &str) -> Result<Self, EncryptionError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(Plan::parse(config)?)))))
    }

    /// Follows another configuration from now on. What is stored stays as it is until it is written.
    ///
    /// # Errors
    /// It cannot be followed; the one before still is.
    pub fn replace(&self, config: &str) -> Result<(), EncryptionError> {
        let plan = Arc::new(Plan::parse(config)?);
        *self.0.write() = plan;
        Ok(())
    }

    fn plan(&self) -> Arc<Plan> {
        self.0.read().clone()
    }
}
