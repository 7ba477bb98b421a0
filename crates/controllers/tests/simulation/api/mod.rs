//! An API server in memory: as much of one as controllers and scheduler can tell from a real one.
//!
//! `kinds` says what is served, `store` keeps objects and their history, `write` changes them by the API's rules, `watch`
//! lists and follows them, `http` is the service that a client talks to.

pub mod http;
pub mod kinds;
pub mod store;
pub mod watch;
pub mod write;

pub use store::{Commit, Key, Store};

use serde_json::{Value, json};

/// Why a request is refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub cause: Option<&'static str>,
}

impl Refusal {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            cause: None,
        }
    }

    pub fn not_found(key: &Key) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{}\" not found", key.kind.resource(), key.name),
        )
    }

    pub fn conflict(key: &Key) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the \
             latest version and try again",
            key.kind.resource(),
            key.name
        );
        Self::new(409, "Conflict", message)
    }

    pub fn status(&self) -> Value {
        let causes: Vec<Value> = self
            .cause
            .iter()
            .map(|cause| json!({"reason": cause, "message": self.message}))
            .collect();
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
            "reason": self.reason, "code": self.code, "details": {"causes": causes}})
    }
}
