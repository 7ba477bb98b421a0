//! Bytes to and from processes in containers: exec, attach and port-forward, over the protocols clients and container
//! runtimes speak.
//!
//! ```text
//!  client ── WebSocket v5/v4 ── command ── SPDY/3.1 ──┐
//!  client ── WebSocket v4, ports ─ forward ─ SPDY/3.1 ┤
//!  client ── WebSocket tunnel ── tunnel ── bytes ─────┼── the next server on the way to the runtime
//!  client ── SPDY/3.1 ── bytes ───────────────────────┘
//! ```
//!
//! | file | does |
//! |---|---|
//! | [`upgrade`](crate::Client) | what a client asks to switch to, and the answer |
//! | [`dial`] | the same as a client of the next server |
//! | [`channels`](crate::Subprotocol) | WebSocket messages of exec and attach. Pure |
//! | `spdy` | the part of SPDY/3.1 that a client of a runtime needs. Pure, with a thin reader |
//! | `command`, `forward`, `tunnel` | one conversation each |
//! | `idle` | how long nothing was said |
//! | [`relay`] | chooses between them |
//!
//! There is no task that lives longer than its client's connection. Deliberately absent: a SPDY server (its frames are
//! passed on as they are) and flow control (no implementation in the field has it; TCP holds back the sender).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod channels;
mod command;
mod dial;
mod forward;
mod idle;
mod relay;
mod spdy;
mod tunnel;
mod upgrade;

pub use channels::Subprotocol;
pub use command::Streams;
pub use dial::{Backend, DialError, dial};
pub use relay::{RelayError, relay};
pub use upgrade::{Client, Purpose, Refusal, words};
