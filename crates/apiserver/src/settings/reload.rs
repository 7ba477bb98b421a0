//! What is counted about a configuration that is followed while the server runs.
use super::SettingsError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    apiserver_id_hash: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Followed {
    apiserver_id_hash: String,
    hash: String,
}

/// How often a configuration was read again, when, and which one is followed.
#[derive(Clone)]
pub struct Reloads {
    /// Of this server.
    id: String,
    outcomes: Family<Outcome, Counter>,
    last: Family<Outcome, Gauge<f64, AtomicU64>>,
    followed: Family<Followed, Gauge>,
}

impl Reloads {
    /// `text`: the configuration that is followed from the start.
    pub fn new(text: &str) -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let reloads = Self {
            id: hash(id.trim()),
            outcomes: Family::default(),
            last: Family::default(),
            followed: Family::default(),
        };
        reloads.follows(text);
        reloads
    }

    /// `prefix`: upstream's, up to the last word.
    pub fn register(&self, registry: &mut Registry, prefix: &str) {
        registry.register(
            format!("{prefix}_automatic_reloads"),
            "Times that a changed configuration was read",
            self.outcomes.clone(),
        );
        registry.register(
            format!("{prefix}_automatic_reload_last_timestamp_seconds"),
            "When a changed configuration was read last",
            self.last.clone(),
        );
        registry.register(
            format!("{prefix}_last_config_info"),
            "The configuration that is followed",
            self.followed.clone(),
        );
    }

    /// Follows another configuration from now on, if it can be followed. `text`: what its file holds, or why that cannot
    /// be told.
    ///
    /// # Errors
    /// It cannot be followed; the one before still is.
    pub fn replace<T>(
        &self,
        text: Result<&str, String>,
        make: impl FnOnce(&str) -> Result<T, SettingsError>,
        follow: impl FnOnce(T),
    ) -> Result<(), SettingsError> {
        let made = text
            .map_err(SettingsError::Unreadable)
            .and_then(|text| Ok((text, make(text)?)));
        match made {
            Ok((text, made)) => {
                follow(made);
                self.read(Some(text));
                Ok(())
            }
            Err(error) => {
                self.read(None);
                Err(error)
            }
        }
    }

    /// Another configuration was read; `text`: what it was, if it is followed now.
    fn read(&self, text: Option<&str>) {
        let outcome = Outcome {
            apiserver_id_hash: self.id.clone(),
            status: if text.is_some() { "success" } else { "failure" },
        };
        self.outcomes.get_or_create(&outcome).inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last.get_or_create(&outcome).set(now.as_secs_f64());
        if let Some(text) = text {
            self.follows(text);
        }
    }

    fn follows(&self, text: &str) {
        self.followed.clear();
        let followed = Followed {
            apiserver_id_hash: self.id.clone(),
            hash: hash(text),
        };
        self.followed.get_or_create(&followed).set(1);
    }
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold("sha256:".to_owned(), |mut hash, byte| {
        let _ = write!(hash, "{byte:02x}");
        hash
    })
}
