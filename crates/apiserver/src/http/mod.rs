//! The way in and out: TLS connections, the in-process service, and the pipeline both feed.
mod body;
mod call;
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
mod upload;
pub mod websocket;

pub use body::{Body, ListBody};
pub use cors::{Cors, CorsError};
pub use idle::ConnectionConfig;
pub use listener::{ServeError, TlsSettings, serve};
pub use respond::{Answer, response};
pub use service::InProcess;
pub use times::RequestTimes;

pub(crate) use call::Call;
pub(crate) use pipeline::OwnRequest;
pub(crate) use upload::{Passed, Upload};
