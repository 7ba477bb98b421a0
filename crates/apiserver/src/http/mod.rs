//! The way in and out: TLS connections, the in-process service, and the pipeline both feed.
mod body;
mod compression;
mod exchange;
mod gather;
mod idle;
mod listener;
mod pipeline;
mod respond;
mod service;
pub mod switch;
pub mod websocket;

pub use body::{Body, ListBody};
pub use idle::ConnectionConfig;
pub use listener::{ServeError, serve};
pub use respond::{Answer, response};
pub use service::InProcess;

pub(crate) use pipeline::Call;
