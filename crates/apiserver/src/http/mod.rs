//! The way in and out: TLS connections, the in-process service, and the pipeline both feed.
mod body;
mod compression;
mod cors;
mod exchange;
mod gather;
mod idle;
mod listener;
mod pipeline;
mod respond;
mod service;
pub mod switch;
mod times;
pub mod websocket;

pub use body::{Body, ListBody};
pub use cors::{Cors, CorsError};
pub use idle::ConnectionConfig;
pub use listener::{ServeError, TlsSettings, serve};
pub use respond::{Answer, response};
pub use service::InProcess;
pub use times::RequestTimes;

pub(crate) use pipeline::{Call, OwnRequest, Passed, Upload};
