//! Registers whose history is kept and judged: what clients of the API wrote, read and were answered while things broke.
//!
//! - [`history`]: calls with their beginnings, ends and outcomes.
//! - [`check`]: whether one order of the calls explains every answer (pure).
//! - [`clients`]: threads that keep a cluster's registers busy, each through one API server, and write the history.
mod check;
mod clients;
mod history;

pub use check::{Verdict, check};
pub use clients::{Registers, RegistersOptions};
pub use history::{Action, Call, Outcome, Value};
